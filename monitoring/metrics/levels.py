"""Levels: how each part of a machine is, by the latest samples and two thresholds. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from monitoring.models import SystemMetric

HEALTHY, WARNING, CRITICAL, UNKNOWN = "healthy", "warning", "critical", "unknown"
WORST_LAST: Final = (UNKNOWN, HEALTHY, WARNING, CRITICAL)
FRESH: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Part:
    """A part, the column that says how it is, and from which values on that is a warning or critical (None: never)."""

    name: str
    column: str
    unit: str
    warning: float | None = None
    critical: float | None = None

    def level(self, value: float | None) -> str:
        """Return the level of a value; of none it is unknown."""
        if value is None:
            return UNKNOWN
        if self.critical is not None and value >= self.critical:
            return CRITICAL
        return WARNING if self.warning is not None and value >= self.warning else HEALTHY


PARTS: Final = (
    Part("cpu", "cpu_usage_percent", "percent", 70, 90),
    Part("memory", "memory_percent", "percent", 80, 95),
    Part("disk", "storage_percent", "percent", 90),
    Part("network", "network_connections", "sockets"),
    Part("database", "db_latency_ms", "ms", 1000, 3000),
    Part("redis", "redis_latency_ms", "ms", 1000, 3000),
)


def components(rows: Iterable[SystemMetric], *, now: datetime) -> dict[str, dict[str, Any]]:
    """Return {part: its level, and the measurement behind it}: of several fresh rows the one that is worst.

    A sample older than five minutes says nothing about now.
    """
    fresh = [row for row in rows if row.timestamp >= now - FRESH]
    return {part.name: _component(part, fresh) for part in PARTS}


def _component(part: Part, rows: Iterable[SystemMetric]) -> dict[str, Any]:
    measured = [row for row in rows if getattr(row, part.column) is not None]
    worst = max(measured, key=lambda row: float(getattr(row, part.column)), default=None)
    value = getattr(worst, part.column) if worst else None
    return {
        "level": part.level(value),
        "metric": part.column,
        "value": value,
        "unit": part.unit,
        "warning_at": part.warning,
        "critical_at": part.critical,
        "measured_at": worst.timestamp if worst else None,
        "organization_id": worst.organization_id if worst else None,
        "orchestrator_id": worst.orchestrator_id if worst else None,
    }


def overall(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the worst level of the parts; unknown parts count only where all are."""
    return max((str(part["level"]) for part in found.values()), key=WORST_LAST.index)
