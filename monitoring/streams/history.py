"""The past of a metrics stream: one `history` frame with a few hundred points a column, from what fits the window."""

from typing import Final

from django.utils import timezone

from monitoring.dashboard.topics import Frame
from monitoring.metrics import series
from monitoring.streams.plans import WINDOWS, Plan
from orchestrators.protocol import iso

COLUMNS: Final = (
    "cpu_usage_percent", "memory_percent", "storage_percent", "disk_read_mb_s", "disk_write_mb_s", "network_in_mb_s",
    "network_out_mb_s", "api_latency_ms", "db_latency_ms", "redis_latency_ms",
)  # fmt: skip
POINTS: Final = 240


def frames(plan: Plan) -> list[Frame]:
    """Return the `history` frame of the plan's window."""
    until = timezone.now()
    since = until - WINDOWS[plan.window]
    whose = plan.scope.organizations
    found = series.read(organizations=whose, columns=COLUMNS, since=since, until=until, max_points=POINTS)
    frame: Frame = {
        "type": "history",
        "time_window": plan.window,
        "since": iso(since),
        "until": iso(until),
        "resolution": found.resolution,
        "step_seconds": found.step_seconds,
        "columns": found.columns,
    }
    return [frame]
