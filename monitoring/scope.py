"""Whose measurements a call is about. Orchestrators' keys read none: they send theirs over `/ws`."""

from collections.abc import Collection

from django.conf import settings
from rest_framework.request import Request

from moolai.errors import AppError, NotFound
from orgs import access
from orgs.models import Organization


def organizations(request: Request, wanted: str | None = None) -> list[str] | None:
    """Return the organizations to read: the one named (here or in the header), else all the caller sees (None: all).

    Raises `forbidden` for an orchestrator's key, and `not_found` for a name that is foreign or unknown.
    """
    rows = access.visible(request, Organization.objects.all(), field="pk")
    if name := wanted or access.chosen(request):
        access.check(request, name)
        return [name]
    return None if access.caller(request).is_superadmin else sorted(rows.values_list("pk", flat=True))


def several(request: Request, wanted: str | None, names: str | None) -> list[str] | None:
    """Return what `organizations` does, for `organization_id` or for `organization_ids`, separated by commas.

    Raises `invalid_parameter` when both are sent.
    """
    if names is None:
        return organizations(request, wanted)
    if wanted is not None:
        raise AppError("invalid_parameter", "Send organization_id or organization_ids.")
    return named_ones(request, [name.strip() for name in names.split(",") if name.strip()])


def named_ones(request: Request, names: Collection[str]) -> list[str]:
    """Return the organizations of `names`, each once; raises `not_found` when one is foreign or unknown."""
    if not names:
        raise AppError("invalid_parameter", "Name at least one organization.")
    rows = access.visible(request, Organization.objects.filter(pk__in=names), field="pk")
    found = set(rows.values_list("pk", flat=True))
    if set(names) - found:
        raise NotFound
    return sorted(found)


def one(request: Request, wanted: str | None = None) -> str:
    """Return the organization to act in: the one named, else the caller's only one, else the default one (API §2).

    Raises `organization_required` where none of them is the caller's.
    """
    found = organizations(request, wanted)
    if found is not None and len(found) == 1:
        return found[0]
    default: str = settings.DEFAULT_ORGANIZATION_ID
    if found is None or default in found:
        return default
    raise AppError("organization_required")


def named(request: Request, organization_id: str) -> str:
    """Return the organization of the path when the caller may read it, else raise as `access.get` does."""
    return access.get(request, Organization.objects.all(), field="pk", pk=organization_id).pk
