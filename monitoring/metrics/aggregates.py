"""What values come to: count, sum, smallest, largest and histogram, per column; exact sums in whatever order. Pure."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from math import fsum
from typing import Any

from monitoring.metrics import histogram

# [count, sum, smallest, largest, {bucket: count}]; the keys of the histogram are text once it was JSON
Aggregate = list[Any]
Columns = dict[str, Aggregate]


def of_values(values: Mapping[str, Collection[float | None]]) -> Columns:
    """Return the aggregate of each column that has a value."""
    found = {}
    for name, column in values.items():
        known = [value for value in column if value is not None]
        if known:
            found[name] = _of(known)
    return found


def _of(values: Sequence[float]) -> Aggregate:
    counts: histogram.Counts = {}
    for value in values:
        histogram.add(counts, value)
    return [len(values), fsum(values), min(values), max(values), {str(key): counts[key] for key in sorted(counts)}]


def merged(parts: Iterable[Mapping[str, Aggregate]]) -> Columns:
    """Return the aggregates of all parts together."""
    by_column: dict[str, list[Aggregate]] = defaultdict(list)
    for part in parts:
        for name, aggregate in part.items():
            by_column[name].append(aggregate)
    return {name: merge(by_column[name]) for name in by_column}


def merge(aggregates: Sequence[Aggregate]) -> Aggregate:
    """Return one aggregate of several."""
    counts: histogram.Counts = {}
    for aggregate in aggregates:
        histogram.merge(counts, {int(key): count for key, count in aggregate[4].items()})
    return [
        sum(aggregate[0] for aggregate in aggregates),
        fsum(aggregate[1] for aggregate in aggregates),
        min(aggregate[2] for aggregate in aggregates),
        max(aggregate[3] for aggregate in aggregates),
        {str(key): counts[key] for key in sorted(counts)},
    ]


def quantile(aggregate: Aggregate, q: float) -> float | None:
    """Return the value below which the share `q` of the values lies (see `histogram.quantile`)."""
    counts = {int(key): count for key, count in aggregate[4].items()}
    return histogram.quantile(counts, q, low=aggregate[2], high=aggregate[3])
