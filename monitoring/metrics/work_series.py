"""How the task queue is worked on over time, for charts: the oldest wait, what approvers decide, how busy agents are.

Each function returns {epoch seconds of a bucket's beginning: value}, of buckets of `step` seconds from `first` on.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from django.db.models import (
    Case,
    Count,
    DurationField,
    Exists,
    ExpressionWrapper,
    F,
    Min,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Coalesce

from monitoring.metrics.reading import Bucket
from orchestrators.models import Agent, Approval, Task
from orchestrators.work import figures

FAR: Final = datetime(9000, 1, 1, tzinfo=UTC)
Series = dict[int, float]


def oldest(rows: QuerySet[Task], *, first: int, step: int, until: datetime) -> Series:
    """Return for how many seconds the oldest task that might be taken had waited at the end of each bucket. One query.

    A wait ends when a task is first taken; of one that waits for another attempt it is the wait since it may be.
    What was cancelled before anybody took it is left out: it may have waited for a person.
    """
    asked = Approval.objects.filter(task=OuterRef("pk")).values("decided_at")
    is_first = Q(started_at__isnull=True) | Q(run_after__lte=F("started_at")) | Q(status=Task.Status.ASSIGNED)
    waiting = rows.filter(_lately(first)).exclude(status=Task.Status.PENDING_APPROVAL)
    waiting = waiting.exclude(status=Task.Status.CANCELLED, started_at__isnull=True).filter(run_after__lte=until)
    ended = Case(When(status=Task.Status.ASSIGNED, then=Value(FAR)), default=Coalesce("started_at", "completed_at"))
    began = Case(When(is_first, then=F("run_after")), default=Coalesce(Subquery(asked), "created_at"))
    found = waiting.annotate(over_at=ended).annotate(bucket=Bucket("over_at", step=step)).values("bucket")
    begun = {row["bucket"]: row["began"].timestamp() for row in found.annotate(began=Min(began))}
    last, values = int(until.timestamp()) // step * step, Series()
    earliest = min((moment for bucket, moment in begun.items() if bucket > last), default=until.timestamp())
    for at in range(last, first - 1, -step):
        end = min(at + step, until.timestamp())
        values[at] = max(0.0, end - earliest)
        earliest = min(earliest, begun.get(at, earliest))  # what was taken in this bucket still waited before it
    return values


def approved(organizations: list[str] | None, *, first: int, step: int) -> Series:
    """Return which share, in per cent, of the approvals decided in each bucket was approved. One query."""
    since = datetime.fromtimestamp(first, UTC)
    rows = Approval.objects.filter(decided_at__gte=since, status__in=figures.DECIDED).order_by()
    if organizations is not None:
        rows = rows.filter(task__organization_id__in=organizations)
    found = rows.annotate(bucket=Bucket("decided_at", step=step)).values_list("bucket")
    counted = found.annotate(yes=Count("pk", filter=Q(status=Approval.Status.APPROVED)), number=Count("pk"))
    return {bucket: 100 * yes / number for bucket, yes, number in counted}


def utilization(rows: QuerySet[Task], agents: QuerySet[Agent], *, first: int, step: int, until: datetime) -> Series:
    """Return which share, in per cent, of the time of the agents active now was work, at most 100. Two queries.

    As the page of agents counts it: a task is work from being first taken to its end.
    """
    if not (number := agents.count()):
        return {}
    since, last = datetime.fromtimestamp(first, UTC), int(until.timestamp()) // step * step
    mine = agents.filter(organization_id=OuterRef("organization_id"), agent_id=OuterRef("assigned_agent"))
    is_work = Q(status=Task.Status.IN_PROGRESS) | Q(completed_at__isnull=False)
    worked = rows.filter(_lately(first), is_work, Exists(mine), started_at__isnull=False)
    worked = worked.annotate(over_at=Coalesce("completed_at", Value(until)))
    buckets = {"bucket": Bucket("started_at", step=step), "last": Bucket("over_at", step=step)}
    found = worked.annotate(**buckets).values(*buckets).annotate(
        number=Count("pk"), began=Sum(_since(since, "started_at")), over=Sum(_since(since, "over_at"))
    )  # fmt: skip
    busy = dict.fromkeys(range(first, last + 1, step), 0.0)
    for row in found:
        for at, seconds in _spread(row, first=first, step=step):
            if at in busy:
                busy[at] += seconds
    lengths = {at: min(step, until.timestamp() - at) for at in busy}
    return {at: min(100.0, 100 * busy[at] / (number * length)) for at, length in lengths.items() if length > 0}


def _spread(row: dict[str, Any], *, first: int, step: int) -> Iterator[tuple[int, float]]:
    """Yield the seconds in each bucket of the tasks that began in one bucket and ended in one."""
    number, began, over = row["number"], row["began"].total_seconds(), row["over"].total_seconds()
    if row["bucket"] == row["last"]:
        yield row["bucket"], over - began
        return
    yield row["bucket"], number * (row["bucket"] + step - first) - began
    for at in range(max(row["bucket"] + step, first), row["last"], step):
        yield at, number * step
    yield row["last"], over - number * (row["last"] - first)


def _since(moment: datetime, column: str) -> Any:
    return ExpressionWrapper(F(column) - Value(moment), output_field=DurationField())


def _lately(first: int) -> Q:
    """Return what tasks have that were not over at some time since."""
    return Q(completed_at__isnull=True) | Q(completed_at__gte=datetime.fromtimestamp(first, UTC))
