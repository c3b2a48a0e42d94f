"""Organizations: make and change them."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

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
    try:
        with transaction.atomic():
            organization.save(force_insert=True)
    except IntegrityError:  # somebody else was quicker
        raise Conflict(detail=f"The organization {organization_id} exists already.") from None
    after = {"name": organization.name, "status": organization.status}
    target = ("organization", organization_id)
    audit.record(
        "organization.create", acting_user=acting_user, organization_id=organization_id, target=target, after=after
    )
    events.record("organization.created", organization_id=organization_id)
    return organization


@transaction.atomic
def update(organization: Organization, *, acting_user: User | None, **fields: Any) -> Organization:
    """Change columns (not `is_independent`, see `orchestrators.independence`) and return the row as it is now.

    Raises `invalid_field` for a bad value. Whoever changes `name` or `settings` republishes the orchestrators'
    configurations in the same transaction; this room does not know them.
    """
    row = Organization.objects.select_for_update().get(pk=organization.pk)
    before = {name: getattr(row, name) for name in fields}
    changed = [name for name, value in fields.items() if before[name] != value]
    if not changed:
        return row
    was_open = row.is_open
    for name in changed:
        setattr(row, name, fields[name])
    try:
        row.full_clean(validate_unique=False)
    except ValidationError as error:
        raise InvalidInput(fields={key: " ".join(texts) for key, texts in error.message_dict.items()}) from None
    row.save(update_fields=[*changed, "updated_at"])
    audit.record(
        "organization.update",
        acting_user=acting_user,
        organization_id=row.pk,
        target=("organization", row.pk),
        before={name: before[name] for name in changed},
        after={name: fields[name] for name in changed},
    )
    is_suspended = was_open and not row.is_open
    events.record(
        "organization.suspended" if is_suspended else "organization.updated",
        organization_id=row.pk,
        data={"fields": changed},
    )
    return row
