"""Insights: findings that follow from rows made by hand, with their numbers, and none where there is no reason."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from random import Random
from statistics import linear_regression
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from monitoring.analytics.insights import advice, anomalies, patterns, trends
from monitoring.analytics.insights.finding import Finding
from monitoring.analytics.insights.tracks import Subject, Track
from monitoring.metrics import rollups, storage
from monitoring.models import Activity, RequestMetric
from monitoring.tests import calls as stored_calls
from monitoring.tests.samples import sample
from orchestrators import instances
from orchestrators.models import Instance
from orgs.models import Event, Organization
from orgs.tests import cast
from orgs.tests.cast import Cast

INSIGHTS = "/api/v1/controller/insights"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOW = timezone.now()
TODAY = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
USE = Subject("cpu_usage_percent", "processor use", "percent", 10)
MIDNIGHT = 1_700_006_400  # a day's beginning, in epoch seconds


@pytest.fixture
def people(db: None, settings: Any) -> Cast:
    settings.METRICS_RETENTION_DAYS = 30
    return cast.make(settings)


def data(answer: Any) -> Any:
    assert answer.status_code == 200, answer.content
    return json.loads(answer.content)["data"]


def findings(person: Any, kind: str, **query: str) -> dict[str, Any]:
    words = "&".join(f"{name}={value}" for name, value in {"insight_type": kind, **query}.items())
    found = data(person.get(f"{INSIGHTS}?{words}"))
    assert {entry["insight_type"] for entry in found["findings"]} <= {kind}
    return {entry["topic"]: entry for entry in found["findings"]}


def calls(at: datetime, count: int, *, route: str = "/a", org: str = "org-001", status: str = "2xx") -> RequestMetric:
    return RequestMetric(
        node="n", minute_at=at, route=route, method="GET", status_class=status, organization_id=org, count=count,
        sum_ms=10.0 * count, max_ms=10, buckets={"100": count},
    )  # fmt: skip


# --- anomalies --------------------------------------------------------------------------------------------------------


def track(value: Callable[[int, int], float], *, days: int = 10, subject: Subject = USE) -> Track:
    hours = [(day, hour) for day in range(days) for hour in range(24)]
    return Track(subject, {MIDNIGHT + (24 * day + hour) * 3600: value(day, hour) for day, hour in hours})


@pytest.mark.once
def test_an_hour_unlike_the_same_hour_of_other_days_is_odd() -> None:
    noise = Random(7)
    busy = track(
        lambda day, hour: (80 if hour == 9 else 20) + noise.uniform(-2, 2) + (60 if (day, hour) == (8, 3) else 0)
    )
    (odd,) = anomalies.of(busy, since=MIDNIGHT)
    assert odd.at == MIDNIGHT + (8 * 24 + 3) * 3600
    others = [value for at, value in busy.values.items() if at // 3600 % 24 == 3 and at != odd.at]
    middle = sorted(others)[4]
    mad = sorted(abs(value - middle) for value in others)[4]
    assert (odd.median, odd.mad, odd.others) == (middle, mad, 9)
    assert odd.score == pytest.approx(0.6745 * (odd.value - middle) / max(mad, middle / 20))
    assert anomalies.of(busy, since=odd.at + 1) == []


@pytest.mark.once
def test_noise_a_daily_rhythm_and_little_history_are_not_odd() -> None:
    noise = Random(3)
    assert anomalies.of(track(lambda day, hour: 50 + noise.gauss(0, 2)), since=0) == []
    assert anomalies.of(track(lambda day, hour: 90 if hour == 2 else 1), since=0) == []
    assert anomalies.of(track(lambda day, hour: 90 if (day, hour) == (4, 2) else 1, days=5), since=0) == []
    assert anomalies.of(track(lambda day, hour: 5 if (day, hour) == (8, 2) else 0), since=0) == []  # 5 < 10 matters
    rare = anomalies.of(track(lambda day, hour: 50 if (day, hour) == (8, 2) else 0), since=0)
    assert [odd.score for odd in rare] == [1e6]


def test_calls_that_fail_for_two_hours_are_one_finding_with_advice(people: Cast) -> None:
    rows = [calls(NOW - hours * HOUR, 100) for hours in range(24 * 9)]
    bad = [(NOW - hours * HOUR).replace(minute=0) for hours in (30, 29)]
    rows += [calls(at, 50, status="5xx") for at in bad]
    rows += [calls(at, 900, org="org-002", status="5xx") for at in bad]
    stored_calls.store(rows)
    found = findings(people.vera, "anomalies")
    errors = found["api_error_rate"]
    assert errors["severity"] == "critical"
    assert errors["numbers"]["value"] == pytest.approx(50 / 150)
    assert (errors["numbers"]["median"], errors["numbers"]["hours"]) == (0, 2)
    assert datetime.fromisoformat(errors["numbers"]["start"]) == bad[0].replace(second=0, microsecond=0)
    whole = data(people.vera.get(f"{INSIGHTS}?insight_type=anomalies"))
    (said,) = [entry for entry in whole["recommendations"] if entry["severity"] == "critical"]
    assert whole["findings"][said["finding"]]["topic"] == "api_error_rate"
    assert said["numbers"]["value"] == errors["numbers"]["value"]


# --- trends -----------------------------------------------------------------------------------------------------------


@pytest.mark.once
def test_a_line_is_that_of_least_squares_with_its_error() -> None:
    noise = Random(1)
    values = {MIDNIGHT + day * 86_400: 40 + 2.0 * day + noise.gauss(0, 1) for day in range(12) if day != 5}
    line = trends.fit(values)
    assert line is not None
    xs = [(at - MIDNIGHT) / 86_400 for at in values]
    slope, start = linear_regression(xs, list(values.values()))
    assert line.slope == pytest.approx(slope)
    assert line.start == pytest.approx(start)
    middle = sum(xs) / len(xs)
    squares = sum((y - start - slope * x) ** 2 for x, y in zip(xs, values.values(), strict=True))
    assert line.error == pytest.approx((squares / 9 / sum((x - middle) ** 2 for x in xs)) ** 0.5)
    assert (line.days, line.t) == (11, 3.25)
    finding = trends.of(Track(USE, values))
    assert finding is not None
    assert (finding.severity, finding.numbers["slope_per_day"]) == ("warning", line.slope)


@pytest.mark.once
@pytest.mark.parametrize(
    "values",
    [
        list(map(Random(5).gauss, [50] * 14, [5] * 14)),
        [50] * 14,
        [10, 20, 30, 40, 50],
        [50 + day / 10 for day in range(14)],
    ],
    ids=["noise", "flat", "few days", "too little to matter"],
)  # fmt: skip
def test_what_is_no_trend_is_not_told(values: list[float]) -> None:
    assert trends.of(Track(USE, {MIDNIGHT + day * 86_400: value for day, value in enumerate(values)})) is None


def test_a_disk_that_fills_is_told_with_the_days_that_are_left(people: Cast) -> None:
    for day in range(1, 13):
        at = TODAY - day * DAY + 12 * HOUR
        storage.insert([sample(at, organization="org-001", orchestrator="orch-1", storage_percent=80 - 2 * day)])
        storage.insert([sample(at, organization="org-002", orchestrator="orch-9", storage_percent=50)])
    for later in (DAY, 2 * DAY):  # days are due an hour after their hours
        rollups.run(now=NOW + later, budget_seconds=60)
    found = data(people.vera.get(f"{INSIGHTS}?insight_type=trends"))
    (finding,) = found["findings"]
    assert (finding["topic"], finding["numbers"]["days"]) == ("storage_percent", 12)
    assert finding["numbers"]["slope_per_day"] == pytest.approx(2)
    assert finding["numbers"]["line_end"] == pytest.approx(78)
    (said,) = found["recommendations"]
    assert said["numbers"]["days_until_limit"] in (5, 6)
    assert findings(people.charlie, "trends") == {}


# --- adoption and usage -----------------------------------------------------------------------------------------------


def test_adoption_counts_who_was_active_beside_the_period_before(people: Cast, settings: Any) -> None:
    for name in ("old", "stays", "new"):
        instances.create(name, organization=Organization.objects.get(pk="org-001"), acting_user=None)
    Event.objects.all().delete()
    Instance.objects.update(created_at=NOW - 13 * DAY)
    for name, kind, days in (
        ("old", "connected", 12), ("stays", "connected", 12), ("old", "disconnected", 9), ("new", "connected", 1),
    ):  # fmt: skip
        Event.objects.create(
            organization_id="org-001", orchestrator_id=name, kind=f"orchestrator.{kind}", created_at=NOW - days * DAY
        )
    for number, (user, days) in enumerate([("ann", 1), ("ann", 2), ("bob", 10), ("cid", 10), ("dan", 9)]):
        Activity.objects.create(
            activity_id=f"a{number}",
            organization_id="org-001",
            user_id=user,
            activity_type="feature",
            created_at=NOW - days * DAY,
        )
    stored_calls.store([calls(NOW - DAY, 5), calls(NOW - DAY, 5, org="org-002")])
    found = findings(people.vera, "adoption")
    numbers = {topic: entry["numbers"] for topic, entry in found.items()}
    assert {topic: (entry["active"], entry["active_before"]) for topic, entry in numbers.items()} == {
        "organizations": (1, 0), "orchestrators": (2, 2), "users": (1, 3),
    }  # fmt: skip
    assert (numbers["orchestrators"]["came"], numbers["orchestrators"]["left"]) == (["new"], ["old"])
    assert found["users"]["severity"] == "warning"
    assert found["users"]["title"] == "1 active user, 3 in the period before"
    assert numbers["users"]["change_percent"] == pytest.approx(-200 / 3)
    assert findings(people.root, "adoption")["organizations"]["numbers"]["active"] == 2
    settings.METRICS_HOURLY_RETENTION_DAYS = 7
    assert findings(people.vera, "adoption")["organizations"]["numbers"]["active_before"] is None


def test_usage_patterns_say_when_and_what(people: Cast) -> None:
    rows = [calls(TODAY - day * DAY + 9 * HOUR, 40 if day == 2 else 10) for day in range(1, 7)]
    rows += [
        calls(TODAY - day * DAY + hour * HOUR, 1, route="/b") for day in range(1, 7) for hour in range(24) if hour != 4
    ]
    rows += [calls(TODAY - DAY + 4 * HOUR, 10_000, org="org-002", route="/secret")]
    stored_calls.store(rows)
    found = findings(people.vera, "usage_patterns")
    total = 90 + 6 * 23
    assert found["hours"]["numbers"]["busiest_hour"] == 9
    assert found["hours"]["numbers"]["busiest_share"] == pytest.approx(96 / total)
    assert (found["hours"]["numbers"]["quietest_hour"], found["hours"]["numbers"]["quietest_share"]) == (4, 0)
    assert found["days"]["numbers"]["busiest_day"] == (TODAY - 2 * DAY).strftime("%A")
    assert found["days"]["numbers"]["calls_by_day"][(TODAY - 2 * DAY).strftime("%A")] == 63
    endpoints = found["endpoints"]["numbers"]["endpoints"]
    assert [(entry["endpoint"], entry["calls"]) for entry in endpoints] == [("/b", 138), ("/a", 90)]
    assert endpoints[0]["avg_ms"] == 10
    assert findings(people.charlie, "usage_patterns")["endpoints"]["numbers"]["endpoints_used"] == 1
    RequestMetric.objects.all().delete()
    stored_calls.store([row for row in rows if row.route == "/a"])
    assert findings(people.vera, "usage_patterns") == {}


def test_few_hours_of_calls_make_no_pattern_and_say_so(people: Cast) -> None:
    until = NOW.replace(minute=0, second=0, microsecond=0)
    period = {"end_date": f"{until:%Y-%m-%dT%H:%M:%SZ}", "start_date": f"{until - 7 * DAY:%Y-%m-%dT%H:%M:%SZ}"}
    stored_calls.store(
        [
            calls(until - HOUR, 120),
            calls(until - HOUR, 900, route="/static/"),
            calls(until - HOUR, 900, route="/healthz"),
        ]
    )
    found = findings(people.vera, "usage_patterns", **period)
    assert set(found) == {"observed", "endpoints"}
    assert found["observed"]["title"] == "Not enough data yet: 1 hour"
    assert found["endpoints"]["title"] == "/a is called most"
    assert found["endpoints"]["detail"] == "100.0 % of 120 calls go there; 1 endpoint is used."
    stored_calls.store([calls(until - 3 * DAY, 500)])
    found = findings(people.vera, "usage_patterns", **period)
    assert found["observed"]["title"] == "Not enough data yet: 72 hours"
    assert "days" not in found
    stored_calls.store([calls(until - 6 * DAY, 1)])
    days = findings(people.vera, "usage_patterns", **period)["days"]["numbers"]
    unseen = (until - 7 * DAY).strftime("%A") if until.hour == 0 else None
    assert [name for name, number in days["calls_by_day"].items() if number is None] == ([unseen] if unseen else [])


@pytest.mark.once
def test_what_was_never_observed_is_not_the_quietest() -> None:
    begin = MIDNIGHT - MIDNIGHT % (7 * 86_400) + 4 * 86_400  # a Monday
    by_hour = {begin + day * 86_400 + 9 * 3600: 50 + day for day in range(6)}
    days = patterns.by_day(by_hour, since=begin, until=begin + 6 * 86_400).numbers
    assert days["calls_by_day"]["Sunday"] is None
    assert (days["busiest_day"], days["quietest_day"]) == ("Saturday", "Monday")
    begin += 43_200  # a week from noon to noon: its first and last day are one day together
    by_hour = {begin + hour * 3600: 10 for hour in range(7 * 24)}
    days = patterns.by_day(by_hour | {begin: 20}, since=begin, until=begin + 7 * 86_400).numbers
    assert (days["busiest_day"], days["calls_by_day"]["Monday"]) == ("Monday", 250)
    begin -= 43_200
    hours = patterns.by_hour(
        {begin: 60, begin + 30 * 3600: 60, begin + 49 * 3600: 60}, since=begin, until=begin + 180_000
    )
    assert hours.numbers["observed_times"][0] == 3
    assert hours.numbers["busiest_hour"] == 6


@pytest.mark.once
def test_recommendations_point_at_their_findings_most_urgent_first() -> None:
    def trend(topic: str, severity: str, end: float) -> Finding:
        numbers = {"slope_per_day": 2.0, "standard_error": 0.1, "line_end": end, "unit": "percent"}
        return Finding("trends", topic, "Memory in use rises", "", numbers, severity)

    given = [
        trend("api_requests", "info", 5),
        trend("memory_percent", "warning", 80),
        trend("memory_percent", "critical", 99),
    ]
    said = advice.of(given)
    assert [(entry["finding"], entry["severity"]) for entry in said] == [(2, "critical"), (1, "warning")]
    assert [entry["numbers"]["days_until_limit"] for entry in said] == [0, 7]


# --- the door ---------------------------------------------------------------------------------------------------------


def test_without_measurements_there_is_adoption_of_nobody_and_nothing_else(people: Cast) -> None:
    found = data(people.vera.get(INSIGHTS))
    assert [(entry["insight_type"], entry["numbers"]["active"]) for entry in found["findings"]] == [("adoption", 0)] * 3
    assert found["recommendations"] == []
    future = data(people.vera.get(f"{INSIGHTS}?start_date=2099-01-01&end_date=2099-02-01"))
    assert future["findings"] == []


@pytest.mark.parametrize("query", ["insight_type=gossip", "start_date=2026-01-01&end_date=2026-06-01", "color=red"])
@pytest.mark.once
def test_what_cannot_be_asked_is_400(people: Cast, query: str) -> None:
    answer = people.vera.get(f"{INSIGHTS}?{query}")
    assert (answer.status_code, json.loads(answer.content)["error"]) == (400, "invalid_parameter")


def test_who_may_not_read_is_told_so(people: Cast) -> None:
    assert people.machine.get(INSIGHTS).status_code == 403
    assert people.vera.get(f"{INSIGHTS}?organization_ids=org-001,org-002").status_code == 404
    assert people.root.get(f"{INSIGHTS}?organization_ids=org-001,org-002").status_code == 200


def test_it_takes_as_many_statements_for_much_as_for_little(people: Cast) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as captured:
            data(people.vera.get(INSIGHTS))
        return len(captured)

    few = statements()
    stored_calls.store(_many())
    storage.insert([sample(NOW - hours * HOUR, organization="org-001", cpu_usage_percent=5) for hours in range(200)])
    assert statements() == few <= 40


def _many() -> Iterator[RequestMetric]:
    return (calls(NOW - hours * HOUR, 5, route=f"/{route}") for hours in range(200) for route in range(10))
