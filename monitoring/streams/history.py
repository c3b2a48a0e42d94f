"""The past of a metrics stream: one `history` frame with a few hundred points a column. Reads rows."""

from datetime import datetime
from typing import Final

from django.utils import timezone

from monitoring.dashboard.topics import Frame
from monitoring.models import SystemMetric
from monitoring.streams.plans import WINDOWS, Plan
from orchestrators.protocol import iso

COLUMNS: Final = (
    "cpu_usage_percent", "memory_percent", "storage_percent", "disk_read_mb_s", "disk_write_mb_s", "network_in_mb_s",
    "network_out_mb_s", "api_latency_ms", "db_latency_ms", "redis_latency_ms",
)  # fmt: skip
MAX_ROWS: Final = 5000
POINTS: Final = 240
Point = tuple[int, float, float, float]  # epoch seconds of the bucket's beginning, average, smallest, largest


def frames(plan: Plan) -> list[Frame]:
    """Return the `history` frame of the plan's window, out of the newest MAX_ROWS samples in it."""
    until = timezone.now()
    since, step = until - WINDOWS[plan.window], int(WINDOWS[plan.window].total_seconds()) // POINTS
    rows = plan.scope.narrow(SystemMetric.objects.filter(timestamp__gte=since, timestamp__lt=until))
    found = list(rows.order_by("-timestamp").values_list("timestamp", *COLUMNS)[:MAX_ROWS])
    frame: Frame = {
        "type": "history",
        "time_window": plan.window,
        "since": iso(found[-1][0] if len(found) == MAX_ROWS else since),
        "until": iso(until),
        "step_seconds": step,
        "columns": {name: _points(found, place, step=step) for place, name in enumerate(COLUMNS, 1)},
    }
    return [frame]


def _points(rows: list[tuple[datetime, *tuple[float | None, ...]]], place: int, *, step: int) -> list[Point]:
    buckets: dict[int, list[float]] = {}
    for row in reversed(rows):
        value = row[place]
        if isinstance(value, int | float):
            second = int(row[0].timestamp())
            buckets.setdefault(second - second % step, []).append(value)
    return [(at, sum(found) / len(found), min(found), max(found)) for at, found in sorted(buckets.items())]
