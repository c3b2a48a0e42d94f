"""Histograms with fixed buckets: what percentiles of many samples are read from. Pure.

A histogram is sparse, `{bucket: count}`. Bucket n holds the values from BOUNDS[n - 1] on and below BOUNDS[n]; bucket 0
everything below the first bound, zero among it. The bounds grow by a twelfth of an octave (5.9 %), so an interpolated
quantile is at most about 3 % from a value that was there.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

STEPS_PER_OCTAVE: Final = 12
FIRST_OCTAVE, LAST_OCTAVE = -10, 40  # 0.001 to 10^12: milliseconds, percent, megabytes, counts
BOUNDS: Final[tuple[float, ...]] = tuple(
    float(2.0 ** (step / STEPS_PER_OCTAVE))
    for step in range(FIRST_OCTAVE * STEPS_PER_OCTAVE, LAST_OCTAVE * STEPS_PER_OCTAVE + 1)
)
Counts = dict[int, int]


_bucket: Final = partial(bisect_right, BOUNDS)


def bucket(value: float) -> int:
    """Return the bucket of a value; the same as PostgreSQL's `width_bucket(value, BOUNDS)`."""
    return _bucket(value)


def add(counts: Counts, value: float, *, times: int = 1) -> None:
    """Count a value."""
    index = _bucket(value)
    counts[index] = counts.get(index, 0) + times


def of(values: Iterable[float]) -> Counts:
    """Return the histogram of values."""
    return Counter(map(_bucket, values))


def merge(counts: Counts, other: Mapping[int, int]) -> None:
    """Add the counts of another histogram."""
    for index, count in other.items():
        counts[index] = counts.get(index, 0) + count


def quantile(counts: Mapping[int, int], q: float, *, low: float = 0.0, high: float = BOUNDS[-1]) -> float | None:
    """Return the value below which the share `q` (0 to 1) of the values lies; None of an empty histogram.

    `low` and `high` are the smallest and the largest value, where they are known: nothing outside is returned.
    """
    total = sum(counts.values())
    if not total:
        return None
    rank, seen = q * total, 0
    for index in sorted(counts):
        if seen + counts[index] >= rank:
            share = (rank - seen) / counts[index]
            floor, ceiling = max(low, _floor(index)), min(high, BOUNDS[min(index, len(BOUNDS) - 1)])
            return max(low, min(high, floor + (ceiling - floor) * share))
        seen += counts[index]
    return high


def _floor(index: int) -> float:
    return BOUNDS[index - 1] if index else 0.0
