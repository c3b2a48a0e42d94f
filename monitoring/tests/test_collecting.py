"""Collecting: a stored row, on demand and on the clock, and a status that sees failures and missed runs."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as configured
from django.db import DatabaseError, connection
from django.utils import timezone

from monitoring import tasks
from monitoring.metrics import collecting
from monitoring.models import NUMBERS, Collection, SystemMetric

pytestmark = pytest.mark.django_db
HOME = configured.DEFAULT_ORGANIZATION_ID


def test_on_demand_a_row_with_rates_is_stored_for_the_organization_named() -> None:
    row = collecting.collect("acme", collected_by="maria")
    found = SystemMetric.objects.get(metric_id=row.metric_id)
    assert (found.organization_id, found.orchestrator_id, found.collected_by) == ("acme", "", "maria")
    assert {name: getattr(found, name) for name in NUMBERS} == {name: getattr(row, name) for name in NUMBERS}
    assert 0 <= (found.cpu_usage_percent or -1.0) <= 100
    assert found.network_in_mb_s is not None
    assert found.collection_duration_ms


def test_a_value_of_an_unpublished_column_goes_into_custom(monkeypatch: Any) -> None:
    from monitoring.metrics import collectors
    from monitoring.metrics.collectors import base

    class Extra(base.Collector):
        columns = ("temperature",)

        def read(self) -> base.Values:
            return {"temperature": 21}

    monkeypatch.setattr(base, "_registered", [*base._registered, Extra()])
    assert "temperature" in collectors.read_all()
    custom = collecting.collect("acme", collected_by="x").custom
    assert (custom["temperature"], custom["tasks_pending"], "task_mean_seconds" in custom) == (21.0, 0.0, False)


def test_the_clock_collects_for_the_default_organization_once_for_two_beats() -> None:
    tasks.collect()
    tasks.collect()
    assert list(SystemMetric.objects.values_list("organization_id", "collected_by")) == [(HOME, "scheduler")]
    later = timezone.now() + timedelta(seconds=configured.METRICS_COLLECTION_INTERVAL)
    assert collecting.tick(holder="other", now=later) is not None


def test_the_clock_collects_nothing_where_that_is_off(settings: Any) -> None:
    settings.AUTO_COLLECT = False
    tasks.collect()
    assert not SystemMetric.objects.exists()
    assert collecting.status(None)["schedule"]["enabled"] is False


def test_the_status_before_anything_was_collected() -> None:
    found = collecting.status(None)
    assert found["schedule"] == {"enabled": True, "interval_seconds": 30, "organization_id": HOME}
    assert (found["last_run"], found["lag_seconds"], found["records"], found["last_error"]) == (None, None, 0, "")


def test_the_status_counts_rows_for_one_organization_and_for_all() -> None:
    collecting.collect("acme", collected_by="x")
    tasks.collect()
    assert [collecting.status(name)["records"] for name in ("acme", HOME, "nobody", None)] == [1, 1, 0, 2]
    assert collecting.status("acme")["schedule"]["enabled"] is False
    assert collecting.status(HOME)["lag_seconds"] == 0.0


def test_a_late_clock_is_seen_and_missed_runs_are_counted() -> None:
    now = timezone.now()
    Collection.objects.create(pk=HOME, last_run_at=now, scheduled_at=now - timedelta(seconds=150))
    found = collecting.status(HOME, now=now)
    assert (found["lag_seconds"], found["is_late"]) == (120.0, True)
    assert collecting.tick(holder="x", now=now) is not None
    found = collecting.status(HOME)
    assert (found["missed"], found["is_late"]) == (4, False)


def test_a_failure_is_raised_and_written_down() -> None:
    def refuse(execute: Any, sql: str, *rest: Any) -> Any:
        if "user_system_performance" in sql:
            raise DatabaseError("the disk is full")
        return execute(sql, *rest)

    with connection.execute_wrapper(refuse), pytest.raises(DatabaseError):
        collecting.collect("acme", collected_by="x")
    found = collecting.status("acme")
    assert (found["records"], found["failures"]) == (0, 1)
    assert found["last_error"] == "DatabaseError: the disk is full"
    collecting.collect("acme", collected_by="x")
    assert collecting.status("acme")["records"] == 1
