"""Independence: take an orchestrator, or a whole organization, out of the controller's hands and back.

While one is independent its row does not move; leaving re-arms its deadline. The database is the truth, the two
mirror files are written after the commit (`orchestrators/mirror.py`).
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from moolai.errors import NotFound
from orchestrators import hub, mirror, notices
from orchestrators.models import Instance
from orgs import audit, events, organizations
from orgs.models import Event, Organization, User

logger = logging.getLogger(__name__)
Status = Instance.Status
CHUNK: Final = 5000  # rows per statement


@transaction.atomic
def set_instance(orchestrator_id: str, *, is_independent: bool, acting_user: User | None, reason: str = "") -> Instance:
    """Set an orchestrator's own flag and return it; nothing is written when it has that value already."""
    organization_id = (
        Instance.objects.present()
        .filter(orchestrator_id=orchestrator_id)
        .values_list("organization_id", flat=True)
        .first()
    )
    if organization_id is None:
        raise NotFound
    instance = lock(orchestrator_id, organization_id=organization_id)
    if instance.is_independent == is_independent:
        return instance
    instance.is_independent = is_independent
    follow(instance, acting_user=acting_user)
    _record("orchestrator", orchestrator_id, instance, acting_user=acting_user, reason=reason)
    return instance


@transaction.atomic
def set_organization(
    organization_id: str, *, is_independent: bool, acting_user: User | None, reason: str = ""
) -> Organization:
    """Set an organization's flag, which all its orchestrators inherit, and return it."""
    organization = Organization.objects.select_for_update(no_key=True).filter(pk=organization_id).first()
    if organization is None:
        raise NotFound
    if organization.is_independent == is_independent:
        return organization
    organization.is_independent = is_independent
    organization.save(update_fields=["is_independent", "updated_at"])
    spread(organization, acting_user=acting_user)
    _record("organization", organization_id, organization, acting_user=acting_user, reason=reason)
    return organization


def lock(orchestrator_id: str, *, organization_id: str) -> Instance:
    """Return the instance, locked after its organization until the commit; raises `not_found` when it is gone."""
    organization = organizations.lock(organization_id)
    rows = Instance.objects.present().filter(orchestrator_id=orchestrator_id, organization=organization)
    instance = rows.select_for_update(no_key=True).first()
    if instance is None:
        raise NotFound
    instance.organization = organization
    return instance


def spread(organization: Organization, *, acting_user: User | None) -> None:
    """Let an organization's orchestrators follow the flag it has now, and tell everybody; the audit row is another's.

    The caller has locked the organization in its transaction.
    """
    instances = list(
        Instance.objects.present().filter(organization=organization).select_for_update(no_key=True).order_by("pk")
    )
    for instance in instances:
        instance.organization = organization
    _settle(instances)
    _tell_sessions(instances)
    _announce(organization.pk, "", is_independent=organization.is_independent, acting_user=acting_user)


def follow(instance: Instance, *, acting_user: User | None) -> None:
    """Let a locked orchestrator follow the own flag it has now, and tell everybody; the audit row is another's.

    The caller has locked its organization before it, and `instance.organization` is that row.
    """
    _settle([instance])
    _tell_sessions([instance])
    where = (instance.organization_id, instance.orchestrator_id)
    _announce(*where, is_independent=instance.is_independent, acting_user=acting_user)


def set_many(instance_pks: Sequence[int], *, is_independent: bool, acting_user: User | None) -> int:
    """Set the own flag of many orchestrators, with an event each and no audit row (the bulk action has one).

    Runs in the caller's transaction; returns how many had another value. Those deleted meanwhile are passed over.
    """
    rows = Instance.objects.present().filter(pk__in=instance_pks)
    homes = Organization.objects.select_for_update(no_key=True).filter(
        pk__in=set(rows.values_list("organization_id", flat=True))
    )
    by_id = {row.pk: row for row in homes.order_by("pk")}
    locked = list(rows.exclude(is_independent=is_independent).select_for_update(no_key=True).order_by("pk"))
    changed = [row for row in locked if row.organization_id in by_id]
    for instance in changed:
        instance.organization, instance.is_independent = by_id[instance.organization_id], is_independent
    _settle(changed)
    _tell_sessions(changed)
    data = {"is_independent": is_independent, "actor": audit.actor(acting_user)}
    events.record_many(
        Event(
            kind="independence.changed",
            organization_id=row.organization_id,
            orchestrator_id=row.orchestrator_id,
            data=data,
        )
        for row in changed
    )
    state = "independent" if is_independent else "managed"
    transaction.on_commit(lambda: logger.info("%d orchestrators are now %s", len(changed), state))
    transaction.on_commit(mirror.write, robust=True)
    return len(changed)


def _settle(instances: list[Instance]) -> None:
    """Bring status and deadline of locked rows in line with their flags; `last_seen` is not touched.

    A statement for each outcome, of which there are few, not one for each row.
    """
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    now = timezone.now()
    for instance in instances:
        if instance.is_effectively_independent:
            instance.status, instance.deadline_at = Status.INDEPENDENT, None
        elif instance.status == Status.INDEPENDENT:
            has_lived = instance.is_connected or instance.last_seen is not None
            instance.status = Status.ACTIVE if has_lived else Status.INACTIVE
            instance.deadline_at = Instance.deadline_after(now) if has_lived else None
        instance.updated_at = now
        groups[instance.is_independent, instance.status, instance.deadline_at].append(instance.pk)
    for (is_own, status, deadline_at), pks in groups.items():
        for start in range(0, len(pks), CHUNK):
            Instance.objects.filter(pk__in=pks[start : start + CHUNK]).update(
                is_independent=is_own, status=status, deadline_at=deadline_at, updated_at=now
            )


def _tell_sessions(instances: list[Instance]) -> None:
    """Flip the sessions held by this process with the commit; other processes read the event."""
    found = [
        notices.Independence(row.orchestrator_id, row.is_independent, row.organization.is_independent)
        for row in instances
    ]

    def apply() -> None:
        local = hub.running()
        if local is not None:
            local.apply_soon(found)

    transaction.on_commit(apply)


def _announce(organization_id: str, orchestrator_id: str, *, is_independent: bool, acting_user: User | None) -> None:
    """Record the event, and with the commit write the log line and the mirror files."""
    events.record(
        "independence.changed",
        organization_id=organization_id,
        orchestrator_id=orchestrator_id,
        data={"is_independent": is_independent, "actor": audit.actor(acting_user)},
    )
    who = f"Orchestrator {orchestrator_id}" if orchestrator_id else f"Organization {organization_id}"
    state = "independent" if is_independent else "managed"
    transaction.on_commit(lambda: logger.info("%s is now %s", who, state))
    transaction.on_commit(mirror.write, robust=True)


def _record(
    target_type: str, target_id: str, row: Instance | Organization, *, acting_user: User | None, reason: str
) -> None:
    audit.record(
        f"{target_type}.independence",
        acting_user=acting_user,
        organization_id=str(row.organization_id),
        target=(target_type, target_id),
        before={"is_independent": not row.is_independent},
        after={"is_independent": row.is_independent},
        reason=reason,
    )
