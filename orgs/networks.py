"""Allowed networks: what an organization's channels and providers may call although it is inside."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from moolai.errors import Conflict, InvalidInput
from orgs import audit
from orgs.models import AllowedNetwork, Organization, User


@transaction.atomic
def allow(organization: Organization, cidr: str, *, acting_user: User | None, reason: str = "") -> AllowedNetwork:
    """Let an organization call a network; raises `invalid_field`, and `conflict` when it may already."""
    actor = audit.actor(acting_user)
    row = AllowedNetwork(organization=organization, cidr=cidr.strip(), reason=reason, created_by=actor)
    try:
        row.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        raise InvalidInput(fields={name: " ".join(texts) for name, texts in error.message_dict.items()}) from None
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        raise Conflict(detail=f"{row.cidr} is allowed already.") from None
    _record("network.allow", row, acting_user=acting_user, after={"cidr": row.cidr}, reason=reason)
    return row


@transaction.atomic
def refuse(row: AllowedNetwork, *, acting_user: User | None) -> None:
    """Take the permission back; what is called from now on is checked without it."""
    _record("network.refuse", row, acting_user=acting_user, before={"cidr": row.cidr})
    row.delete()


def _record(action: str, row: AllowedNetwork, *, acting_user: User | None, **change: Any) -> None:
    target = ("organization", row.organization_id)
    audit.record(action, acting_user=acting_user, organization_id=row.organization_id, target=target, **change)
