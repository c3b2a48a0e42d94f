"""How busy agents are: what waits for them, what they do, and what they did; a few reads for many agents."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Avg, Count, DateTimeField, DurationField, ExpressionWrapper, F, Q, QuerySet, Sum, Value
from django.db.models.functions import Coalesce, Greatest, Least

from orchestrators.models import Agent, Task

DAY: Final = timedelta(days=1)
HOUR: Final = timedelta(hours=1)
Status = Task.Status
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Load:
    """An agent's tasks: open ones by status now, ended ones of the last day, and `busy` over the last hour.

    `busy` is how many it did at once on average; `mean_seconds` is from being taken first to the end, None for none.
    """

    for_approval: int = 0
    waiting: int = 0
    running: int = 0
    completed: int = 0
    failed: int = 0
    mean_seconds: float | None = None
    busy: float = 0.0


def of(agents: Collection[Agent], *, now: datetime) -> dict[Key, Load]:
    """Return {(organization id, agent id): load} of these agents; three queries, however many they are."""
    found = {(row.organization_id, row.agent_id): Load() for row in agents}
    rows = Task.objects.filter(
        organization_id__in={row.organization_id for row in agents}, assigned_agent__in={row.agent_id for row in agents}
    ).order_by()
    for key, values in (*_open(rows), *_ended(rows, now=now), *_busy(rows, now=now)):
        if key in found:
            found[key] = replace(found[key], **values)
    return found


def _open(rows: QuerySet[Task]) -> list[tuple[Key, dict[str, Any]]]:
    counted = rows.filter(completed_at__isnull=True).values("organization_id", "assigned_agent").annotate(
        for_approval=Count("pk", filter=Q(status=Status.PENDING_APPROVAL)),
        waiting=Count("pk", filter=Q(status=Status.ASSIGNED)),
        running=Count("pk", filter=Q(status=Status.IN_PROGRESS)),
    )  # fmt: skip
    return [_keyed(row) for row in counted]


def _ended(rows: QuerySet[Task], *, now: datetime) -> list[tuple[Key, dict[str, Any]]]:
    took = ExpressionWrapper(F("completed_at") - F("started_at"), output_field=DurationField())
    is_done = Q(status=Status.COMPLETED)
    counted = rows.filter(completed_at__gte=now - DAY).values("organization_id", "assigned_agent").annotate(
        completed=Count("pk", filter=is_done),
        failed=Count("pk", filter=Q(status__in=[Status.FAILED, Status.DEAD])),
        mean=Avg(took, filter=is_done),
    )  # fmt: skip
    found = []
    for key, values in map(_keyed, counted):
        mean = values.pop("mean")
        found.append((key, {**values, "mean_seconds": mean.total_seconds() if mean is not None else None}))
    return found


def _busy(rows: QuerySet[Task], *, now: datetime) -> list[tuple[Key, dict[str, Any]]]:
    begin, end = Value(now - HOUR, DateTimeField()), Value(now, DateTimeField())
    overlap = Least(Coalesce("completed_at", end), end) - Greatest("started_at", begin)
    is_running = Q(status=Status.IN_PROGRESS, completed_at__isnull=True)
    counted = (
        rows.filter(is_running | Q(completed_at__gte=now - HOUR), started_at__isnull=False)
        .values("organization_id", "assigned_agent")
        .annotate(busy=Sum(ExpressionWrapper(overlap, output_field=DurationField())))
    )
    return [
        (key, {"busy": max(0.0, values["busy"] / HOUR) if values["busy"] else 0.0})
        for key, values in map(_keyed, counted)
    ]


def _keyed(row: Any) -> tuple[Key, dict[str, Any]]:
    return (row.pop("organization_id"), row.pop("assigned_agent")), row
