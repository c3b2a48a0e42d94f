"""Samples for tests: rows with ids of their own, at moments the test chooses."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

from monitoring.models import SystemMetric

NOW = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
_numbers: Iterator[int] = count()


def sample(at: datetime, *, organization: str = "acme", orchestrator: str = "orch-1", **values: Any) -> SystemMetric:
    """Return an unsaved row."""
    return SystemMetric(
        metric_id=values.pop("metric_id", f"sample-{next(_numbers)}"),
        organization_id=organization,
        orchestrator_id=orchestrator,
        timestamp=at,
        **values,
    )
