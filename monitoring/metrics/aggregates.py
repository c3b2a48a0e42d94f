"""What values come to: count, sum, smallest, largest and histogram, per column; exact sums in whatever order. Pure."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from math import fsum
from typing import Any

from monitoring.metrics import histogram

# [count, sum, smallest, largest, [bucket, count, bucket, count, …]]: short as JSON
Aggregate = list[Any]
Columns = dict[str, Aggregate]


def of_values(values: Mapping[str, Collection[float | None]]) -> Columns:
    """Return the aggregate of each column that has a value."""
    found = {}
    for name, column in values.items():
        known = [value for value in column if value is not None]
        if known:
            found[name] = [len(known), fsum(known), min(known), max(known), _flat(histogram.of(known))]
    return found


def merged(parts: Iterable[Mapping[str, Aggregate]]) -> Columns:
    """Return the aggregates of all parts together."""
    by_column: dict[str, list[Aggregate]] = defaultdict(list)
    for part in parts:
        for name, aggregate in part.items():
            by_column[name].append(aggregate)
    return {name: merge(by_column[name]) for name in by_column}


def merge(aggregates: Sequence[Aggregate]) -> Aggregate:
    """Return one aggregate of several."""
    if len(aggregates) == 1:
        return aggregates[0]
    counts, totals, lows, highs, histograms = zip(*aggregates, strict=True)
    places: Counter[int] = Counter()
    for flat in histograms:
        histogram.merge(places, counts_of(flat))
    return [sum(counts), fsum(totals), min(lows), max(highs), _flat(places)]


def summaries(columns: Mapping[str, Aggregate]) -> Columns:
    """Return the aggregates without their histograms."""
    return {name: aggregate[:4] for name, aggregate in columns.items()}


def quantile(aggregate: Aggregate, q: float) -> float | None:
    """Return the value below which the share `q` of the values lies (see `histogram.quantile`)."""
    return histogram.quantile(counts_of(aggregate[4]), q, low=aggregate[2], high=aggregate[3])


def counts_of(flat: Sequence[int]) -> histogram.Counts:
    """Return a histogram that was written as [bucket, count, bucket, count, …]."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _flat(counts: Mapping[int, int]) -> list[int]:
    return list(chain.from_iterable(sorted(counts.items())))
