"""Figures: a value with its extremes, its percentiles and the number of samples behind it. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Self

from monitoring.analytics.api_calls import Summed
from monitoring.analytics.query import quantile

Quantile = Callable[[float], float | None]


def _none(q: float) -> float | None:
    return None


@dataclass(frozen=True, slots=True)
class Figure:
    """A value; None where there is no sample. `quantile` takes a share from 0 to 1."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    sample_count: int = 0
    quantile: Quantile = _none

    def summary(self) -> dict[str, Any]:
        """Return value, extremes and count as the API answers them."""
        return {"value": self.value, "min": self.low, "max": self.high, "sample_count": self.sample_count}

    def told(self, percentiles: Sequence[float]) -> dict[str, float | None]:
        """Return {percentile: value}, named as they are written."""
        return {f"{percentile:g}": self.quantile(percentile / 100) for percentile in percentiles}


@dataclass(frozen=True, slots=True)
class Shares:
    """Figures in all, by bucket (its beginning in epoch seconds) and by group."""

    total: Figure
    series: Mapping[int, Figure]
    groups: Mapping[str, Figure]

    @classmethod
    def none(cls) -> Self:
        """Return what is said where nothing was measured."""
        return cls(Figure(), {}, {})


def of_calls(calls: Summed) -> Figure:
    """Return the mean duration of calls in milliseconds; the smallest comes from the histogram, to about 6 %."""
    if not calls.count:
        return Figure()
    return Figure(calls.sum_ms / calls.count, calls.quantile(0), calls.max_ms, calls.count, calls.quantile)


def of_values(values: Sequence[float], value: float | None, sample_count: int) -> Figure:
    """Return a figure with the extremes and percentiles of the buckets' values."""
    known = sorted(values)
    if not known:
        return Figure(value, sample_count=sample_count)
    return Figure(value, known[0], known[-1], sample_count, partial(quantile, known))


RATES: Final[Mapping[str, Callable[[Summed, float], float]]] = {
    "throughput": lambda calls, seconds: calls.count / seconds,
    "error_rate": lambda calls, seconds: calls.server_errors / calls.count,
    "availability": lambda calls, seconds: 1 - calls.server_errors / calls.count,
}


def of_rates(
    buckets: Mapping[int, Summed], metric_type: str, since: float, until: float, step: int
) -> tuple[Figure, dict[int, Figure]]:
    """Return the rate in all and per bucket; times are in epoch seconds.

    Buckets without a call are zero in a throughput, and missing in a share. The first and the last bucket count for as
    long as the span covers them.
    """
    total = Summed()
    for calls in buckets.values():
        total.add(calls)
    places = list(buckets)
    if metric_type == "throughput":
        places = list(range(int(since // step) * step, -int(-until // 1), step))
    points = {}
    for at in places:
        calls, seconds = buckets.get(at, Summed()), min(until, at + step) - max(since, at)
        if seconds > 0:
            points[at] = Figure(RATES[metric_type](calls, seconds), sample_count=calls.count)
    is_told = total.count or metric_type == "throughput"
    value = RATES[metric_type](total, until - since) if is_told else None
    return of_values([point.value for point in points.values() if point.value is not None], value, total.count), points
