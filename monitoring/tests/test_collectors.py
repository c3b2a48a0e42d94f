"""Collectors: what psutil says, rates that are never negative, and a source that fails alone."""

import logging
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from monitoring.metrics import collectors
from monitoring.metrics.collectors import base
from monitoring.metrics.collectors.base import Collector, RateCollector
from monitoring.models import NUMBERS

pytestmark = [pytest.mark.once, pytest.mark.django_db]


class Meter(RateCollector):
    """A counter and a clock that the test turns."""

    columns = ("turns",)

    def __init__(self) -> None:
        self.now, self.count = 1000.0, 50.0
        super().__init__(clock=lambda: self.now)

    def counters(self) -> dict[str, float]:
        return {"turns": self.count}

    def after(self, seconds: float, *, grown: float) -> float | None:
        self.now, self.count = self.now + seconds, self.count + grown
        return self.read().get("turns")


@pytest.fixture
def registry() -> Iterator[None]:
    before = list(base._registered)
    yield
    base._registered[:] = before
    base._failing.clear()


def test_a_rate_is_unknown_first_and_then_the_growth_per_second() -> None:
    meter = Meter()
    assert not meter.is_warm(now=1000.0)
    assert meter.after(0, grown=0) is None
    assert meter.is_warm(now=1000.0)
    assert meter.after(10, grown=25) == 2.5
    assert meter.after(10, grown=0) == 0.0


def test_a_counter_that_was_set_back_gives_null_and_never_a_negative_rate() -> None:
    meter = Meter()
    meter.after(0, grown=0)
    assert meter.after(10, grown=-30) is None
    assert meter.after(10, grown=10) == 1.0


def test_readings_too_close_to_each_other_repeat_the_rate() -> None:
    meter = Meter()
    meter.after(0, grown=0)
    assert meter.after(10, grown=20) == 2.0
    assert meter.after(0.01, grown=5) == 2.0
    assert meter.after(9.99, grown=15) == 2.0


def test_a_rate_since_long_ago_is_unknown() -> None:
    meter = Meter()
    meter.after(0, grown=0)
    assert not meter.is_warm(now=2000.0)
    assert meter.after(1000, grown=20) is None
    assert meter.after(1, grown=3) == 3.0


def test_every_published_column_but_the_rows_own_has_a_source() -> None:
    others = set(collectors.queue.Queue.columns)
    assert set(collectors.read_all()) - others == set(NUMBERS) - {"collection_duration_ms"}
    assert not others & set(NUMBERS)


def test_what_is_read_agrees_with_psutil() -> None:
    found = collectors.read_all()
    assert found["memory_total_mb"] == psutil.virtual_memory().total / 1024**2
    assert found["memory_percent"] == pytest.approx(psutil.virtual_memory().percent, abs=10)
    assert found["process_count"] == pytest.approx(len(psutil.pids()), abs=20)
    assert (found["storage_usage_gb"] or 0) <= (found["storage_total_gb"] or 0)
    assert found["redis_latency_ms"] is None
    assert found["api_latency_ms"] is None
    assert (found["db_latency_ms"] or 0) > 0


def test_a_new_source_is_one_registered_class(registry: None) -> None:
    @collectors.register
    class Temperature(Collector):
        columns = ("temperature", "humidity")

        def read(self) -> base.Values:
            return {"temperature": 21}

    found = collectors.read_all()
    assert (found["temperature"], found["humidity"]) == (21.0, None)


def test_a_source_that_fails_gives_null_and_is_logged_once(registry: None, caplog: Any) -> None:
    @collectors.register
    class Broken(Collector):
        columns = ("broken",)
        is_repaired = False

        def read(self) -> base.Values:
            if self.is_repaired:
                return {"broken": 1}
            raise OSError("the sensor is gone")

    with caplog.at_level(logging.WARNING):
        assert [collectors.read_all()["broken"] for _ in range(3)] == [None] * 3
    assert [entry.getMessage() for entry in caplog.records] == [
        "the collector Broken fails, its columns are null: the sensor is gone"
    ]
    assert collectors.read_all()["memory_total_mb"]
    Broken.is_repaired = True
    assert collectors.read_all()["broken"] == 1.0
