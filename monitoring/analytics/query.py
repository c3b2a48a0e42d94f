"""Queries: rows of named metrics, by time and by what they belong to. Reads rows; `Spec` says what is asked for."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any, Final

from django.utils import timezone

from monitoring.analytics import catalog
from monitoring.analytics.catalog import COUNTED, Cell, Wanted
from monitoring.analytics.spec import BUCKETS, Spec
from monitoring.metrics import aggregates
from monitoring.metrics.aggregates import Aggregate

__all__ = ["Spec", "rows"]

# What is read at once where a bucket of time has several rows: few rows need little, a long export little memory.
WINDOWS: Final = {"minute": timedelta(hours=1), "hour": timedelta(days=1), "day": timedelta(days=31)}
FULL: Final = 4  # metrics of samples; with twice as many a window is half as wide
LONGEST: Final = {name: longest for name, (_, longest) in BUCKETS.items()}
PERCENTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
TOTALS: Final = ("sum", "count")  # of what is counted these are one number, however it is spread over the hours
Place = tuple[int, tuple[str, ...]]  # the bucket's beginning (0 without buckets), the values of the dimensions


def rows(spec: Spec, *, organizations: Collection[str] | None, now: datetime | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a query within these organizations (None: all), oldest first, then by the dimensions.

    Each has the keys `spec.columns`: `timestamp` (aware) where it is by time, the dimensions, a number or None per
    metric. Buckets without anything are left out; a query without groups has one row. Statements depend on the span
    and the metrics, never on what is stored; a span is read window by window, as far as rows are taken.
    Raises `invalid_field` where a window has more roll-ups than can be read.
    """
    now, left = now or timezone.now(), spec.limit
    for start_at, end_at in _windows(spec):
        for row in _window(spec, start_at, end_at, _narrowed(spec, organizations), now=now):
            if left == 0:
                return
            yield row
            left = None if left is None else left - 1
        if left == 0:
            return


def _windows(spec: Spec) -> Iterator[tuple[datetime, datetime]]:
    """Yield spans that begin with a bucket, the first and the last cut to the query's."""
    if spec.bucket is None:
        yield spec.start_at, spec.end_at
        return
    step, width = BUCKETS[spec.bucket][0], _width(spec, spec.bucket)
    start_at = spec.start_at
    first = int(start_at.timestamp())
    following = datetime.fromtimestamp(first - first % step, UTC) + width
    while start_at < spec.end_at:
        yield start_at, min(following, spec.end_at)
        start_at, following = following, following + width


def _width(spec: Spec, bucket: str) -> timedelta:
    """Return how much of the span is read at once, in whole buckets."""
    if not spec.dimensions:
        return LONGEST[bucket]
    step, measured = BUCKETS[bucket][0], [name for name in spec.metrics if catalog.metrics()[name].kind != COUNTED]
    buckets = WINDOWS[bucket] // timedelta(seconds=step) // max(1, len(measured) // FULL)
    return timedelta(seconds=step * max(1, buckets))


def _narrowed(spec: Spec, organizations: Collection[str] | None) -> Collection[str] | None:
    wanted = spec.filters.get("organization")
    if wanted is None or organizations is None:
        return wanted if wanted is not None else organizations
    return sorted(set(wanted) & set(organizations))


def _window(
    spec: Spec, start_at: datetime, end_at: datetime, organizations: Collection[str] | None, *, now: datetime
) -> Iterator[dict[str, Any]]:
    step = BUCKETS[spec.bucket][0] if spec.bucket else None
    found: dict[Place, dict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    if not spec.bucket and not spec.dimensions:
        found[0, ()] = defaultdict(list)
    for cell in _cells(spec, start_at, end_at, organizations, step=step, now=now):
        found[cell.at - cell.at % step if step else 0, cell.keys][cell.metric].append(cell)
    for at, keys in sorted(found):
        since, until = _bucket(at, step, start_at, min(end_at, now))
        row: dict[str, Any] = {"timestamp": datetime.fromtimestamp(at, UTC)} if step else {}
        row |= dict(zip(spec.dimensions, keys, strict=True))
        for name in spec.metrics:
            cells, kept = found[at, keys].get(name, ()), catalog.metrics()[name].kept_since(now)
            row[name] = _value(name, cells, spec.aggregation, max(since, kept), until, step=step)
        yield row


def _cells(
    spec: Spec,
    start_at: datetime,
    end_at: datetime,
    organizations: Collection[str] | None,
    *,
    step: int | None,
    now: datetime,
) -> Iterator[Cell]:
    by_source: dict[str, list[str]] = defaultdict(list)
    for name in spec.metrics:
        by_source[catalog.metrics()[name].source].append(name)
    filters = {name: values for name, values in spec.filters.items() if name != "organization"}
    unit = catalog.EVER if spec.aggregation in TOTALS else catalog.HOUR
    for source, names in by_source.items():
        wanted = Wanted(tuple(names), organizations, start_at, end_at, filters, spec.dimensions, step, now, unit)
        yield from catalog.read(source, wanted)


def _bucket(at: int, step: int | None, start_at: datetime, end_at: datetime) -> tuple[float, float]:
    """Return the part of a bucket that the query covers, in epoch seconds."""
    since, until = start_at.timestamp(), end_at.timestamp()
    return (max(since, at), min(until, at + step)) if step else (since, until)


def _value(
    name: str, cells: Sequence[Cell], aggregation: str, since: float, until: float, *, step: int | None
) -> float | None:
    if catalog.metrics()[name].kind == COUNTED:
        return _counted(cells, aggregation, since, until, unit=min(catalog.HOUR, step or catalog.HOUR))
    return (
        _measured(aggregates.merge([cell.aggregate for cell in cells]), aggregation) if cells else _nothing(aggregation)
    )


def _nothing(aggregation: str) -> float | None:
    return 0 if aggregation == "count" else None


def _measured(aggregate: Aggregate, aggregation: str) -> float | None:
    count, total, low, high, _ = aggregate
    if aggregation in PERCENTILES:
        return aggregates.quantile(aggregate, PERCENTILES[aggregation])
    plain: dict[str, float] = {"sum": total, "avg": total / count, "min": low, "max": high, "count": count}
    return plain[aggregation]


def _counted(cells: Sequence[Cell], aggregation: str, since: float, until: float, *, unit: int) -> float | None:
    """Return what numbers per unit come to; units without a cell are zero, none of a span of which nothing is kept."""
    if not cells and since >= until:
        return None
    numbers: dict[int, float] = defaultdict(int)
    for cell in cells:
        numbers[cell.at - cell.at % unit] += cell.aggregate[1]
    total = sum(numbers.values())
    if aggregation in TOTALS:
        return total
    units = max(1, len(numbers), ceil(until / unit) - int(since // unit))
    values = sorted([*numbers.values(), *[0] * (units - len(numbers))])
    if aggregation in PERCENTILES:
        return quantile(values, PERCENTILES[aggregation])
    return {"avg": total / units, "min": values[0], "max": values[-1]}[aggregation]


def quantile(values: Sequence[float], q: float) -> float:
    """Return the quantile of sorted values, between neighbours by straight line."""
    place = q * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)
