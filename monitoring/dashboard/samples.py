"""The topics of metrics: samples as they arrive, whole or the part about CPU or memory. Reads rows."""

import time
from collections.abc import Iterable
from typing import Final

from django.db.models import Q, QuerySet

from monitoring.dashboard.topics import Frame, Scope
from monitoring.models import NUMBERS, SystemMetric
from orchestrators.protocol import iso

RECENT: Final = 1000
PAGE_ROWS: Final = 2000
MAX_PAGES: Final = 3
GAP_SECONDS: Final = 10.0
GAPS_AT_START: Final = 100
MAX_GAPS: Final = 1000
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
    newest: dict[tuple[str, str], int] = {}
    for pk, *source in rows.values_list("pk", "organization_id", "orchestrator_id")[:RECENT]:
        newest.setdefault((source[0], source[1]), pk)
    found = SystemMetric.objects.in_bulk(list(newest.values()))  # a row that was deleted meanwhile is left out
    return [frame(found[pk]) for pk in reversed(newest.values()) if pk in found]


def after(sample: int, scope: Scope, *, limit: int) -> list[Frame]:
    """Return the samples with an id above `sample`, oldest first."""
    rows: QuerySet[SystemMetric] = scope.narrow(SystemMetric.objects.filter(pk__gt=sample))
    return [frame(row) for row in rows.order_by("pk")[:limit]]


class Samples:
    """Follows the samples of all processes by their ids: one query a look, unless they pour in.

    Ids are given before the commit, so some may appear below the newest one read: they are asked for again until they
    are GAP_SECONDS old. Unlike an event, a sample that comes later still is only in the table.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        recent = list(SystemMetric.objects.order_by("-pk").values_list("pk", flat=True)[:GAPS_AT_START])
        self._last = recent[0] if recent else 0
        missing = set(range(min(recent, default=1), self._last)) - set(recent)
        self._gaps = dict.fromkeys(sorted(missing), time.monotonic() + GAP_SECONDS)

    @property
    def floor(self) -> int:
        """The id up to which everything was read."""
        return min(self._gaps, default=self._last + 1) - 1

    def read(self) -> list[Frame]:
        """Return what is new; of a flood (a load of old rows) only what one look can take, and then what comes."""
        found: list[Frame] = []
        for _ in range(MAX_PAGES):
            page = self._page()
            found += page
            if len(page) < PAGE_ROWS:
                return found
        self._begin()
        return found

    def _page(self) -> list[Frame]:
        rows = SystemMetric.objects.filter(Q(pk__gt=self._last) | Q(pk__in=list(self._gaps)))
        found = list(rows.order_by("pk")[:PAGE_ROWS])
        now = time.monotonic()
        for row in found:
            self._gaps.pop(row.pk, None)
            if row.pk > self._last:
                first = max(self._last + 1, row.pk - MAX_GAPS)
                self._gaps |= dict.fromkeys(range(first, row.pk), now + GAP_SECONDS)
                self._last = row.pk
        kept = [(pk, until) for pk, until in self._gaps.items() if until > now]
        self._gaps = dict(kept[-MAX_GAPS:])
        return [frame(row) for row in found]
