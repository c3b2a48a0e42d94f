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


def visible(request: Request, rows: QuerySet[Row], *, field: str = "organization_id") -> QuerySet[Row]:
    """Narrow `rows` to the organizations the caller may read; `field` names the organization's id in them."""
    who = caller(request)
    if who.is_superadmin:
        return rows
    if not who.roles:
        raise Forbidden
    return rows.filter(**{f"{field}__in": list(who.roles)})


def get(request: Request, rows: QuerySet[Row], *, field: str = "organization_id", **where: Any) -> Row:
    """Return the one visible row that matches `where`; a foreign one is as absent as a missing one."""
    row = visible(request, rows, field=field).filter(**where).first()
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


def check_chosen(request: Request) -> None:
    """Refuse a header that names an organization which is not the caller's: a foreign one is 404."""
    wanted, key = chosen(request), caller(request).key
    if not wanted or (key is not None and key.organization_id == wanted):
        return
    if "\x00" in wanted or not caller(request).may_read(wanted) or not Organization.objects.filter(pk=wanted).exists():
        raise NotFound


def narrow(request: Request, rows: QuerySet[Row], *, field: str = "organization_id") -> QuerySet[Row]:
    """Apply `?organization_id=`, else the header, within the caller's scope; a foreign or unknown one is 404."""
    wanted = request.query_params.get("organization_id") or chosen(request)
    rows = visible(request, rows, field=field)
    if not wanted:
        return rows
    get(request, Organization.objects.all(), field="pk", pk=wanted)
    return rows.filter(**{field: wanted})
