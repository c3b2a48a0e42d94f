"""Calls of our own API: counted in memory as they are answered, without a query, and stored by `flushing` in bulk.

A row is what this process answered in one minute, so no two processes write one row, and storing it again replaces it
by the same or a larger count. While the database is away rows are kept, up to MAX_ROWS; what does not fit is counted as
lost.
"""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Final, NamedTuple

from monitoring.metrics import histogram
from monitoring.models import RequestMetric
from orchestrators import nodes

MAX_ROWS: Final = 20_000
BATCH: Final = 500
MINUTE: Final = 60
UNIQUE: Final = ("organization_id", "minute_at", "route", "method", "status_class", "node")
MEASURED: Final = ("count", "unauthenticated", "rate_limited", "sum_ms", "max_ms", "buckets")


class Series(NamedTuple):
    """What calls are counted under; all of it comes from bounded sets (monitoring/metrics/routes.py)."""

    route: str
    method: str
    status_class: str


class Key(NamedTuple):
    """A row: the minute (epoch seconds), the series, the organization."""

    minute: int
    series: Series
    organization_id: str


class Numbers:
    """What some calls come to."""

    __slots__ = ("buckets", "count", "max_ms", "rate_limited", "sum_ms", "unauthenticated")

    def __init__(self) -> None:
        self.count = self.unauthenticated = self.rate_limited = 0
        self.sum_ms = self.max_ms = 0.0
        self.buckets: histogram.Counts = {}

    def add(self, status: int, elapsed_ms: float) -> None:
        """Count one call."""
        self.count += 1
        self.unauthenticated += status == 401
        self.rate_limited += status == 429
        self.sum_ms += elapsed_ms
        self.max_ms = max(self.max_ms, elapsed_ms)
        histogram.add(self.buckets, elapsed_ms)

    def copy(self) -> "Numbers":
        """Return the same numbers, which do not change any more."""
        twin = Numbers()
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
        self._minute = 0

    def record(
        self, series: Series, *, status: int, organization_id: str, elapsed_ms: float, now: float | None = None
    ) -> None:
        """Count one answered call; `now` is in epoch seconds."""
        with self._lock:
            # A clock that is set back must not begin a row anew that is stored already.
            self._minute = max(self._minute, int(time.time() if now is None else now) // MINUTE * MINUTE)
            self._totals.setdefault(series, Numbers()).add(status, elapsed_ms)
            key = Key(self._minute, series, organization_id)
            if key not in self._rows and len(self._rows) >= self.max_rows:
                self.lost += 1
                return
            self._rows.setdefault(key, Numbers()).add(status, elapsed_ms)
            self._changed.add(key)

    def totals(self) -> dict[Series, Numbers]:
        """Return what was counted since the process began."""
        with self._lock:
            return {series: numbers.copy() for series, numbers in self._totals.items()}

    def waiting(self) -> int:
        """Return how many rows are not stored yet, or not as they are now."""
        return len(self._changed)

    def flush(self, store: Callable[[Sequence[RequestMetric]], None]) -> int:
        """Have what changed stored, and forget minutes that are over; whatever `store` raises, nothing is forgotten."""
        with self._flushing:
            with self._lock:
                taken = {key: self._rows[key].copy() for key in self._changed}
            if taken:
                store([_row(key, numbers) for key, numbers in sorted(taken.items(), key=lambda pair: pair[0])])
            with self._lock:
                self._changed -= {key for key, numbers in taken.items() if self._rows[key].count == numbers.count}
                over = [key for key in self._rows if key.minute < self._minute and key not in self._changed]
                for key in over:
                    del self._rows[key]
        return len(taken)


def _row(key: Key, numbers: Numbers) -> RequestMetric:
    columns = {name: getattr(numbers, name) for name in MEASURED}
    return RequestMetric(
        node=node(),
        minute_at=datetime.fromtimestamp(key.minute, UTC),
        organization_id=key.organization_id,
        **key.series._asdict(),
        **columns | {"buckets": {str(index): numbers.buckets[index] for index in sorted(numbers.buckets)}},
    )


@cache
def node() -> str:
    """Return the name under which this process writes: no earlier process had it."""
    return nodes.new_id()


def store(rows: Sequence[RequestMetric]) -> None:
    """Write the rows in bulk; those that are there are replaced."""
    RequestMetric.objects.bulk_create(
        rows, batch_size=BATCH, update_conflicts=True, update_fields=MEASURED, unique_fields=UNIQUE
    )


RECORDER: Final = Recorder()
