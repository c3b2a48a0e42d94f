"""Presence: the rows behind heartbeats. `last_seen` in bulk, sessions that ended, instances that went dark."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from orchestrators import nodes
from orchestrators.models import Instance, Node
from orgs import events, leases
from orgs.models import Event

CHUNK: Final = 5000  # rows per statement; 4 parameters each stay below SQLite's 32,766
MANAGED: Final = Q(is_independent=False, organization__is_independent=False, deleted_at__isnull=True) & ~Q(
    status=Instance.Status.INDEPENDENT
)
LATE_SECONDS: Final = 10

# Locks are taken in the order every writer of several rows takes them in; an UPDATE alone has an order of its own.
_HOLD: Final = """
WITH held AS (SELECT id FROM orchestrator_instances WHERE id IN ({ids}) ORDER BY id FOR NO KEY UPDATE)
"""
_ONLY_HELD: Final = "AND orchestrator_instances.id IN (SELECT id FROM held)"
_FLUSH: Final = """{hold}
UPDATE orchestrator_instances
SET last_seen = seen.column3, last_activity = seen.column3, deadline_at = seen.column4
FROM (VALUES {rows}) AS seen
WHERE orchestrator_instances.id = seen.column1 AND orchestrator_instances.epoch = seen.column2
  AND orchestrator_instances.deleted_at IS NULL
  AND NOT orchestrator_instances.is_independent AND orchestrator_instances.status <> 'independent'
  AND NOT EXISTS (SELECT 1 FROM organizations
                  WHERE organizations.organization_id = orchestrator_instances.organization_id
                    AND organizations.is_independent)
  {only}
"""


@dataclass(frozen=True, slots=True)
class Sighting:
    """An instance heard of on the session of `epoch` at `seen_at`."""

    instance_pk: int
    epoch: int
    seen_at: datetime


def silent(*, now: datetime) -> Q:
    """Return what is true of managed instances that count as active and are dark: no socket, no heartbeat within TTL.

    The sweep has not declared them inactive yet.
    """
    due = now - timedelta(seconds=settings.HEARTBEAT_TTL_SEC)
    is_dark = Q(last_seen__isnull=True) | Q(last_seen__lt=due)
    return MANAGED & is_dark & Q(is_connected=False, status=Instance.Status.ACTIVE)


def flush(sightings: Sequence[Sighting]) -> int:
    """Write `last_seen` of all `sightings`, one statement per chunk; return how many rows moved.

    An independent row does not move: the condition stands in the same statement, so a toggle beats a pending flush.
    """
    if not sightings:
        return 0
    adapt = connection.ops.adapt_datetimefield_value
    moved = 0
    with connection.cursor() as cursor:
        for start in range(0, len(sightings), CHUNK):
            chunk = sightings[start : start + CHUNK]
            values: list[Any] = []
            for sight in chunk:
                values += [
                    sight.instance_pk,
                    sight.epoch,
                    adapt(sight.seen_at),
                    adapt(Instance.deadline_after(sight.seen_at)),
                ]
            hold = only = ""
            if connection.vendor == "postgresql":
                hold, only = _HOLD.format(ids=",".join(["%s"] * len(chunk))), _ONLY_HELD
                values = [*(sight.instance_pk for sight in chunk), *values]
            rows = ",".join(["(%s, %s, %s, %s)"] * len(chunk))
            cursor.execute(_FLUSH.format(hold=hold, rows=rows, only=only), values)
            moved += cursor.rowcount
    return moved


def revive(ids: Sequence[int]) -> list[int]:
    """Make inactive but living instances active again, with an event for each; one that said goodbye is not living.

    Returns those that are not inactive now.
    """
    for pk in ids:
        with transaction.atomic():
            dark = Instance.objects.filter(MANAGED, pk=pk, status=Instance.Status.INACTIVE, is_connected=True)
            if dark.update(status=Instance.Status.ACTIVE):
                _note("orchestrator.active", Instance.objects.filter(pk=pk))
    awake = Instance.objects.filter(pk__in=ids).exclude(status=Instance.Status.INACTIVE)
    return list(awake.values_list("pk", flat=True))


def save_health(reports: Sequence[tuple[int, dict[str, Any]]]) -> None:
    """Store what managed instances said of their health; the words degraded and error become their status.

    One that said goodbye meanwhile stays inactive.
    """
    by_id = dict(reports)
    with transaction.atomic():
        living = Instance.objects.filter(MANAGED, pk__in=by_id).exclude(
            is_connected=False, status=Instance.Status.INACTIVE
        )
        rows = list(living.select_for_update(of=("self",)).order_by("pk"))
        before = {row.pk: row.status for row in rows}
        for row in rows:
            row.health_status = by_id[row.pk]
            row.status = status_for(row.health_status)
        Instance.objects.bulk_update(rows, ["health_status", "status"], batch_size=200)
        changed = [row.pk for row in rows if row.status != before[row.pk]]
        _note("orchestrator.health", Instance.objects.filter(pk__in=changed))


def status_for(health: dict[str, Any]) -> str:
    """Return the instance status that a health report means."""
    word = health.get("status")
    if word in ("error", "unhealthy"):
        return Instance.Status.ERROR
    return Instance.Status.DEGRADED if word == "degraded" else Instance.Status.ACTIVE


# Why the controller itself ends sessions: no word on what the orchestrator did with its configuration.
OURS: Final = frozenset({
    "database_unavailable", "internal_error", "organization_suspended", "overloaded", "server_shutdown", "superseded",
    "the database answered too late", "unauthenticated", "unknown_orchestrator",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ended:
    """A session that is over, and why."""

    instance_pk: int
    session_id: str
    reason: str
    is_goodbye: bool = False


@transaction.atomic
def end(sessions: Sequence[Ended]) -> list[None]:
    """Clear ended sessions, unless a newer one took their row over meanwhile; a goodbye is inactive at once."""
    by_session = {ended.session_id: ended for ended in sessions}
    rows = list(
        Instance.objects.filter(pk__in=[ended.instance_pk for ended in sessions], session_id__in=by_session)
        .select_for_update()
        .order_by("pk")
        .only(
            "pk", "organization_id", "orchestrator_id", "session_id", "status",
            "is_acknowledging", "config_status", "config_lost_at",
        )
    )  # fmt: skip
    ids = [row.pk for row in rows]
    Instance.objects.filter(pk__in=ids).update(is_connected=False, session_id="", node="", connected_at=None)
    silent = [row for row in rows if row.owes_an_answer and by_session[row.session_id].reason not in OURS]
    if lost := [row.pk for row in silent if row.config_lost_at is None]:
        Instance.objects.filter(pk__in=lost).update(config_lost_at=timezone.now())
    left = [row.pk for row in rows if by_session[row.session_id].is_goodbye]
    if left:
        managed = Instance.objects.filter(pk__in=left).exclude(status=Instance.Status.INDEPENDENT)
        managed.update(status=Instance.Status.INACTIVE, deadline_at=None)
    events.record_many(
        Event(
            kind="orchestrator.disconnected",
            organization_id=row.organization_id,
            orchestrator_id=row.orchestrator_id,
            data={"session_id": row.session_id, "reason": by_session[row.session_id].reason},
        )
        for row in rows
    )
    return [None] * len(sessions)


def sweep(*, holder: str, now: datetime | None = None) -> int | None:
    """Declare instances past their deadline inactive; return how many, or None when another process just did.

    When the sweep is late, or no process was there to hear heartbeats, deadlines are extended instead: the fault
    was ours, and the fleet is not declared dead for it.
    """
    now = now or timezone.now()
    interval = settings.SWEEP_INTERVAL_SECONDS
    grant = leases.take("sweep", holder=holder, seconds=60, min_gap_seconds=interval * 0.6, now=now)
    if grant is None:
        return None
    late = grant.ran_at is None or now - grant.ran_at > timedelta(seconds=LATE_SECONDS)
    if not late:  # after an outage of ours the living processes have not said so yet either
        nodes.clear_dead(now=now)
    overdue = Instance.objects.filter(MANAGED, deadline_at__lt=now).exclude(status=Instance.Status.INACTIVE)
    if late or not Node.objects.exists():
        fresh = Instance.deadline_after(now)
        Instance.objects.filter(pk__in=list(overdue.values_list("pk", flat=True))).update(deadline_at=fresh)
        declared = 0
    else:
        declared = _declare(list(overdue.values_list("pk", flat=True)[:5000]), now=now)
    leases.finish(grant, now=now)
    return declared


def _declare(ids: Sequence[int], *, now: datetime) -> int:
    """Mark those of `ids` that are still overdue, each with exactly one event."""
    declared = 0
    for start in range(0, len(ids), CHUNK):
        with transaction.atomic():
            chunk = Instance.objects.filter(MANAGED, pk__in=ids[start : start + CHUNK], deadline_at__lt=now)
            rows = chunk.exclude(status=Instance.Status.INACTIVE).select_for_update(of=("self",)).order_by("pk")
            due = list(rows.values_list("pk", flat=True))
            still = Instance.objects.filter(pk__in=due, deadline_at__lt=now).exclude(
                status__in=[Instance.Status.INACTIVE, Instance.Status.INDEPENDENT]
            )
            declared += still.update(status=Instance.Status.INACTIVE)
            _note("orchestrator.inactive", Instance.objects.filter(pk__in=due, status=Instance.Status.INACTIVE))
    return declared


def _note(kind: str, rows: Any) -> None:
    """Record one event of `kind` for each instance in `rows`, with its status now."""
    events.record_many(
        Event(kind=kind, organization_id=organization_id, orchestrator_id=orchestrator_id, data={"status": status})
        for organization_id, orchestrator_id, status in rows.values_list("organization_id", "orchestrator_id", "status")
    )
