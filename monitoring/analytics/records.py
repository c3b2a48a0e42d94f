"""Events, messages, tasks, approvals and activities as a source of queries: how many there were. Reads rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.db.models import Count, Model, QuerySet

from monitoring.analytics.catalog import COUNTED, Cell, Metric, Source, Wanted, counted, too_many, unit_seconds
from monitoring.metrics.reading import Bucket
from monitoring.models import Activity
from orchestrators.models import Approval, Message, Task
from orgs.models import Event

NAME: Final = "records"
MAX_COUNTS: Final = 200_000  # of a metric, read at once
EVENTS, MESSAGES, ACTIVITIES = "EVENT_RETENTION_DAYS", "MESSAGE_RETENTION_DAYS", "METRICS_HOURLY_RETENTION_DAYS"
TASKS: Final = "TASK_RETENTION_DAYS"
OF_TASKS: Final = {
    "organization": "organization_id", "orchestrator": "orchestrator_id", "status": "status", "task_type": "task_type",
    "agent": "assigned_agent",
}  # fmt: skip
OF_APPROVALS: Final = {"organization": "task__organization_id", "status": "status"}
OF_EVENTS: Final = {"organization": "organization_id", "orchestrator": "orchestrator_id"}
OF_MESSAGES: Final = {
    "organization": "orchestrator__organization_id", "orchestrator": "orchestrator_id", "status": "status",
    "direction": "direction", "message_type": "message_type",
}  # fmt: skip
OF_ACTIVITIES: Final = {"organization": "organization_id", "user": "user_id", "activity_type": "activity_type"}


@dataclass(frozen=True, slots=True)
class Table:
    """Rows that are counted: their model, the columns of the dimensions, and which of them."""

    model: type[Model]
    columns: Mapping[str, str]
    description: str
    kept_setting: str
    where: Mapping[str, Any] = field(default_factory=dict)
    at: str = "created_at"

    def rows(self, wanted: Wanted) -> QuerySet[Any]:
        """Return the rows of a query."""
        found = self.model._default_manager.filter(**self.where).order_by()
        found = found.filter(**{f"{self.at}__gte": wanted.start_at, f"{self.at}__lt": wanted.end_at})
        chosen = dict(wanted.filters)
        if wanted.organizations is not None:
            chosen["organization"] = tuple(wanted.organizations)
        return found.filter(**{f"{self.columns[name]}__in": list(values) for name, values in chosen.items()})


def _events(kind: str, description: str) -> Table:
    return Table(Event, OF_EVENTS, description, EVENTS, {"kind": kind})


TABLES: Final = {
    "events": Table(Event, OF_EVENTS | {"kind": "kind"}, "What happened in the fleet.", EVENTS),
    "orchestrator_connections": _events("orchestrator.connected", "Sessions that were opened."),
    "orchestrator_disconnections": _events("orchestrator.disconnected", "Sessions that ended."),
    "orchestrator_inactive": _events("orchestrator.inactive", "Orchestrators that were declared inactive."),
    "messages": Table(Message, OF_MESSAGES, "Messages that were made, to and from orchestrators.", MESSAGES),
    "messages_failed": Table(
        Message,
        OF_MESSAGES,
        "Messages of the span that failed or expired.",
        MESSAGES,
        {"status__in": ("failed", "expired")},
    ),
    "tasks": Table(Task, OF_TASKS, "Tasks that were created.", TASKS),
    "tasks_ended": Table(Task, OF_TASKS, "Tasks that ended, however they did.", TASKS, at="completed_at"),
    "approvals": Table(Approval, OF_APPROVALS, "Approvals that were decided.", TASKS, at="decided_at"),
    "activities": Table(Activity, OF_ACTIVITIES, "What people did, as clients report it.", ACTIVITIES),
}


def read(wanted: Wanted) -> Iterator[Cell]:
    """Yield counts by their units: a statement for each metric; raises `invalid_field` beyond MAX_COUNTS."""
    for name in wanted.metrics:
        table = TABLES[name]
        rows = table.rows(wanted).annotate(bucket=Bucket(table.at, step=unit_seconds(wanted)))
        keys = [table.columns[dimension] for dimension in wanted.dimensions]
        found = list(rows.values_list("bucket", *keys).annotate(number=Count("pk"))[: MAX_COUNTS + 1])
        if len(found) > MAX_COUNTS:
            raise too_many()
        for at, *whose, number in found:
            yield counted(name, int(at), tuple(whose), number)


SOURCE: Final = Source(
    NAME,
    [
        Metric(name, COUNTED, "", table.description, tuple(table.columns), NAME, table.kept_setting)
        for name, table in TABLES.items()
    ],
    read,
)
