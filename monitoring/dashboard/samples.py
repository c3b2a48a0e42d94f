"""The topics of metrics: samples as they arrive, whole or the part about CPU or memory. Reads rows."""

from collections.abc import Iterable
from typing import Any, Final

from django.db.models import QuerySet

from monitoring.dashboard.topics import Frame, Scope
from monitoring.models import NUMBERS, SystemMetric
from orchestrators.protocol import iso
from orgs.events import RowCursor

RECENT: Final = 1000
PAGE_ROWS: Final = 2000
MAX_PAGES: Final = 3
CPU: Final = tuple(name for name in NUMBERS if name.startswith("cpu_"))
MEMORY: Final = tuple(name for name in NUMBERS if name.startswith(("memory_", "swap_")))
PARTS: Final = {"system_metrics": (*NUMBERS, "custom"), "cpu_usage": CPU, "memory_usage": MEMORY}
TOPICS: Final = frozenset(PARTS)


def frame(row: SystemMetric) -> Frame:
    """Return the `system_metrics` frame of a sample; columns its machine could not tell are null."""
    return {
        "type": "system_metrics",
        "metric_id": row.metric_id,
        "organization_id": row.organization_id,
        "orchestrator_id": row.orchestrator_id,
        "metrics": {name: getattr(row, name) for name in PARTS["system_metrics"]},
        "collected_by": row.collected_by,
        "timestamp": iso(row.timestamp),
    }


def part(whole: Frame, wanted: Iterable[str]) -> Frame:
    """Return the frame with what these topics show of it."""
    names = {name for topic in wanted for name in PARTS[topic]}
    return whole | {"metrics": {name: value for name, value in whole["metrics"].items() if name in names}}


def latest(scope: Scope) -> list[Frame]:
    """Return the newest sample of each orchestrator and organization, among the newest RECENT rows in scope."""
    rows = scope.narrow(SystemMetric.objects.all()).order_by("-id" if scope.organizations is None else "-timestamp")
    newest: dict[tuple[str, str], SystemMetric] = {}
    for row in rows[:RECENT]:
        newest.setdefault((row.organization_id, row.orchestrator_id), row)
    return [frame(row) for row in reversed(newest.values())]


def after(sample: int, scope: Scope, *, limit: int) -> list[Frame]:
    """Return the samples with an id above `sample`, oldest first."""
    rows: QuerySet[SystemMetric] = scope.narrow(SystemMetric.objects.filter(pk__gt=sample))
    return [frame(row) for row in rows.order_by("pk")[:limit]]


class Samples:
    """Follows the samples of all processes by their ids, one query a look unless they pour in."""

    def __init__(self) -> None:
        self._cursor: RowCursor[SystemMetric] = RowCursor(SystemMetric.objects.all())

    @property
    def floor(self) -> int:
        """The id up to which everything was read."""
        return self._cursor.floor

    def read(self) -> list[Frame]:
        """Return what is new; of a flood (a load of old rows) only what one look can take, and then what comes."""
        found: list[dict[str, Any]] = []
        for _ in range(MAX_PAGES):
            found += [frame(row) for row in self._cursor.read(limit=PAGE_ROWS)]
            if not self._cursor.is_behind:
                return found
        self._cursor = RowCursor(SystemMetric.objects.all())
        return found
