"""Histograms: where a value falls, and percentiles within the promised error."""

import random

import pytest

from monitoring.metrics import aggregates, histogram

pytestmark = pytest.mark.once


@pytest.mark.parametrize("spread", [lambda: random.uniform(0, 100), lambda: random.lognormvariate(3, 2), lambda: 42.0])
@pytest.mark.parametrize("q", [0.05, 0.5, 0.95, 0.99])
def test_a_quantile_is_within_three_percent_of_a_value_that_was_there(spread: object, q: float) -> None:
    assert callable(spread)
    random.seed(7)
    values = sorted(spread() for _ in range(5_000))
    counts: histogram.Counts = {}
    for value in values:
        histogram.add(counts, value)
    found = histogram.quantile(counts, q, low=values[0], high=values[-1])
    near = [values[int(q * 5_000) + offset] for offset in (-25, 25 if q < 0.99 else 24)]
    assert found is not None
    assert near[0] * 0.97 <= found <= near[1] * 1.03


def test_nothing_lies_outside_the_smallest_and_the_largest_value() -> None:
    counts: histogram.Counts = {}
    for value in (10.0, 10.1, 10.2):
        histogram.add(counts, value)
    assert 10.0 <= (histogram.quantile(counts, 0.0, low=10.0, high=10.2) or 0) <= 10.2
    assert histogram.quantile(counts, 1.0, low=10.0, high=10.2) == 10.2


def test_an_empty_histogram_has_no_quantile() -> None:
    assert histogram.quantile({}, 0.5) is None


@pytest.mark.parametrize("value", [0.0, 1e-9, 1e15])
def test_values_beyond_the_bounds_are_counted_at_the_ends(value: float) -> None:
    counts: histogram.Counts = {}
    histogram.add(counts, value)
    assert set(counts) <= {0, len(histogram.BOUNDS)}
    assert histogram.quantile(counts, 0.5, low=value, high=value) == value


def test_merging_in_any_order_is_counting_everything_at_once() -> None:
    random.seed(3)
    values = [random.lognormvariate(2, 3) for _ in range(999)]
    whole = aggregates.of_values({"cpu": values})["cpu"]
    parts = [aggregates.of_values({"cpu": values[start::3]}) for start in (2, 0, 1)]
    found = aggregates.merged(parts)["cpu"]
    assert found[0] == whole[0]
    assert found[1] == pytest.approx(whole[1], rel=1e-12)
    assert found[2:] == whole[2:]


def test_columns_without_a_value_are_left_out() -> None:
    assert aggregates.of_values({"cpu": [None, None], "memory": [None, 3.0]}) == {
        "memory": [1, 3.0, 3.0, 3.0, [histogram.bucket(3.0), 1]]
    }
