"""Organizations: make, change and delete them. What that means for fleets stands in `orchestrators/tenants.py`."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from moolai.errors import Conflict, InvalidInput, NotFound
from orgs import audit, events, parsing, tokens
from orgs.models import Event, Organization, User


@transaction.atomic
def create(organization_id: str, *, name: str, acting_user: User | None, **fields: Any) -> Organization:
    """Make an organization; raises `invalid_field` for a bad value and `conflict` when the id is taken."""
    organization = Organization(organization_id=organization_id, name=name or organization_id, **fields)
    _validate(organization)
    if Organization.objects.filter(pk=organization_id).exists():
        raise Conflict(detail=f"The organization {organization_id} exists already.")
    try:
        with transaction.atomic():
            organization.save(force_insert=True)
    except IntegrityError:  # somebody else was quicker
        raise Conflict(detail=f"The organization {organization_id} exists already.") from None
    after = {"name": organization.name, "status": organization.status} | fields
    _record("create", organization_id, acting_user=acting_user, after=after)
    events.record("organization.created", organization_id=organization_id)
    return organization


def lock(organization_id: str, *, is_ending: bool = False) -> Organization:
    """Return the organization, locked until the commit; raises `not_found` when it has just been deleted.

    Rows that name it may be written meanwhile: their foreign keys are checked at their commit, and a lock that kept
    these checks waiting would deadlock with ordinary writers. Only an organization that is `is_ending` takes no more.
    """
    organization = Organization.objects.select_for_update(no_key=not is_ending).filter(pk=organization_id).first()
    if organization is None:
        raise NotFound
    return organization


def lock_many(organization_ids: Iterable[str]) -> dict[str, Organization]:
    """Return organizations by id, locked until the commit in the order of their keys, as every writer takes them."""
    rows = Organization.objects.select_for_update(no_key=True).filter(pk__in=set(organization_ids))
    return {row.pk: row for row in rows.order_by("pk")}


@transaction.atomic
def update(organization: Organization, *, acting_user: User | None, **fields: Any) -> Organization:
    """Change columns and return the row as it is now; raises `invalid_field` for a bad value.

    Orchestrators get their new name, configuration and independence from `orchestrators.tenants.update`, which calls
    this in its transaction; this room does not know them.
    """
    row = lock(organization.pk)
    before = {name: getattr(row, name) for name in fields}
    was_open = row.is_open
    for name, value in fields.items():
        setattr(row, name, value)
    _validate(row)
    changed = [name for name in fields if not parsing.is_same(before[name], getattr(row, name))]
    if not changed:
        return row
    row.save(update_fields=[*changed, "updated_at"])
    _record(
        "update",
        row.pk,
        acting_user=acting_user,
        before={name: before[name] for name in changed},
        after={name: getattr(row, name) for name in changed},
    )
    is_suspended = was_open and not row.is_open
    events.record(
        "organization.suspended" if is_suspended else "organization.updated",
        organization_id=row.pk,
        data={"fields": changed},
    )
    return row


@transaction.atomic
def delete(organization: Organization, *, acting_user: User | None, also: Mapping[str, Any] | None = None) -> None:
    """Delete an organization with its keys and memberships; `also` says in its audit row what else goes along.

    Accounts without any organization left are closed. Its audit trail stays, under its id. Its orchestrators must be
    gone: `orchestrators.tenants.delete` sees to that, in the same transaction.
    """
    row = lock(organization.pk, is_ending=True)
    usable = list(row.api_keys.filter(revoked_at__isnull=True).values_list("key_id", flat=True))
    members = list(User.objects.filter(memberships__organization=row))
    before = {"name": row.name, "status": row.status, "users": len(members), "api_keys": len(usable)} | dict(also or {})
    row.delete()
    _close_lonely(members)
    _record("delete", organization.pk, acting_user=acting_user, before=before)
    revoked = [
        Event(kind="api_key.revoked", organization_id=organization.pk, data={"key_id": key_id}) for key_id in usable
    ]
    events.record_many([*revoked, Event(kind="organization.deleted", organization_id=organization.pk)])


def _close_lonely(users: list[User]) -> None:
    """Close the accounts that have no organization left; superadmins need none."""
    now = timezone.now()
    for user in users:
        if not user.is_superuser and not user.memberships.exists():
            user.is_active = False
            user.save(update_fields=["is_active"])
            tokens.end_all(user, now=now)


def _validate(organization: Organization) -> None:
    try:
        organization.full_clean(validate_unique=False)
    except ValidationError as error:
        raise InvalidInput(fields={key: " ".join(texts) for key, texts in error.message_dict.items()}) from None


def _record(action: str, organization_id: str, *, acting_user: User | None, **change: Any) -> None:
    audit.record(
        f"organization.{action}",
        acting_user=acting_user,
        organization_id=organization_id,
        target=("organization", organization_id),
        **change,
    )
