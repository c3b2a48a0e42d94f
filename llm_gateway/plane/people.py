"""People whose calls are made later, without them, and their keys: whether they still may, and under which limits."""

from typing import Final

from django.utils import timezone

from llm_gateway.money import limits
from llm_gateway.plane.callers import Standing
from moolai.errors import Forbidden
from orgs.models import ApiKey, Membership, Organization, Role, User

KEY: Final = "key:"
PERSON: Final = "user:"
CALLERS: Final = (Role.ADMIN, Role.OPERATOR)


def key_of(caller_id: str) -> str:
    """Return the id of the key that a caller's id is of, "" where it is of none."""
    return caller_id.removeprefix(KEY) if caller_id.startswith(KEY) else ""


def standing(caller_id: str, *, organization_id: str, name: str, orchestrator_id: str = "") -> Standing:
    """Return the standing of a caller as it is now (blocking); `name` is for the ledger.

    Raises `forbidden` for a closed organization, a key that ended, and a person who may not call there any more.
    """
    organization = Organization.objects.filter(pk=organization_id).first()
    if organization is None or not organization.is_open:
        raise Forbidden(detail="The organization is suspended.")
    key_id = key_of(caller_id)
    if key_id:
        _check_key(key_id, organization_id)
    elif caller_id.startswith(PERSON):
        _check_person(caller_id.removeprefix(PERSON), organization_id)
    held = limits.load(organization_id, key_id=key_id)
    return Standing(caller_id, name, organization_id, key_id, orchestrator_id, held=held)


def _check_key(key_id: str, organization_id: str) -> None:
    row = ApiKey.objects.filter(key_id=key_id, organization=organization_id).first()
    if row is None or not row.is_usable(now=timezone.now()):
        raise Forbidden(detail="The key that asked for this is revoked or expired.")


def _check_person(pk: str, organization_id: str) -> None:
    user = User.objects.filter(pk=pk, is_active=True).first() if pk.isdecimal() else None
    if user is None:
        raise Forbidden(detail="Who asked for this has no active account any more.")
    roles = Membership.objects.filter(user=user, organization=organization_id, role__in=CALLERS)
    if not user.is_superuser and not roles.exists():
        raise Forbidden(detail="Who asked for this may not call models for the organization any more.")
