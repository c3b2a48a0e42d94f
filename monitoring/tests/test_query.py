"""Queries: each number against one counted by hand, within the caller's organizations, and refusals that say why."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from monitoring.analytics import query, records, samples
from monitoring.analytics.query import Spec
from monitoring.metrics import requests, rollups, storage
from monitoring.metrics.requests import Recorder, Series
from monitoring.models import NUMBERS, Activity, SystemMetric
from monitoring.tests.samples import sample
from moolai.errors import AppError, InvalidInput
from orchestrators import instances, messages, work
from orchestrators.models import Approval, Message, Task
from orgs import organizations
from orgs.models import Event, Organization
from orgs.tests import cast

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


def spec(*metrics: str, hours: float = 24, **rest: Any) -> Spec:
    end_at = rest.pop("end_at", NOW)
    span = {"start": (end_at - hours * HOUR).isoformat(), "end": end_at.isoformat()}
    return Spec.parse({"metrics": list(metrics), "time_range": span, **rest})


def found(asked: Spec, organizations: list[str] | None = None) -> list[dict[str, Any]]:
    return list(query.rows(asked, organizations=organizations, now=NOW))


def value(*metrics: str, aggregation: str, organizations: list[str] | None = None, **rest: Any) -> Any:
    (row,) = found(spec(*metrics, aggregation=aggregation, **rest), organizations)
    return row[metrics[0]]


def call(route: str, *, status: int = 200, ms: float = 10, times: int = 1, org: str = "acme", hours_ago: float) -> None:
    recorder, series = Recorder(), Series(route, "GET", f"{status // 100}xx")
    for _ in range(times):
        at = (NOW - hours_ago * HOUR).timestamp()
        recorder.record(series, status=status, organization_id=org, elapsed_ms=ms, now=at)
    recorder.flush(requests.store)


def sampled(hours_ago: float, cpu: float | None, *, org: str = "acme", orchestrator: str = "orch-1") -> None:
    at = NOW - hours_ago * HOUR
    storage.insert([sample(at, organization=org, orchestrator=orchestrator, cpu_usage_percent=cpu, memory_percent=50)])


def rolled_up() -> None:
    for days in (100, 101):  # days are due an hour after their hours
        rollups.run(now=NOW + days * 24 * HOUR, budget_seconds=60)


# --- samples ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_rolled_up", [False, True])
def test_samples_come_to_the_same_from_rows_and_from_rollups(is_rolled_up: bool) -> None:
    for hours_ago, cpu in ((0.1, 10), (5, 20), (5.2, 30), (30, 40), (3, None)):
        sampled(hours_ago, cpu)
    sampled(4, 99, org="umbrella", orchestrator="orch-9")
    if is_rolled_up:
        rolled_up()
    asked: dict[str, Any] = {"hours": 48 if is_rolled_up else 2.9, "organizations": ["acme"]}
    expected = (4, 100, 25, 10, 40) if is_rolled_up else (1, 10, 10, 10, 10)
    got = tuple(value("cpu_usage_percent", aggregation=name, **asked) for name in ("count", "sum", "avg", "min", "max"))
    assert got == expected
    everybody = value("cpu_usage_percent", aggregation="max", hours=asked["hours"])
    assert everybody == (99 if is_rolled_up else 10)


def test_percentiles_of_samples_are_those_of_the_values() -> None:
    for number in range(1, 101):
        sampled(number / 60, float(number))
    for name, expected in (("p50", 50), ("p95", 95), ("p99", 99)):
        assert value("cpu_usage_percent", aggregation=name, hours=2) == pytest.approx(expected, rel=0.04)


def test_samples_are_grouped_by_time_and_by_whose_they_are() -> None:
    sampled(1.0, 10)
    sampled(1.25, 20)
    sampled(2.0, 60, orchestrator="orch-2")
    sampled(2.0, 99, org="umbrella")
    rolled_up()
    asked = spec("cpu_usage_percent", "memory_percent", hours=6, group_by=["hour", "orchestrator"])
    assert asked.columns == ("timestamp", "orchestrator", "cpu_usage_percent", "memory_percent")
    assert [tuple(row.values()) for row in found(asked, ["acme"])] == [
        (datetime(2026, 11, 20, 12, tzinfo=UTC), "orch-2", 60, 50),
        (datetime(2026, 11, 20, 13, tzinfo=UTC), "orch-1", 15, 50),
    ]
    by_minute = found(spec("cpu_usage_percent", hours=2, group_by="minute"), ["acme"])
    assert [(row["timestamp"].minute, row["cpu_usage_percent"]) for row in by_minute] == [(30, 60), (15, 20), (30, 10)]
    by_organization = found(spec("cpu_usage_percent", group_by="organization_id", aggregation="max"))
    assert by_organization == [
        {"organization": "acme", "cpu_usage_percent": 60}, {"organization": "umbrella", "cpu_usage_percent": 99},
    ]  # fmt: skip
    only = spec("cpu_usage_percent", filters={"orchestrator_id": ["orch-2", "*"]}, group_by="day")
    assert [row["cpu_usage_percent"] for row in found(only, ["acme"])] == [60]


def test_rollups_are_read_of_whom_there_are_no_samples_any_more() -> None:
    for hours_ago in (30, 31):
        sampled(hours_ago, 10)
        sampled(hours_ago, 90, org="umbrella")
    rolled_up()
    SystemMetric.objects.all().delete()
    rows = found(spec("cpu_usage_percent", hours=48, group_by="organization", aggregation="sum"))
    assert [tuple(row.values()) for row in rows] == [("acme", 20), ("umbrella", 180)]
    (row,) = found(spec("cpu_usage_percent", hours=48, aggregation="sum", filters={"organization": ["umbrella", "*"]}))
    assert row["cpu_usage_percent"] == 180


# --- calls of the API -------------------------------------------------------------------------------------------------


def test_calls_are_counted_per_hour_and_hours_without_any_are_zero() -> None:
    call("/a", times=6, hours_ago=0.5)
    call("/a", times=2, hours_ago=1.5)
    call("/b", status=500, times=2, hours_ago=1.5)
    call("/b", status=404, times=1, hours_ago=1.5, org="umbrella")
    call("/a", times=50, hours_ago=5)
    span: dict[str, Any] = {"hours": 4.5, "organizations": ["acme"]}  # five hours: 10, 11, 12, 13 and the half one
    numbers = {name: value("api_requests", aggregation=name, **span) for name in query_aggregations()}
    assert numbers == {
        "sum": 10, "count": 10, "avg": 2, "min": 0, "max": 6, "p50": 0,
        "p95": pytest.approx(4 + 0.8 * 2), "p99": pytest.approx(4 + 0.96 * 2),
    }  # fmt: skip
    assert value("api_errors", aggregation="sum", **span) == 2
    rows = found(spec("api_requests", "api_client_errors", hours=4, group_by="endpoint", aggregation="sum"))
    assert rows == [
        {"endpoint": "/a", "api_requests": 8, "api_client_errors": 0},
        {"endpoint": "/b", "api_requests": 3, "api_client_errors": 1},
    ]


def query_aggregations() -> tuple[str, ...]:
    return ("sum", "count", "avg", "min", "max", "p50", "p95", "p99")


def test_durations_of_calls_are_aggregated_with_their_percentiles() -> None:
    call("/a", ms=10, times=98, hours_ago=1)
    call("/a", ms=1000, times=2, hours_ago=2)
    call("/b", ms=5, times=1, hours_ago=2)
    asked: dict[str, Any] = {"hours": 4, "filters": {"endpoint": "/a"}}
    got = {name: value("api_request_ms", aggregation=name, **asked) for name in query_aggregations()}
    assert (got["count"], got["sum"], got["max"]) == (100, 2980, 1000)
    assert got["avg"] == pytest.approx(29.8)
    assert got["min"] == pytest.approx(10, rel=0.06)
    assert (got["p50"], got["p95"]) == (pytest.approx(10, rel=0.06), pytest.approx(10, rel=0.06))
    assert got["p99"] == pytest.approx(1000, rel=0.06)
    by_hour = found(spec("api_request_ms", "api_requests", group_by="hour", hours=4, filters={"endpoint": "/a"}))
    assert [(row["api_request_ms"], row["api_requests"]) for row in by_hour] == [(1000, 2), (10, 98)]


# --- records ----------------------------------------------------------------------------------------------------------


def test_events_messages_and_activities_are_counted() -> None:
    home = organizations.create("acme", name="Acme", acting_user=None)
    instances.create("orch-1", organization=home, acting_user=None)
    for number in range(4):
        messages.queue("orch-1", message_type="note", content={}, acting_user=None)
        Activity.objects.create(
            activity_id=f"a{number}",
            organization_id="acme",
            user_id="ann",
            activity_type="feature",
            created_at=NOW - HOUR,
        )
    Message.objects.update(created_at=NOW - HOUR)
    Message.objects.filter(pk=Message.objects.first().pk).update(status="failed")  # type: ignore[union-attr]
    Event.objects.all().delete()
    for kind in ("orchestrator.connected", "orchestrator.connected", "orchestrator.inactive"):
        Event.objects.create(organization_id="acme", orchestrator_id="orch-1", kind=kind, created_at=NOW - 2 * HOUR)
    Event.objects.create(
        organization_id="umbrella", orchestrator_id="orch-9", kind="orchestrator.connected", created_at=NOW - HOUR
    )
    names = ["messages", "messages_failed", "activities", "events", "orchestrator_connections", "orchestrator_inactive"]
    (row,) = found(spec(*names, aggregation="sum"), ["acme"])
    assert row == dict(zip(names, (4, 1, 4, 3, 2, 1), strict=True))
    kinds = found(spec("events", group_by="kind", aggregation="count"))
    assert {entry["kind"]: entry["events"] for entry in kinds} == {
        "orchestrator.connected": 3, "orchestrator.inactive": 1,
    }  # fmt: skip
    statuses = found(spec("messages", group_by=["status", "organization"], aggregation="sum"))
    assert [tuple(entry.values()) for entry in statuses] == [("failed", "acme", 1), ("pending", "acme", 3)]


def test_hours_of_which_nothing_is_kept_are_no_zeros(settings: Any) -> None:
    settings.EVENT_RETENTION_DAYS = 2
    for hours_ago in range(1, 48):
        Event.objects.create(organization_id="acme", kind="config.changed", created_at=NOW - hours_ago * HOUR)
    for aggregation, expected in (("min", 0), ("avg", 47 / 49), ("p50", 1), ("sum", 47)):
        assert value("events", aggregation=aggregation, hours=24 * 30) == pytest.approx(expected), aggregation
    assert value("events", aggregation="sum", hours=24, end_at=NOW - 72 * HOUR) is None


# --- whose, how many --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["umbrella", ["umbrella", "nowhere"], []])
def test_a_filter_never_widens_the_scope(wanted: Any) -> None:
    sampled(1, 10)
    sampled(1, 99, org="umbrella")
    call("/a", hours_ago=1, org="umbrella")
    Event.objects.create(organization_id="umbrella", kind="orchestrator.connected", created_at=NOW - HOUR)
    names = ("cpu_usage_percent", "api_requests", "api_request_ms", "events")
    (row,) = found(spec(*names, aggregation="max", filters={"organization": wanted}), ["acme"])
    assert row == dict(zip(names, (None, 0, None, 0), strict=True))


def test_rows_are_as_many_as_asked_for_and_windows_join_without_a_seam() -> None:
    moments = ((NOW - hours_ago * HOUR, hours_ago) for hours_ago in range(1, 100))
    storage.insert([sample(at, cpu_usage_percent=hours_ago) for at, hours_ago in moments])
    rolled_up()
    rows = found(spec("cpu_usage_percent", group_by="hour", hours=100, limit=1000))
    by_orchestrator = found(spec("cpu_usage_percent", group_by=["hour", "orchestrator"], hours=100, limit=1000))
    assert by_orchestrator == [row | {"orchestrator": "orch-1"} for row in rows]
    assert [row["cpu_usage_percent"] for row in rows] == list(range(99, 0, -1))
    assert found(spec("cpu_usage_percent", group_by="hour", hours=100, limit=3)) == rows[:3]
    assert len(found(spec("cpu_usage_percent", group_by="hour", hours=100, limit=2).unlimited())) == 99
    days = found(spec("cpu_usage_percent", group_by="day", hours=100, aggregation="count"))
    assert sum(row["cpu_usage_percent"] for row in days) == 99
    assert len(days) == 5


def test_an_hour_older_than_hours_are_kept_stands_once_however_late_they_are_removed(settings: Any) -> None:
    settings.METRICS_HOURLY_RETENTION_DAYS = 3
    for hours_ago in range(90, 140):
        sampled(hours_ago, 1)
    rolled_up()
    asked = spec("cpu_usage_percent", group_by=["hour", "orchestrator"], hours=44, end_at=NOW - 92 * HOUR, limit=1000)
    hours = [row["timestamp"] for row in found(asked, ["acme"])]
    assert hours == sorted(set(hours))
    assert hours[0] == asked.start_at.replace(minute=0)


def test_too_much_to_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "MAX_AGGREGATES", 2)
    monkeypatch.setattr(records, "MAX_COUNTS", 2)
    for hours_ago in range(2, 8):
        sampled(hours_ago, 1)
        Event.objects.create(organization_id="acme", kind="config.changed", created_at=NOW - hours_ago * HOUR)
    rolled_up()
    for name, group in (("cpu_usage_percent", "orchestrator"), ("events", "kind")):
        with pytest.raises(InvalidInput):
            found(spec(name, group_by=group, hours=20))
    (totals,) = found(spec("events", group_by="kind", hours=20, aggregation="sum"))
    assert totals == {"kind": "config.changed", "events": 6}  # hours do not matter to a sum, and are not read


def test_many_metrics_are_read_in_narrow_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["cpu_usage_percent", *[name for name in NUMBERS if name != "cpu_usage_percent"][:11]]
    for hours_ago in range(1, 23, 2):
        for orchestrator in ("orch-1", "orch-2"):
            sampled(hours_ago, hours_ago, orchestrator=orchestrator)
    rolled_up()
    one = found(spec("cpu_usage_percent", group_by=["hour", "orchestrator"]))
    monkeypatch.setattr(samples, "MAX_AGGREGATES", 12 * 2 * 5)
    rows = found(spec(*names, group_by=["hour", "orchestrator"]))
    assert [{name: row[name] for name in one[0]} for row in rows] == one
    with pytest.raises(InvalidInput):
        found(spec(*names, group_by="orchestrator"))


# --- the door ---------------------------------------------------------------------------------------------------------

QUERY = "/api/v1/controller/query"


def answer(person: Any, path: str = QUERY, **change: Any) -> tuple[int, Any]:
    span = {"start": (NOW - 24 * HOUR).isoformat(), "end": NOW.isoformat()}
    got = person.call("POST", path, {"metrics": ["cpu_usage_percent"], "time_range": span, **change})
    body = json.loads(got.content)
    return got.status_code, body.get("data", body)


def test_the_door_answers_the_callers_own_rows_and_says_when_there_are_more(settings: Any) -> None:
    people = cast.make(settings)
    for hours_ago in (1, 2, 3):
        sampled(hours_ago, 10 * hours_ago, org="org-001")
    sampled(2, 99, org="org-002", orchestrator="orch-9")
    rolled_up()
    status, found = answer(people.vera, group_by=["hour", "orchestrator"], limit=2)
    assert (status, found["columns"]) == (200, ["timestamp", "orchestrator", "cpu_usage_percent"])
    assert found["rows"] == [
        {"timestamp": "2026-11-20T11:00:00Z", "orchestrator": "orch-1", "cpu_usage_percent": 30},
        {"timestamp": "2026-11-20T12:00:00Z", "orchestrator": "orch-1", "cpu_usage_percent": 20},
    ]
    assert (found["row_count"], found["has_more"]) == (2, True)
    whole = answer(people.vera, group_by="organization", limit=1, aggregation="max")[1]
    assert (whole["rows"], whole["has_more"]) == ([{"organization": "org-001", "cpu_usage_percent": 30}], False)
    assert answer(people.root, aggregation="max")[1]["rows"] == [{"cpu_usage_percent": 99}]
    assert answer(people.root, f"{QUERY}?organization_ids=org-001", aggregation="max")[1]["rows"][0] == {
        "cpu_usage_percent": 30
    }


def test_tasks_and_approvals_are_those_of_the_callers_organization(settings: Any) -> None:
    people = cast.make(settings)
    for name, number in (("org-001", 1), ("org-002", 2)):
        home = Organization.objects.get(pk=name)
        for _ in range(number):
            task = work.create(home, task_type="bugfix", payload={}, priority="P1", acting_user=None)
            work.cancel(task, acting_user=None)
    at = NOW - HOUR
    Task.objects.update(created_at=at, completed_at=at)
    Approval.objects.update(decided_at=at)
    wanted: Any = {"metrics": ["tasks", "tasks_ended", "approvals"], "aggregation": "count"}
    for person, number in ((people.alice, 1), (people.charlie, 2), (people.root, 3)):
        (row,) = answer(person, **wanted)[1]["rows"]
        assert row == {"tasks": number, "tasks_ended": number, "approvals": number}
    assert answer(people.alice, **wanted, filters={"organization_id": "org-002"})[0] == 404


def test_the_door_refuses_what_is_foreign_or_unknown(settings: Any) -> None:
    people = cast.make(settings)
    for foreign in ("org-002", "nowhere", ["org-001", "org-002"]):
        assert answer(people.vera, filters={"organization_id": foreign})[0] == 404
    assert answer(people.vera, f"{QUERY}?organization_ids=org-002")[0] == 404
    assert answer(people.machine)[0] == 403
    status, refused = answer(people.vera, metrics=["secret"])
    assert (status, refused["error"]) == (400, "invalid_field")
    assert "cpu_usage_percent" in refused["fields"]["metrics"]
    assert answer(people.vera, surprise=1)[1]["error"] == "unknown_field"


def test_statements_are_as_many_for_much_as_for_little(settings: Any) -> None:
    people = cast.make(settings)

    def statements() -> int:
        names = ["cpu_usage_percent", "api_requests", "api_request_ms", "events", "activities"]
        with CaptureQueriesContext(connection) as captured:
            assert answer(people.root, metrics=names, group_by=["hour", "organization"], limit=1000)[0] == 200
        return len(captured)

    sampled(1, 5)
    few = statements()
    for hours_ago in range(1, 20):
        sampled(hours_ago, 5, org=f"org-{hours_ago}")
        call(f"/{hours_ago}", org=f"org-{hours_ago}", hours_ago=hours_ago)
    rolled_up()
    assert statements() == few <= 40


# --- what is asked for ------------------------------------------------------------------------------------------------

GOOD = {"metrics": ["api_requests"], "time_range": {"start": "2026-11-19", "end": "2026-11-20"}}


@pytest.mark.once
@pytest.mark.parametrize(
    ("change", "field", "named"),
    [
        ({"metrics": ["nothing"]}, "metrics", "cpu_usage_percent"),
        ({"metrics": []}, "metrics", "api_requests"),
        ({"metrics": None}, "metrics", "list"),
        ({"metrics": [1]}, "metrics", "list"),
        ({"time_range": {"start": "2026-11-20"}}, "time_range", "start"),
        ({"time_range": {"start": "2026-11-20", "end": "2026-11-01"}}, "time_range", "before"),
        ({"time_range": {"start": "soon", "end": "2026-11-01"}}, "time_range.start", "ISO 8601"),
        ({"time_range": {"start": 5, "end": "2026-11-01"}}, "time_range.start", "ISO 8601"),
        ({"time_range": {"start": "2020-01-01", "end": "2026-11-01"}}, "time_range", "17544 hours"),
        ({"group_by": "minute"}, "time_range", "24 hours by minute"),
        ({"group_by": "orchestrator"}, "group_by", "endpoint"),
        ({"group_by": ["hour", "day"]}, "group_by", "minute, hour, day"),
        ({"group_by": {"by": "hour"}}, "group_by", "list"),
        ({"filters": {"color": "red"}}, "filters", "status_class"),
        ({"filters": ["organization"]}, "filters", "organization"),
        ({"filters": {"organization": 5}}, "filters.organization", "list"),
        ({"filters": {"organization": ["x"] * 101}}, "filters.organization", "100"),
        ({"filters": {"organization": "a", "organization_id": "b"}}, "filters.organization_id", "other name"),
        ({"aggregation": "median"}, "aggregation", "p50"),
        ({"aggregation": ["sum"]}, "aggregation", "p50"),
        ({"limit": 0}, "limit", "1000"),
        ({"limit": 1001}, "limit", "1000"),
        ({"limit": True}, "limit", "1000"),
        ({"surprise": 1}, "surprise", "unknown"),
    ],
)
def test_a_refusal_names_the_choices(change: dict[str, Any], field: str, named: str) -> None:
    with pytest.raises(AppError) as problem:
        Spec.parse({**GOOD, **change})
    assert problem.value.http_status == 400
    assert named in problem.value.fields[field]


@pytest.mark.once
def test_a_query_is_told_as_it_was_asked() -> None:
    asked = Spec.parse({
        **GOOD, "group_by": ["day", "organization_id"], "filters": {"organization_ids": ["acme"]}, "limit": 7,
        "aggregation": "p95", "metrics": ["api_requests", "api_requests", "cpu_usage_percent"],
    })  # fmt: skip
    assert asked.metrics == ("api_requests", "cpu_usage_percent")
    assert (asked.start_at.day, asked.end_at.day) == (19, 21)  # an end that is a day lasts to its end
    assert Spec.parse(asked.told()) == asked
    shifted = Spec.parse({**GOOD, "time_range": {"start": "2026-11-19T05:30:00+05:30", "end": "2026-11-20T00:00:00Z"}})
    assert shifted.start_at == datetime(2026, 11, 19, tzinfo=UTC)
    assert shifted.start_at.tzinfo is UTC
