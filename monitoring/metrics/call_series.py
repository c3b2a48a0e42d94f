"""The calls of our own API over time, all routes together: how many, how many failed, how long. Reads rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.db.models import Max, Q, Sum

from monitoring.metrics import call_spans
from monitoring.metrics.reading import Bucket
from monitoring.models import RequestMetric

NAMES: Final = ("calls_per_second", "calls_failed_percent", "calls_avg_ms", "calls_max_ms")
STEPS: Final = (60, 120, 300, 600, 1800, 3600, 7200, 21_600)
MAX_POINTS: Final = 180
Point = tuple[int, float, float | None, float | None, float | None]  # epoch seconds, then as NAMES


@dataclass(frozen=True, slots=True)
class CallSeries:
    """Points of whole buckets of `step_seconds`, oldest first, from the first call on."""

    step_seconds: int
    points: list[Point]


def read(*, since: datetime, until: datetime) -> CallSeries:
    """Return the calls from `since` until before `until`; the bucket that still fills is left out.

    A bucket without calls is 0 per second, and its other values are None.
    """
    wanted = (until - since).total_seconds() / MAX_POINTS
    step = next((step for step in STEPS if step >= wanted), STEPS[-1])
    first, last = (datetime.fromtimestamp(moment.timestamp() // step * step, UTC) for moment in (since, until))
    parts = call_spans.parts(first, last, now=until, coarsest=call_spans.coarsest(step))
    rows = (
        RequestMetric.objects.filter(call_spans.matching(parts, are_sums=True))
        .order_by()
        .annotate(bucket=Bucket("minute_at", step=step))
        .values("bucket")
        .annotate(
            n=Sum("count"), failed=Sum("count", filter=Q(status_class="5xx")), ms=Sum("sum_ms"), slowest=Max("max_ms")
        )
    )
    found = {row["bucket"]: row for row in rows}
    end = int(last.timestamp())
    return CallSeries(step, [_point(at, found.get(at), step) for at in range(min(found, default=end), end, step)])


def _point(at: int, row: Mapping[str, Any] | None, step: int) -> Point:
    if not row or not row["n"]:
        return (at, 0.0, None, None, None)
    count = float(row["n"])
    return (at, count / step, 100 * (row["failed"] or 0) / count, (row["ms"] or 0.0) / count, row["slowest"])
