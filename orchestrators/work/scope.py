"""In which organization a call of the flat paths acts (API §2, §7), and who may."""

from typing import Any, Final, TypeVar

from django.conf import settings
from django.db.models import Model, QuerySet
from rest_framework.request import Request
from rest_framework.serializers import Serializer

from moolai.errors import AppError, Forbidden, NotFound
from orgs import access, rest
from orgs.authentication import Caller
from orgs.models import Organization, Role

WRITERS: Final = (Role.ADMIN, Role.OPERATOR)
MISSING: Final = (
    "There is no organization “{}”. Make it (POST /api/v1/controller/organizations, or in the console), or name "
    "another in `organization_id` or X-Organization-Id. Where a call names none, DEFAULT_ORGANIZATION_ID does."
)
Row = TypeVar("Row", bound=Model)


def organization(request: Request, wanted: str | None = None) -> Organization:
    """Return the organization named (`wanted`, or the header), else the caller's only one, else the default one.

    A foreign one is `not_found`; raises `organization_required` where none of them is the caller's.
    """
    who = access.caller(request)
    name = wanted or access.chosen(request) or access.home(who)
    if wanted:
        access.check(request, wanted)
    if not name:
        name = settings.DEFAULT_ORGANIZATION_ID
        if not who.may_read(name):
            raise AppError("organization_required")
    found = Organization.objects.filter(pk=name).first()
    if found is None:
        raise NotFound(detail=MISSING.format(name))
    return found


def acting(
    request: Request, form: type[Serializer[Any]], *, wanted: str | None
) -> tuple[Organization, Caller, dict[str, Any]]:
    """Return where an operator's write acts, who writes, and the body without its `organization_id`.

    Who may write nowhere is refused before the body is read.
    """
    who = access.caller(request)
    if not who.is_superadmin and not set(who.roles.values()) & set(WRITERS):
        raise Forbidden
    wish = rest.body(request, form)
    home = organization(request, wish.pop("organization_id", None) or wanted)
    return home, require_operator(request, home.pk), wish


def within(
    request: Request, rows: QuerySet[Row], wanted: str | None, *, field: str = "organization_id"
) -> QuerySet[Row]:
    """Return the rows of the organization that the query names (all without); a foreign one is `not_found`."""
    if not wanted:
        return rows
    access.check(request, wanted)
    return rows.filter(**{field: wanted})


def require_operator(request: Request, organization_id: str) -> Caller:
    """Return the caller when it may create tasks, approve and publish there, else raise Forbidden."""
    who = access.caller(request)
    if not who.is_superadmin and who.roles.get(organization_id) not in WRITERS:
        raise Forbidden
    return who
