"""Calls of our own API: counted in memory as they are answered, without a query, and stored by `flushing` in bulk.

A row is what this process answered in one minute, one hour or one day, so no two processes write one row, and storing
it again replaces it by the same or a larger count. Of hours and days there are sums too, over all routes of an
organization and over everything (ALL). A call counts in all of its rows or in none, and these are stored in one
transaction. Rows of hours and days that run stay in memory; where room is short those that are stored
are forgotten, and what follows goes into rows of another node. While the database is away rows are kept, up to
MAX_ROWS; what does not fit is counted as lost.
"""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from monitoring.metrics import histogram
from monitoring.metrics.call_spans import DAY, HOUR, MINUTE
from monitoring.models import ALL, RequestMetric
from orchestrators import nodes

MAX_ROWS: Final = 20_000
BATCH: Final = 500
UNIQUE: Final = ("organization_id", "span_seconds", "minute_at", "route", "method", "status_class", "node")
MEASURED: Final = ("count", "unauthenticated", "rate_limited", "sum_ms", "max_ms", "buckets")


class Series(NamedTuple):
    """What calls are counted under; all of it comes from bounded sets (monitoring/metrics/routes.py)."""

    route: str
    method: str
    status_class: str


class Key(NamedTuple):
    """A row: how long it is, its beginning (epoch seconds), the series, the organization."""

    span: int
    start: int
    series: Series
    organization_id: str


class Numbers:
    """What some calls come to, and the node under which they are stored."""

    __slots__ = ("buckets", "count", "max_ms", "node", "rate_limited", "sum_ms", "unauthenticated")

    def __init__(self, node: str = "") -> None:
        self.node = node
        self.count = self.unauthenticated = self.rate_limited = 0
        self.sum_ms = self.max_ms = 0.0
        self.buckets: histogram.Counts = {}

    def add(self, status: int, elapsed_ms: float, bucket: int) -> None:
        """Count one call; `bucket` is that of its time (histogram.py)."""
        self.count += 1
        if status == 401:
            self.unauthenticated += 1
        elif status == 429:
            self.rate_limited += 1
        self.sum_ms += elapsed_ms
        self.max_ms = max(self.max_ms, elapsed_ms)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1

    def merge(self, other: "Numbers") -> None:
        """Count what another has counted, too."""
        self.count += other.count
        self.unauthenticated += other.unauthenticated
        self.rate_limited += other.rate_limited
        self.sum_ms += other.sum_ms
        self.max_ms = max(self.max_ms, other.max_ms)
        histogram.merge(self.buckets, other.buckets)

    def copy(self) -> "Numbers":
        """Return the same numbers, which do not change any more."""
        twin = Numbers(self.node)
        for name in MEASURED:
            setattr(twin, name, getattr(self, name))
        twin.buckets = dict(self.buckets)
        return twin


class Recorder:
    """The counts of one process; everything may be called from any thread."""

    def __init__(self, *, max_rows: int = MAX_ROWS) -> None:
        self.max_rows, self.lost = max_rows, 0
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._totals: dict[Series, Numbers] = {}
        self._rows: dict[Key, Numbers] = {}
        self._changed: set[Key] = set()
        # What was counted since `_fold`, and where it counts: a call is one addition, not one for each of its rows.
        self._current: dict[tuple[Series, str], tuple[Numbers, list[Numbers]]] = {}
        self._minute = 0
        self._node = ""

    def record(
        self, series: Series, *, status: int, organization_id: str, elapsed_ms: float, now: float | None = None
    ) -> None:
        """Count one answered call; `now` is in epoch seconds."""
        with self._lock:
            # A clock that is set back must not begin a row anew that is stored already.
            minute = max(self._minute, int(time.time() if now is None else now) // MINUTE * MINUTE)
            if minute != self._minute:
                self._fold()
                self._minute = minute
            found = self._current.get((series, organization_id))
            numbers = found[0] if found is not None else self._find(series, organization_id)
            numbers.add(status, elapsed_ms, histogram.bucket(elapsed_ms))

    def _fold(self) -> None:
        """Bring the rows and totals up to date, and let the next calls look up anew where they count."""
        for counted, places in self._current.values():
            for numbers in places:
                numbers.merge(counted)
        self._current.clear()

    def _find(self, series: Series, organization_id: str) -> Numbers:
        """Return where a call is counted until the next `_fold`; in the totals alone where there is no room."""
        total = self._totals.setdefault(series, Numbers())
        keys = _keys(self._minute, series, organization_id)
        if not self._has_room(keys):
            self.lost += 1
            return total
        for key in keys:
            if key not in self._rows:
                self._rows[key] = Numbers(self._node)
        self._changed.update(keys)
        counted = Numbers()
        self._current[series, organization_id] = counted, [total, *(self._rows[key] for key in keys)]
        return counted

    def _has_room(self, keys: Sequence[Key]) -> bool:
        """Whether these rows are there or fit; those that are stored make room, and never come back."""
        if not self._node:  # not before the first call: what is made before a fork would be every process's
            self._node = nodes.new_id()
        if self._fits(keys) or len(self._rows) == len(self._changed):
            return self._fits(keys)
        self._fold()
        self._rows = {key: self._rows[key] for key in self._changed}
        self._node = nodes.new_id()
        return self._fits(keys)

    def _fits(self, keys: Sequence[Key]) -> bool:
        return len(self._rows) + sum(key not in self._rows for key in keys) <= self.max_rows

    def totals(self) -> dict[Series, Numbers]:
        """Return what was counted since the process began."""
        with self._lock:
            self._fold()
            return {series: numbers.copy() for series, numbers in self._totals.items()}

    def waiting(self) -> int:
        """Return how many rows are not stored yet, or not as they are now."""
        return len(self._changed)

    def flush(self, store: Callable[[Sequence[RequestMetric]], None]) -> int:
        """Have what changed stored, and forget what is over; whatever `store` raises, nothing is forgotten."""
        with self._flushing:
            with self._lock:
                self._fold()
                taken = {key: self._rows[key].copy() for key in self._changed}
            if taken:
                store([_row(key, numbers) for key, numbers in sorted(taken.items(), key=lambda pair: pair[0])])
            with self._lock:
                self._fold()
                self._changed -= {key for key, numbers in taken.items() if self._rows[key].count == numbers.count}
                over = [key for key in self._rows if key.start + key.span <= self._minute and key not in self._changed]
                for key in over:
                    del self._rows[key]
        return len(taken)


def _keys(minute: int, series: Series, organization_id: str) -> list[Key]:
    """Return the rows of a call."""
    keys, routes = [Key(MINUTE, minute, series, organization_id)], Series(ALL, ALL, series.status_class)
    for span in (HOUR, DAY):
        start = minute // span * span
        keys += [Key(span, start, series, organization_id), Key(span, start, routes, organization_id)]
        keys.append(Key(span, start, routes, ALL))
    return keys


def _row(key: Key, numbers: Numbers) -> RequestMetric:
    columns = {name: getattr(numbers, name) for name in MEASURED}
    return RequestMetric(
        node=numbers.node,
        span_seconds=key.span,
        minute_at=datetime.fromtimestamp(key.start, UTC),
        organization_id=key.organization_id,
        **key.series._asdict(),
        **columns | {"buckets": {str(index): numbers.buckets[index] for index in sorted(numbers.buckets)}},
    )


def store(rows: Sequence[RequestMetric]) -> None:
    """Write the rows in bulk; those that are there are replaced."""
    RequestMetric.objects.bulk_create(
        rows, batch_size=BATCH, update_conflicts=True, update_fields=MEASURED, unique_fields=UNIQUE
    )


RECORDER: Final = Recorder()
