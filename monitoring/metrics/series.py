"""Series over time, for charts: average, smallest and largest value per bucket, from whatever rows fit the span."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone

from monitoring.metrics import reading, spans
from monitoring.metrics.reading import Point, Whose

STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
Value = tuple[int, float, float, float]  # epoch seconds of the bucket's beginning, average, smallest, largest


@dataclass(frozen=True, slots=True)
class Series:
    """Points per column, oldest first, of buckets of `step_seconds`; buckets without a value are left out.

    `resolution` says what they are read from: `raw` samples, `hourly` or `daily` roll-ups.
    """

    resolution: str
    step_seconds: int
    columns: dict[str, list[Value]]


def read(
    *,
    organizations: Collection[str] | None,
    orchestrator_id: str | None = None,
    columns: Sequence[str],
    since: datetime,
    until: datetime,
    max_points: int = 720,
    raw_span: timedelta = spans.RAW_SPAN,
    now: datetime | None = None,
) -> Series:
    """Return the series of these columns from `since` until before `until`, at most about `max_points` each.

    Of one orchestrator ("" is the organization's host), or of everything in the organizations (None: in all of them).
    Hours and days are whole: the first bucket is the one `since` lies in. Samples themselves are read for up to
    `raw_span`. Raises ValueError for an unknown column.
    """
    now, names = now or timezone.now(), reading.known(columns)
    whose = Whose(organizations, orchestrator_id)
    level = spans.resolution(since, until, now=now, raw_span=raw_span)
    step = step_for(level, since, until, max_points=max_points)
    start = since if level == spans.RAW else spans.floor(since, level)
    points: list[Point] = []
    for part in spans.parts(start, until, level=level, now=now):
        if part.level == spans.RAW:
            points += reading.bucketed_samples(whose, part, columns=names, step_seconds=step)
        else:
            points += reading.summaries(whose, part, columns=names)
    return Series(level, step, _values(names, [(at - at % step, name, found) for at, name, found in points]))


def step_for(level: str, since: datetime, until: datetime, *, max_points: int) -> int:
    """Return how many seconds a bucket covers: at least one of the level's, and so many that the points are few."""
    least = 1 if level == spans.RAW else int(spans.STEPS[level].total_seconds())
    wanted = (until - since).total_seconds() / max(1, max_points)
    days = -(-int(wanted) // 86_400) * 86_400
    return next((step for step in STEPS if step >= max(least, wanted)), max(least, days))


def _values(names: Sequence[str], points: Sequence[Point]) -> dict[str, list[Value]]:
    found = reading.gathered(points)
    return {
        name: [
            (at, total / count, low, high) for at, (count, total, low, high, _) in sorted(found.get(name, {}).items())
        ]
        for name in names
    }
