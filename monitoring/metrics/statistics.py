"""Statistics over a span: average, largest, smallest, 95th percentile and how many samples, per column."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from monitoring.metrics import aggregates, reading, spans
from monitoring.metrics.aggregates import Aggregate
from monitoring.metrics.reading import Whose

NOTHING: dict[str, Any] = {"avg": None, "max": None, "min": None, "p95": None, "sample_count": 0}


def summarize(
    *,
    organizations: Collection[str] | None,
    columns: Sequence[str],
    since: datetime,
    until: datetime,
    orchestrator_id: str | None = None,
    now: datetime | None = None,
) -> dict[str, dict[str, Any]]:
    """Return `{column: {avg, max, min, p95, sample_count}}` of the values from `since` until before `until`.

    Counts, averages and extremes are exact as long as samples are kept; then whole hours, later whole days count. The
    percentile comes from a histogram and is within about 3 %. Without a value everything is None and the count 0.
    """
    now, names = now or timezone.now(), reading.known(columns)
    whose, found = Whose(organizations, orchestrator_id), dict[str, list[Aggregate]]()
    parts = spans.parts(kept(since, now=now), until, level=spans.DAILY, now=now)
    pairs = reading.summed_samples(whose, [part for part in parts if part.level == spans.RAW], columns=names)
    for part in parts:
        if part.level != spans.RAW:
            pairs += [(name, aggregate) for _, name, aggregate in reading.rolled_up(whose, part, columns=names)]
    for name, aggregate in pairs:
        found.setdefault(name, []).append(aggregate)
    return {name: _summary(aggregates.merge(found[name])) if name in found else dict(NOTHING) for name in names}


def kept(since: datetime, *, now: datetime) -> datetime:
    """Return `since`, or the beginning of its hour or day where nothing finer is kept."""
    kept = {spans.HOURLY: settings.METRICS_RETENTION_DAYS, spans.DAILY: settings.METRICS_HOURLY_RETENTION_DAYS}
    for level, days in kept.items():
        if days and now - since > timedelta(days=days):
            since = spans.floor(since, level)
    return since


def _summary(aggregate: Aggregate) -> dict[str, Any]:
    count, total, low, high, _ = aggregate
    return {
        "avg": total / count,
        "max": high,
        "min": low,
        "p95": aggregates.quantile(aggregate, 0.95),
        "sample_count": count,
    }
