"""The one way from a request to an organization's objects: what a caller may not see does not exist for it."""

from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from rest_framework.request import Request

from moolai.errors import AppError, Forbidden, NotFound
from orgs.authentication import Caller
from orgs.models import Organization

Row = TypeVar("Row", bound=Model)


def caller(request: Request) -> Caller:
    """Return who calls, or raise `unauthenticated`."""
    if not isinstance(request.user, Caller):
        raise AppError("unauthenticated")
    return request.user


def visible(request: Request, rows: QuerySet[Row], *, field: str = "organization_id", own: str = "") -> QuerySet[Row]:
    """Narrow `rows` to those the caller may read; `field` names the organization's id in them.

    An orchestrator's key reads nothing, unless `own` names the column that says whose a row is: then its own rows, or
    its organization's when it is bound to no single orchestrator.
    """
    who = caller(request)
    if who.is_superadmin:
        return rows
    if who.roles:
        return rows.filter(**{f"{field}__in": list(who.roles)})
    if not own or who.key is None or not who.key.may_register:
        raise Forbidden
    rows = rows.filter(**{field: who.key.organization_id})
    return rows.filter(**{own: who.key.orchestrator_id}) if who.key.orchestrator_id else rows


def get(request: Request, rows: QuerySet[Row], *, field: str = "organization_id", own: str = "", **where: Any) -> Row:
    """Return the one visible row that matches `where`; a foreign one is as absent as a missing one.

    An orchestrator's key is told `forbidden` for what belongs to its organization and is not its own (see `visible`).
    """
    who = caller(request)
    rows = rows.filter(**where)
    if who.key is not None and not who.roles and not rows.filter(**{field: who.key.organization_id}).exists():
        raise NotFound
    row = visible(request, rows, field=field, own=own).first()
    if row is None and own and who.key is not None and not who.roles:
        raise Forbidden
    if row is None:
        raise NotFound
    return row


def require_admin(request: Request, organization_id: str) -> Caller:
    """Return the caller when it administers the organization, else raise Forbidden."""
    who = caller(request)
    if not who.may_write(organization_id):
        raise Forbidden
    return who


def require_superadmin(request: Request) -> Caller:
    """Return the caller when it is a superadmin, else raise Forbidden."""
    who = caller(request)
    if not who.is_superadmin:
        raise Forbidden
    return who


def chosen(request: Request) -> str:
    """Return the organization the caller names in `X-Organization-Id` (or `OpenAI-Organization`), "" without."""
    return request.headers.get("X-Organization-Id") or request.headers.get("OpenAI-Organization") or ""


def home(who: Caller) -> str:
    """Return the caller's only organization, "" where it has none or several."""
    own = [who.key.organization_id] if who.key else list(who.roles)
    return own[0] if len(own) == 1 else ""


def check(request: Request, wanted: str) -> None:
    """Raise NotFound unless `wanted` names an organization of the caller's."""
    key = caller(request).key
    if key is not None and key.organization_id == wanted:
        return
    if "\x00" in wanted or not caller(request).may_read(wanted) or not Organization.objects.filter(pk=wanted).exists():
        raise NotFound


def narrow(request: Request, rows: QuerySet[Row], *, field: str = "organization_id", own: str = "") -> QuerySet[Row]:
    """Apply `?organization_id=`, else the header, within the caller's scope; a foreign or unknown one is 404."""
    wanted = request.query_params.get("organization_id") or chosen(request)
    rows = visible(request, rows, field=field, own=own)
    if not wanted:
        return rows
    check(request, wanted)
    return rows.filter(**{field: wanted})
