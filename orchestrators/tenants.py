"""Tenants: organizations together with their fleets. What changing one means for its orchestrators happens here."""

from datetime import datetime
from typing import Any, Final

from django.db import transaction
from django.db.models import Count, Q

from moolai.errors import Conflict
from orchestrators import configuration, independence, mirror, presence
from orchestrators.configuration import tracking
from orchestrators.messages.outbox import OPEN
from orchestrators.models import Instance, Message
from orgs import organizations
from orgs.models import Organization, User

SHOWN: Final = 100  # ids that the audit row of a deletion names


@transaction.atomic
def create(organization_id: str, *, name: str, acting_user: User | None, **fields: Any) -> Organization:
    """Make an organization; raises `invalid_field` for a bad value and `conflict` when the id is taken."""
    row = organizations.create(organization_id, name=name, acting_user=acting_user, **fields)
    configuration.begin(row, acting_user=acting_user)
    if row.is_independent:
        transaction.on_commit(mirror.write, robust=True)
    return row


@transaction.atomic
def update(organization: Organization, *, acting_user: User | None, **fields: Any) -> Organization:
    """Change columns and return the row as it is now: one audit row, and its orchestrators follow.

    They get the new name, the configuration that comes of name and settings, and the independence they inherit.
    Raises `invalid_field` for a bad value, `not_found` when it has just been deleted, and `conflict` for a new
    configuration during a staged rollout.
    """
    before = organizations.lock(organization.pk)
    row = organizations.update(before, acting_user=acting_user, **fields)
    present = Instance.objects.present().filter(organization=row)
    if row.name != before.name:
        list(present.select_for_update(no_key=True).order_by("pk").values_list("pk"))  # the order all writers keep
        present.update(organization_name=row.name)
    configuration.follow(before, row, acting_user=acting_user)
    if row.is_independent != before.is_independent:
        independence.spread(row, acting_user=acting_user)
    return row


@transaction.atomic
def delete(organization: Organization, *, acting_user: User | None) -> None:
    """Delete an organization with its orchestrators, their messages, its keys and memberships; its audit trail stays.

    Raises `conflict` while any of its orchestrators is connected, `not_found` when it has just been deleted.
    """
    row = organizations.lock(organization.pk, is_ending=True)
    fleet = Instance.objects.filter(organization=row)
    if connected := fleet.connected().count():
        raise Conflict(detail=f"Connected orchestrators: {connected}. Stop or delete them first.")
    present = fleet.present().order_by("orchestrator_id").values_list("orchestrator_id", flat=True)
    also = {"orchestrators": fleet.present().count(), "orchestrator_ids": list(present[:SHOWN])}
    tracking.abandon(row)
    fleet.delete()
    organizations.delete(row, acting_user=acting_user, also=also)
    transaction.on_commit(mirror.write, robust=True)


def health(organization: Organization, *, now: datetime) -> dict[str, Any]:
    """Return how an organization's orchestrators are at `now`: by status, connected, silent, and what waits for them.

    The word is `unhealthy` when it is closed or none of its orchestrators works, `degraded` when some do not. One that
    counts as active and is silent does not work.
    """
    present = Instance.objects.present().filter(organization=organization).order_by()
    found = present.values_list("status").annotate(
        number=Count("pk"),
        connected=Count("pk", filter=Q(is_connected=True)),
        silent=Count("pk", filter=presence.silent(now=now)),
    )
    rows = {status: tuple(numbers) for status, *numbers in found}
    number, connected, silent = (sum(column) for column in zip((0, 0, 0), *rows.values(), strict=True))
    counts = {status: rows.get(status, (0,))[0] for status in Instance.Status.values}
    working = counts["active"] + counts["independent"] - silent
    is_well = organization.is_open and working == number
    waiting = Message.objects.filter(OPEN, orchestrator__organization=organization)
    return {
        "organization_id": organization.pk,
        "status": "healthy" if is_well else "degraded" if organization.is_open and working else "unhealthy",
        "orchestrators": {"total": number, **counts},
        "connected": connected,
        "silent": silent,
        "pending_messages": waiting.count(),
    }
