"""The task queue over time, for charts: how many tasks are open, came and ended, how it is worked on. Reads rows."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.db.models import Avg, Count, DurationField, ExpressionWrapper, F, Q, QuerySet

from monitoring.metrics import work_series
from monitoring.metrics.reading import Bucket
from orchestrators.models import Agent, Task

NAMES: Final = (
    "tasks_open", "tasks_created", "tasks_ended", "task_completion_percent", "task_mean_seconds",
    "task_oldest_seconds", "approval_percent", "agent_utilization_percent",
)  # fmt: skip
STEPS: Final = (300, 900, 3600, 7200, 21_600)
MAX_POINTS: Final = 120
HOUR: Final = 3600
TOOK: Final = ExpressionWrapper(F("completed_at") - F("started_at"), output_field=DurationField())
COMPLETED: Final = Q(status=Task.Status.COMPLETED)
TRIED: Final = Q(status__in=[Task.Status.COMPLETED, Task.Status.FAILED, Task.Status.DEAD])
Point = tuple[int | float | None, ...]  # epoch seconds, then as NAMES


@dataclass(frozen=True, slots=True)
class TaskSeries:
    """Points of buckets of `step_seconds`, oldest first; `tasks_open` and `task_oldest_seconds` at the end of each."""

    step_seconds: int
    points: list[Point]


def read(*, organizations: Collection[str] | None, since: datetime, until: datetime) -> TaskSeries:
    """Return the tasks of these organizations (None: of all), created and ended per hour. Seven queries.

    What was open is counted back from now, so it is exact as far back as tasks are kept.
    """
    wanted = (until - since).total_seconds() / MAX_POINTS
    step = next((step for step in STEPS if step >= wanted), STEPS[-1])
    first, last = (int(moment.timestamp()) // step * step for moment in (since, until))
    rows, agents = Task.objects.order_by(), Agent.objects.filter(status=Agent.Status.ACTIVE)
    whose = None if organizations is None else list(organizations)
    if whose is not None:
        rows, agents = rows.filter(organization_id__in=whose), agents.filter(organization_id__in=whose)
    made = dict(_by(rows, "created_at", first, step).annotate(number=Count("pk")).values_list("bucket", "number"))
    ended = {row["bucket"]: row for row in _ended(rows, first, step)}
    oldest = work_series.oldest(rows, first=first, step=step, until=until)
    approved = work_series.approved(whose, first=first, step=step)
    busy = work_series.utilization(rows, agents, first=first, step=step, until=until)
    open_, points = rows.filter(completed_at__isnull=True).count(), list[Point]()
    for at in range(last, first - 1, -step):
        row = ended.get(at)
        created, over = made.get(at, 0), row["number"] if row else 0
        worked = (_share(row), _mean(row), oldest.get(at), approved.get(at), busy.get(at))
        points.append((at, float(open_), created * HOUR / step, over * HOUR / step, *worked))
        open_ += over - created
    return TaskSeries(step, points[::-1])


def _by(rows: QuerySet[Task], column: str, first: int, step: int) -> Any:
    since = datetime.fromtimestamp(first, UTC)
    found = rows.filter(**{f"{column}__gte": since})
    return found.annotate(bucket=Bucket(column, step=step)).values("bucket")


def _ended(rows: QuerySet[Task], first: int, step: int) -> Any:
    return _by(rows, "completed_at", first, step).annotate(
        number=Count("pk"),
        completed=Count("pk", filter=COMPLETED),
        tried=Count("pk", filter=TRIED),
        mean=Avg(TOOK, filter=COMPLETED & Q(started_at__isnull=False)),
    )


def _share(row: dict[str, Any] | None) -> float | None:
    return 100 * row["completed"] / row["tried"] if row and row["tried"] else None


def _mean(row: dict[str, Any] | None) -> float | None:
    return row["mean"].total_seconds() if row and row["mean"] is not None else None
