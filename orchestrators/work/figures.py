"""Figures of the queue: how deep, how old, how fast, how often it ends well; of everybody, or by organization."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Avg, Count, DurationField, ExpressionWrapper, F, Min, QuerySet
from django.db.models.functions import TruncDay

from orchestrators.models import Agent, Approval, Task

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
NOTHING: Final = timedelta()
OPEN: Final = (Task.Status.PENDING_APPROVAL, Task.Status.ASSIGNED, Task.Status.IN_PROGRESS)
TRIED: Final = (Task.Status.COMPLETED, Task.Status.FAILED, Task.Status.DEAD)
"""How a task that was worked on ends; one that was cancelled says nothing of the work."""
DECIDED: Final = (Approval.Status.APPROVED, Approval.Status.REJECTED, Approval.Status.EXPIRED)


@dataclass(slots=True)
class Figures:
    """The queue now, and what became of it within the last hour (`decided`: within the last day).

    `open` and `ended` count tasks by status; `oldest_seconds` is how long the oldest task that may be taken waits;
    `mean_seconds` is from the first attempt to the end, of the completed (None: none was).
    """

    open: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OPEN, 0))
    ended: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*TRIED, Task.Status.CANCELLED), 0))
    decided: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DECIDED, 0))
    created: int = 0
    oldest_seconds: float = 0.0
    mean_seconds: float | None = None
    agents: int = 0
    busy_agents: int = 0

    @property
    def pending(self) -> int:
        """How many wait, for a person or to be taken."""
        return self.open[Task.Status.PENDING_APPROVAL] + self.open[Task.Status.ASSIGNED]

    @property
    def processing(self) -> int:
        """How many run."""
        return self.open[Task.Status.IN_PROGRESS]

    @property
    def completion_percent(self) -> float | None:
        """Which share of those that were worked on is completed; None: none has ended."""
        return _percent(self.ended[Task.Status.COMPLETED], sum(self.ended[status] for status in TRIED))

    @property
    def approval_percent(self) -> float | None:
        """Which share of the approvals was approved; None: none was decided."""
        return _percent(self.decided[Approval.Status.APPROVED], sum(self.decided.values()))

    @property
    def utilization_percent(self) -> float | None:
        """Which share of the active agents works on something; None: there are none."""
        return _percent(self.busy_agents, self.agents)


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def of_all(*, now: datetime, organizations: Collection[str] | None = None) -> Figures:
    """Return the figures of everything together (of these organizations; None: of all)."""
    found = Figures()
    for status, number in _counted(_tasks(organizations).filter(completed_at__isnull=True), "status"):
        found.open[status] = number
    for status, number in _counted(_ended(organizations, now), "status"):
        found.ended[status] = number
    for status, number in _counted(_decided(organizations, now), "status"):
        found.decided[status] = number if status in DECIDED else 0
    found.decided = {status: found.decided[status] for status in DECIDED}
    found.created = _tasks(organizations).filter(created_at__gte=now - HOUR).count()
    found.oldest_seconds = age(_tasks(organizations).filter(**_due(now)).aggregate(at=Min("run_after"))["at"], now)
    found.mean_seconds = _mean(_ended(organizations, now))
    agents = Agent.objects.filter(status=Agent.Status.ACTIVE, **_whose(organizations))
    busy = _tasks(organizations).filter(status=Task.Status.IN_PROGRESS).values("organization_id", "assigned_agent")
    found.agents = agents.count()
    working = {(row["organization_id"], row["assigned_agent"]) for row in busy.distinct()}
    found.busy_agents = len(working & set(agents.values_list("organization_id", "agent_id"))) if working else 0
    return found


def pending_by_organization() -> Mapping[str, tuple[int, int]]:
    """Return (waiting, running) of each organization that has open tasks."""
    found: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    rows = Task.objects.filter(completed_at__isnull=True).order_by().values_list("organization_id", "status")
    for organization_id, status, number in rows.annotate(number=Count("pk")):
        found[organization_id][status == Task.Status.IN_PROGRESS] += number
    return {name: (waiting, running) for name, (waiting, running) in found.items()}


def oldest_by_organization(*, now: datetime) -> dict[str, float]:
    """Return for how many seconds the oldest task that may be taken waits, of each organization that has one."""
    rows = Task.objects.filter(**_due(now)).order_by().values_list("organization_id").annotate(at=Min("run_after"))
    return {organization_id: age(at, now) for organization_id, at in rows}


def late_by_organization(*, now: datetime, missed_within: timedelta) -> dict[str, int]:
    """Return how many tasks missed their target and are still open, or missed it only just now."""
    rows = Task.objects.filter(sla_missed_at__isnull=False)
    late = rows.filter(completed_at__isnull=True) | rows.filter(sla_missed_at__gt=now - missed_within)
    return dict(late.order_by().values_list("organization_id").annotate(number=Count("pk")))


def dead_by_organization(*, now: datetime) -> dict[str, int]:
    """Return how many tasks of each organization used up their attempts within the last hour."""
    rows = Task.objects.filter(completed_at__gt=now - HOUR, status=Task.Status.DEAD)
    return dict(rows.order_by().values_list("organization_id").annotate(number=Count("pk")))


def age(moment: datetime | None, now: datetime) -> float:
    """Return how many seconds ago a moment was; 0 for none."""
    return max(0.0, (now - moment).total_seconds()) if moment else 0.0


def _due(now: datetime) -> dict[str, Any]:
    return {"status": Task.Status.ASSIGNED, "run_after__lte": now}


def _whose(organizations: Collection[str] | None) -> dict[str, Any]:
    return {} if organizations is None else {"organization_id__in": list(organizations)}


def _tasks(organizations: Collection[str] | None) -> QuerySet[Task]:
    return Task.objects.filter(**_whose(organizations)).order_by()


def _ended(organizations: Collection[str] | None, now: datetime) -> QuerySet[Task]:
    return _tasks(organizations).filter(completed_at__gt=now - HOUR)


def _decided(organizations: Collection[str] | None, now: datetime) -> QuerySet[Approval]:
    whose = {f"task__{name}": value for name, value in _whose(organizations).items()}
    return Approval.objects.filter(decided_at__gt=now - DAY, **whose).order_by()


def _counted(rows: QuerySet[Any], column: str) -> list[tuple[str, int]]:
    return list(rows.values_list(column).annotate(number=Count("pk")))


def _mean(ended: QuerySet[Task]) -> float | None:
    took = ExpressionWrapper(F("completed_at") - F("started_at"), output_field=DurationField())
    rows = ended.filter(status=Task.Status.COMPLETED, started_at__isnull=False)
    mean: timedelta | None = rows.aggregate(mean=Avg(took))["mean"]
    return mean.total_seconds() if mean is not None else None


def created_by_day(
    *, since: datetime, until: datetime, organizations: Collection[str] | None, without: Collection[str] = ()
) -> list[tuple[str, str, datetime, int]]:
    """Return how many tasks each caller created on each day (UTC): (organization id, whose, day, number).

    Tasks of the types in `without` are left out.
    """
    rows = _tasks(organizations).filter(created_at__gte=since, created_at__lt=until).exclude(task_type__in=without)
    days = rows.annotate(day=TruncDay("created_at")).values_list("organization_id", "created_by", "day")
    return list(days.annotate(number=Count("pk")))
