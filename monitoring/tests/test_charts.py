"""What charts are given: gaps are marked, columns stand side by side, flat bands are left out."""

import pytest

from monitoring.metrics import charts

pytestmark = pytest.mark.once


def test_a_pause_that_is_longer_than_usual_has_a_point_without_a_value() -> None:
    moments = [0, 30, 60, 90, 300, 330]
    assert charts.with_gaps(moments, step_seconds=10) == [0, 30, 60, 90, 100, 300, 330]


@pytest.mark.parametrize(
    "moments",
    [[], [5], [0, 9000], [0, 30, 60, 150, 180], [*range(0, 600, 60), *range(600, 700, 5), *range(700, 2000, 90)]],
    ids=len,
)
def test_what_comes_about_as_often_as_ever_has_no_gap(moments: list[int]) -> None:
    assert charts.with_gaps(moments, step_seconds=10) == moments


def test_averages_and_extremes_stand_side_by_side_with_none_where_nothing_is() -> None:
    drawn = charts.side_by_side([0, 10, 20], [(0, 1.23456, 1.0, 2.0), (20, 5.0, 5.0, 5.0)])
    assert drawn == {"avg": [1.235, None, 5.0], "low": [1.0, None, 5.0], "high": [2.0, None, 5.0]}


def test_a_band_that_is_its_line_is_not_sent() -> None:
    assert charts.side_by_side([0], [(0, 5.0, 5.0, 5.0)]) == {"avg": [5.0], "low": None, "high": None}
