"""Organizations: make and change them."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from moolai.errors import Conflict, InvalidInput
from orgs import audit, events
from orgs.models import Organization, User


@transaction.atomic
def create(organization_id: str, *, name: str, acting_user: User | None, **fields: Any) -> Organization:
    """Make an organization; raises `invalid_field` for a bad value and `conflict` when the id is taken."""
    organization = Organization(organization_id=organization_id, name=name or organization_id, **fields)
    try:
        organization.full_clean(validate_unique=False)
    except ValidationError as error:
        raise InvalidInput(fields={key: " ".join(texts) for key, texts in error.message_dict.items()}) from None
    if Organization.objects.filter(pk=organization_id).exists():
        raise Conflict(detail=f"The organization {organization_id} exists already.")
    organization.save(force_insert=True)
    after = {"name": organization.name, "status": organization.status}
    target = ("organization", organization_id)
    audit.record(
        "organization.create", acting_user=acting_user, organization_id=organization_id, target=target, after=after
    )
    events.record("organization.created", organization_id=organization_id)
    return organization
