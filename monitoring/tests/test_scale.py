"""What keeps doors quick however many samples there are: few statements, little read, nothing serialized one by one."""

import json
from datetime import UTC, datetime, timedelta
from importlib import import_module
from math import nan
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.http import HttpRequest
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.renderers import JSONRenderer

from monitoring.admin.samples import SystemMetricAdmin
from monitoring.metrics import calls, rollups, series, statistics, storage
from monitoring.models import NUMBERS, MetricRollup, RequestMetric, SystemMetric
from monitoring.rows import SampleRow
from monitoring.tests.samples import NOW, sample
from orgs import rendering

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def fill(*, days: int) -> None:
    """Store a sample of two columns every three hours, and roll them up."""
    moments = [NOW - 3 * HOUR * number for number in range(days * 8)]
    storage.insert(sample(at, cpu_usage_percent=float(at.minute), memory_percent=50.0) for at in moments)
    for number in range(4):
        rollups.run(now=timezone.now() + DAY + number * HOUR, budget_seconds=60)


@pytest.mark.django_db
def test_many_columns_over_many_days_take_as_many_statements_as_one_over_few() -> None:
    fill(days=7)
    asked = []
    for days, columns in ((2, NUMBERS[:1]), (6, NUMBERS[:1]), (6, NUMBERS)):
        span: dict[str, Any] = {"organizations": ["acme"], "columns": columns, "since": NOW - days * DAY, "until": NOW}
        with CaptureQueriesContext(
            connection,
        ) as of_statistics:
            found = statistics.summarize(**span, now=NOW)
        assert found["cpu_usage_percent"]["sample_count"] == days * 8
        with CaptureQueriesContext(connection) as of_series:
            series.read(**span, now=NOW)
        asked.append((len(of_statistics), len(of_series)))
    # Samples (on SQLite once at each end), hours before and after the whole days, days; of a series samples and hours.
    assert asked == [(4 if connection.vendor == "postgresql" else 5, 2)] * 3


@pytest.mark.django_db
def test_charts_read_no_histograms() -> None:
    fill(days=1)
    with CaptureQueriesContext(connection) as asked:
        series.read(organizations=None, columns=["memory_percent"], since=NOW - DAY, until=NOW, now=NOW)
    [statement] = [query["sql"] for query in asked if "metric_rollups" in query["sql"]]
    assert "summaries" in statement
    assert '"columns"' not in statement
    for row in MetricRollup.objects.all():
        assert row.summaries == {name: aggregate[:4] for name, aggregate in row.columns.items()}
        assert set(row.summaries) == {"cpu_usage_percent", "memory_percent"}


@pytest.mark.django_db
def test_roll_ups_from_before_there_were_summaries_get_theirs() -> None:
    fill(days=1)
    before = list(MetricRollup.objects.order_by("pk").values())
    MetricRollup.objects.update(summaries={})
    MetricRollup.objects.create(resolution="daily", organization_id="empty", start_at=NOW, samples=1)
    editor = SimpleNamespace(connection=connection)
    import_module("monitoring.migrations.0007_summaries_of_rollups").fill(None, editor)
    assert list(MetricRollup.objects.exclude(organization_id="empty").order_by("pk").values()) == before
    assert MetricRollup.objects.get(organization_id="empty").summaries == {}


@pytest.mark.django_db
def test_what_comes_late_is_in_its_day_with_the_next_run() -> None:
    day = (timezone.now() - 3 * DAY).replace(hour=0, minute=0, second=0, microsecond=0)
    for number in range(2):
        storage.insert([sample(day + number * HOUR, cpu_usage_percent=1.0)])
        rollups.run(now=timezone.now())
        found = MetricRollup.objects.get(resolution="daily", start_at=day, orchestrator_id="orch-1")
        assert found.samples == number + 1


@pytest.mark.django_db
def test_many_rows_are_written_as_one_is(django_assert_num_queries: Any) -> None:
    storage.insert(
        sample(NOW - number * HOUR, cpu_usage_percent=0.1 * number, custom={"a": [1]}) for number in range(3)
    )
    rows = SystemMetric.objects.order_by("timestamp")
    one_by_one = json.loads(JSONRenderer().render([SampleRow(row).data for row in rows]))
    for many in (rows.all(), list(rows)):
        assert json.loads(rendering.QuickJSONRenderer().render(SampleRow(many, many=True).data)) == one_by_one
    with django_assert_num_queries(1):
        assert len(SampleRow(rows.all()[:2], many=True).data) == 2


@pytest.mark.once
@pytest.mark.parametrize(
    "value",
    [
        {"at": datetime(2026, 11, 21, 20, 1, 2, 345678, tzinfo=UTC), 1: [0.1, 1e300, -0.0, None, True], "ä": "\u2028"},
        {"large": 2**70}, {"torn": "\ud800"}, timedelta(seconds=90), [], "",
    ],
)  # fmt: skip
def test_quick_json_says_what_ordinary_json_says(value: Any) -> None:
    try:
        ordinary = json.loads(JSONRenderer().render(value))
    except UnicodeEncodeError:
        with pytest.raises(UnicodeEncodeError):
            rendering.QuickJSONRenderer().render(value)
    else:
        assert json.loads(rendering.QuickJSONRenderer().render(value)) == ordinary
    assert (
        rendering.QuickJSONRenderer().render({"b": [1]}, "application/json; indent=2") == b'{\n  "b": [\n    1\n  ]\n}'
    )
    assert rendering.QuickJSONRenderer().render({"b": nan}) == b'{"b":null}'


@pytest.mark.django_db
def test_calls_are_counted_without_their_histograms_as_with_them(django_assert_num_queries: Any) -> None:
    RequestMetric.objects.bulk_create(
        RequestMetric(
            node="node", minute_at=NOW + timedelta(minutes=number), route=f"/{number % 2}", method="GET", count=number,
            status_class=("2xx", "4xx", "5xx")[number % 3], organization_id="acme", sum_ms=3.0 * number, max_ms=number,
            buckets={"7": number},
        )
        for number in range(1, 8)
    )  # fmt: skip
    span: dict[str, Any] = {"organizations": ["acme"], "since": NOW, "until": NOW + HOUR}
    whole = calls.by_route(**span)
    with django_assert_num_queries(1):
        found = calls.counted(**span)
    told = {"p50_ms": None, "p95_ms": None, "p99_ms": None}
    assert {key: numbers.told() for key, numbers in found.items()} == {
        key: numbers.told() | told for key, numbers in whole.items()
    }
    assert list(calls.by_route(**span, routes=["/1"])) == [("GET", "/1")]
    assert calls.counted(organizations=["other"], since=NOW, until=NOW + HOUR) == {}


@pytest.mark.django_db
def test_a_list_is_searched_along_one_index_by_orchestrator_else_by_organization() -> None:
    storage.insert([sample(NOW, orchestrator="one"), sample(NOW, orchestrator="two", organization="one-org")])
    page, request = SystemMetricAdmin(SystemMetric, admin.site), _request()
    for term, expected in (("one ", {"one"}), ("one-org", {"two"}), ("nobody", set()), ("", {"one", "two"})):
        found, _ = page.get_search_results(request, SystemMetric.objects.all(), term)
        assert set(found.values_list("orchestrator_id", flat=True)) == expected
        assert " OR " not in str(found.query)


def _request() -> HttpRequest:
    return RequestFactory().get("/")
