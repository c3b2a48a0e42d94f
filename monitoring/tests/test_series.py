"""Latest rows, series and statistics: what they are read from changes with the span, what they say does not."""

from datetime import datetime, timedelta
from datetime import timezone as timezone_of
from statistics import fmean
from typing import Any

import pytest
from django.utils import timezone

from monitoring.metrics import latest, rollups, series, spans, statistics, storage
from monitoring.models import SystemMetric
from monitoring.tests.samples import NOW, sample

pytestmark = pytest.mark.django_db
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CPU = "cpu_usage_percent"


def fill(*, every: timedelta, days: float, **who: str) -> list[tuple[datetime, float]]:
    """Store a sample every so often, for so many days until NOW; return them."""
    number = int(timedelta(days=days) / every)
    rows = [(NOW - every * index, float((index * 37) % 101)) for index in range(1, number + 1)]
    storage.insert(sample(at, **who, cpu_usage_percent=value) for at, value in rows)
    return rows[::-1]


def roll_up() -> None:
    for number in range(4):
        rollups.run(now=timezone.now() + DAY + number * HOUR, budget_seconds=60)


def read(since: datetime, until: datetime = NOW, **options: Any) -> series.Series:
    return series.read(
        **{"organizations": None, "columns": [CPU], "since": since, "until": until, "now": NOW, **options}
    )


def buckets(rows: list[tuple[datetime, float]], step: int, since: datetime) -> list[Any]:
    found: dict[int, list[float]] = {}
    for at, value in rows:
        if at >= since:
            second = int(at.timestamp())
            found.setdefault(second - second % step, []).append(value)
    return [(at, pytest.approx(fmean(one)), min(one), max(one)) for at, one in sorted(found.items())]


# --- series ----------------------------------------------------------------------------------------------------------


def test_an_hour_is_drawn_from_samples() -> None:
    rows = fill(every=timedelta(seconds=30), days=0.1)
    found = read(NOW - HOUR, orchestrator_id="orch-1")
    assert (found.resolution, found.step_seconds) == ("raw", 5)
    assert found.columns[CPU] == buckets(rows, 5, NOW - HOUR)
    assert len(found.columns[CPU]) == 120


def test_no_more_points_than_asked_for() -> None:
    rows = fill(every=timedelta(seconds=30), days=0.1)
    found = read(NOW - 2 * HOUR, max_points=24)
    assert found.step_seconds == 300
    assert found.columns[CPU] == buckets(rows, 300, NOW - 2 * HOUR)


def test_a_day_and_a_week_are_drawn_from_hours_and_the_running_hour_from_samples() -> None:
    rows = fill(every=timedelta(minutes=7), days=4)
    roll_up()
    for since in (NOW - DAY, NOW - 4 * DAY):
        found = read(since)
        assert (found.resolution, found.step_seconds) == ("hourly", 3600)
        assert found.columns[CPU] == buckets(rows, 3600, spans.floor(since, "hourly"))
    SystemMetric.objects.filter(timestamp__lt=NOW - HOUR).delete()
    assert read(NOW - DAY).columns[CPU] == buckets(rows, 3600, spans.floor(NOW - DAY, "hourly"))


def test_a_month_is_drawn_from_days_and_today_from_hours_and_samples() -> None:
    rows = fill(every=timedelta(hours=5, minutes=11), days=30)
    roll_up()
    found = read(NOW - 30 * DAY)
    assert (found.resolution, found.step_seconds) == ("daily", 86_400)
    assert found.columns[CPU] == buckets(rows, 86_400, spans.floor(NOW - 30 * DAY, "daily"))


def test_an_hour_long_ago_is_drawn_from_what_is_left() -> None:
    assert read(NOW - 20 * DAY, NOW - 20 * DAY + HOUR).resolution == "hourly"
    assert read(NOW - 200 * DAY, NOW - 200 * DAY + HOUR).resolution == "daily"


def test_all_of_an_organization_is_drawn_together_and_nothing_of_another() -> None:
    rows = fill(every=timedelta(minutes=20), days=2, orchestrator="one")
    rows += fill(every=timedelta(minutes=30), days=2, orchestrator="two")
    other = fill(every=timedelta(minutes=30), days=2, organization="globex", orchestrator="three")
    roll_up()
    for since, step in ((NOW - HOUR, 5), (NOW - DAY, 3600)):
        start = since if step == 5 else spans.floor(since, "hourly")
        assert read(since, organizations=["acme"]).columns[CPU] == buckets(rows, step, start)
        assert read(since, organizations=["globex"]).columns[CPU] == buckets(other, step, start)
        assert read(since).columns[CPU] == buckets(rows + other, step, start)
        assert read(since, organizations=["acme"], orchestrator_id="three").columns[CPU] == []
        assert read(since, organizations=[]).columns[CPU] == []


def test_the_host_of_an_organization_is_a_source_of_its_own() -> None:
    rows = fill(every=timedelta(minutes=20), days=1, orchestrator="")
    fill(every=timedelta(minutes=20), days=1, orchestrator="one")
    roll_up()
    for since, step in ((NOW - HOUR, 5), (NOW - 20 * HOUR, 3600)):
        start = since if step == 5 else spans.floor(since, "hourly")
        assert read(since, orchestrator_id="").columns[CPU] == buckets(rows, step, start)


def test_columns_without_a_value_are_empty_and_unknown_ones_refused() -> None:
    fill(every=timedelta(minutes=1), days=0.1)
    found = read(NOW - HOUR, columns=["memory_percent", CPU])
    assert found.columns["memory_percent"] == []
    assert len(found.columns[CPU]) == 60
    with pytest.raises(ValueError, match="password"):
        read(NOW - HOUR, columns=["password"])


# --- statistics ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hours", "organizations"), [(1, None), (5, ["acme"]), (40, None), (40, ["acme"])])
def test_statistics_are_those_of_the_samples_to_the_second(hours: int, organizations: Any) -> None:
    rows = fill(every=timedelta(minutes=3), days=2)
    roll_up()
    since = NOW - timedelta(hours=hours, minutes=7)
    values = sorted(value for at, value in rows if at >= since)
    found = statistics.summarize(organizations=organizations, columns=[CPU], since=since, until=NOW, now=NOW)[CPU]
    assert found["sample_count"] == len(values)
    assert found["avg"] == pytest.approx(fmean(values))
    assert (found["min"], found["max"]) == (values[0], values[-1])
    exact = values[min(len(values) - 1, int(len(values) * 0.95))]
    assert found["p95"] == pytest.approx(exact, rel=0.05)


def test_statistics_of_a_month_count_whole_hours_where_samples_are_gone() -> None:
    rows = fill(every=timedelta(hours=6), days=40)
    roll_up()
    SystemMetric.objects.filter(timestamp__lt=NOW - 7 * DAY).delete()
    since = NOW - 30 * DAY - timedelta(minutes=45)
    found = statistics.summarize(organizations=None, columns=[CPU], since=since, until=NOW, now=NOW)[CPU]
    assert found["sample_count"] == len([at for at, _ in rows if at >= spans.floor(since, "hourly")])


def test_statistics_of_nothing_are_empty() -> None:
    found = statistics.summarize(organizations=["acme"], columns=[CPU], since=NOW - DAY, until=NOW, now=NOW)
    assert found == {CPU: {"avg": None, "max": None, "min": None, "p95": None, "sample_count": 0}}


# --- latest ----------------------------------------------------------------------------------------------------------


def test_the_latest_row_of_each_source() -> None:
    for organization, orchestrator in (("acme", "one"), ("acme", ""), ("globex", "two"), ("globex", "one")):
        for minutes in (2, 1, 3):
            at = NOW - timedelta(minutes=minutes)
            row = sample(at, organization=organization, orchestrator=orchestrator, memory_percent=float(minutes))
            storage.insert([row])
    everything = [("acme", ""), ("acme", "one"), ("globex", "one"), ("globex", "two")]
    for scope in (None, ["globex"], ["acme", "globex", "nobody"], []):
        expected = [pair for pair in everything if scope is None or pair[0] in scope]
        found = latest.rows(scope)
        assert [(row.organization_id, row.orchestrator_id) for row in found] == expected
        assert {row.memory_percent for row in found} <= {1.0}
    assert all(row.custom == {} for row in latest.rows(None))


def test_no_latest_row_of_nothing() -> None:
    assert latest.rows(None) == []


# --- moments of any zone, rows whose samples are gone -----------------------------------------------------------------


@pytest.mark.once
def test_hours_and_days_begin_where_those_of_utc_do_whatever_zone_is_asked_in() -> None:
    fill(every=timedelta(minutes=30), days=20)
    roll_up()
    zone = timezone_of(timedelta(hours=5, minutes=30))
    for days in (2, 16):
        since, until = NOW - days * DAY, NOW - HOUR
        assert read(since.astimezone(zone), until.astimezone(zone)) == read(since, until)
        whose: dict[str, Any] = {"organizations": None, "columns": [CPU], "now": NOW}
        there = statistics.summarize(**whose, since=since.astimezone(zone), until=until.astimezone(zone))
        assert there == statistics.summarize(**whose, since=since, until=until)


@pytest.mark.once
def test_an_orchestrator_is_drawn_when_its_organization_has_no_samples_any_more() -> None:
    fill(every=timedelta(minutes=30), days=20, orchestrator="gone", organization="pruned")
    fill(every=timedelta(minutes=10), days=1)
    roll_up()
    until = NOW.replace(minute=0) - 3 * HOUR
    before = [read(NOW - days * DAY, until, orchestrator_id="gone").columns for days in (2, 16)]
    assert all(before[0].values())
    SystemMetric.objects.filter(organization_id="pruned").delete()
    assert [read(NOW - days * DAY, until, orchestrator_id="gone").columns for days in (2, 16)] == before
