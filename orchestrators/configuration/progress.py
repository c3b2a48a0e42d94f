"""Progress: how far a rollout has got, counted from the rows of its members."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import BooleanField, Count, ExpressionWrapper, Q
from django.utils import timezone

from orchestrators.configuration import stages
from orchestrators.models import Instance, Node, Rollout

MAX_FAILURES: Final = 20
NODE_SILENT_SECONDS: Final = 12  # two beats: what a process that may have been killed holds cannot answer
OVERDUE: Final = {"waiting": "silent", "lost": "missing"}
Status = Instance.ConfigStatus


@dataclass(frozen=True, slots=True)
class Progress:
    """The members of a rollout, by what became of them.

    `sent` have no way to answer (older clients), `waiting` are connected and have not said how it went, `lost` went
    away after they were given it and before they said so, `offline` get it when they connect.

    Of the waiting `silent` have had the time to answer, and of the lost `missing` the time to come back.
    """

    members: int = 0
    applied: int = 0
    sent: int = 0
    waiting: int = 0
    failed: int = 0
    lost: int = 0
    offline: int = 0
    silent: int = 0
    missing: int = 0

    @property
    def reached(self) -> int:
        """How many could say something to it."""
        return self.members - self.offline

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name, as they are shown and kept."""
        return {name: number for name, number in asdict(self).items() if name not in OVERDUE.values()}


def of(rollout: Rollout, *, now: datetime | None = None) -> Progress:
    """Return the counts: of the moment while it is active, of its end afterwards."""
    if not rollout.is_active:
        return Progress(**rollout.outcome)
    return of_many([rollout], now=now)[rollout.pk]


def of_many(rollouts: Sequence[Rollout], *, now: datetime | None = None) -> dict[int, Progress]:
    """Return the counts of several by key: one statement for all that are active."""
    found = {row.pk: Progress() if row.is_active else Progress(**row.outcome) for row in rollouts}
    active = [row for row in rollouts if row.is_active]
    if not active:
        return found
    groups = (
        Instance.objects.present()
        .filter(config_rollout__in=active)
        .order_by()
        .annotate(is_lost=ExpressionWrapper(Q(config_lost_at__isnull=False), output_field=BooleanField()))
        .values_list("config_rollout", "config_status", "is_connected", "is_lost")
        .annotate(number=Count("pk"), excused=Count("pk", filter=_excused(active, now=now or timezone.now())))
    )
    counts: dict[int, Counter[str]] = {row.pk: Counter() for row in active}
    for pk, status, is_connected, is_lost, number, excused in groups:
        name = _name(status, is_connected=is_connected, is_lost=is_lost)
        counts[pk].update({"members": number, name: number})
        if name in OVERDUE:
            counts[pk][OVERDUE[name]] += number - excused
    return found | {pk: Progress(**count) for pk, count in counts.items()}


def by_stage(rollout: Rollout) -> list[Progress]:
    """Return the counts of each stage of an active rollout; of a coming stage only how many it adds (`members`)."""
    rows = Instance.objects.present().filter(organization_id=rollout.organization_id)
    needed = ("orchestrator_id", "labels", "config_status", "is_connected", "config_lost_at", "config_rollout_id")
    fleet = list(rows.order_by().only(*needed))
    found: list[Progress] = []
    seen: set[int] = set()
    for index in range(len(rollout.stages)):
        new = [row for row in stages.members(fleet, rollout.stages[index : index + 1]) if row.pk not in seen]
        seen |= {row.pk for row in new}
        given = [row for row in new if row.config_rollout_id == rollout.pk]
        counts = Counter(
            _name(row.config_status, is_connected=row.is_connected, is_lost=row.config_lost_at is not None)
            for row in given
        )
        found.append(Progress(members=len(given) if index <= rollout.stage else len(new), **counts))
    return found


def _name(status: str, *, is_connected: bool, is_lost: bool) -> str:
    if status in (Status.APPLIED, Status.FAILED):
        return str(status)
    if not is_connected:
        return "lost" if is_lost and status != Status.UNKNOWN else "offline"
    return "sent" if status == Status.UNKNOWN else "waiting"


def _excused(rollouts: Sequence[Rollout], *, now: datetime) -> Q:
    """Return what is true of members that may still answer: here, or gone, for less than the grace.

    One that went away before has no new grace when it comes back: else what stops it each time would never count.
    What has never answered to any configuration does not undo a plain change by going away, either.
    """
    doubtful = Node.objects.filter(beat_at__lt=now - timedelta(seconds=NODE_SILENT_SECONDS)).values("node_id")
    found = Q(is_connected=True, node__in=doubtful)
    found |= Q(config_rollout__in=[row.pk for row in rollouts if not row.is_staged], config_reported_hash="")
    for grace in {row.grace for row in rollouts}:
        members = Q(config_rollout__in=[row.pk for row in rollouts if row.grace == grace])
        is_gone_lately = Q(config_lost_at__gt=now - grace)
        is_here_lately = Q(is_connected=True, connected_at__gt=now - grace, config_lost_at__isnull=True)
        found |= members & (is_gone_lately | is_here_lately)
    return found


def failures(rollout: Rollout) -> list[dict[str, str]]:
    """Return up to MAX_FAILURES members that failed, with what they said."""
    if not rollout.is_active:
        return list(rollout.failures)
    rows = Instance.objects.present().filter(config_rollout=rollout, config_status=Status.FAILED)
    pairs = rows.order_by("orchestrator_id").values_list("orchestrator_id", "config_error")[:MAX_FAILURES]
    return [{"orchestrator_id": orchestrator_id, "error": error} for orchestrator_id, error in pairs]


def summary(rollout: Rollout, *, now: datetime) -> dict[str, Any]:
    """Return counts and failures as they are kept when a rollout ends."""
    return {"outcome": of(rollout, now=now).as_dict(), "failures": failures(rollout)}
