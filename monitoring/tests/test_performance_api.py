"""Performance: levels, history, statistics, status, recommendations and activities, each from what was measured."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from llm_gateway.models import Prompt, WorkflowRun
from monitoring import activities, optimization
from monitoring.metrics import calls, levels, requests, rollups
from monitoring.metrics.requests import Recorder, Series
from monitoring.models import Activity, SystemMetric
from monitoring.tests import scrape
from orchestrators.models import Approval, Task
from orgs.tests import cast
from orgs.tests.cast import Cast

pytestmark = pytest.mark.django_db
PERFORMANCE = "/v1/performance"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def people(settings: Any) -> Cast:
    settings.DEFAULT_ORGANIZATION_ID = "org-001"
    return cast.make(settings)


def data(answer: Any) -> Any:
    assert answer.status_code == 200, answer.content
    return json.loads(answer.content)["data"]


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, json.loads(answer.content)["error"]


def sampled(minutes_ago: float = 0, *, org: str = "org-001", orchestrator: str = "", value: float = 50) -> SystemMetric:
    at = timezone.now() - timedelta(minutes=minutes_ago)
    return scrape.sample(at, organization_id=org, orchestrator_id=orchestrator, value=value)


def called(route: str, *, status: int, ms: float, times: int, org: str = "org-001", at: datetime | None = None) -> None:
    recorder, series = Recorder(), Series(route, "GET", f"{status // 100}xx")
    now = (at or timezone.now()).timestamp() - 60
    for _ in range(times):
        recorder.record(series, status=status, organization_id=org, elapsed_ms=ms, now=now)
    recorder.flush(requests.store)


# --- levels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("cpu", {69.9: "healthy", 70: "warning", 89.9: "warning", 90: "critical"}),
        ("memory", {79: "healthy", 80: "warning", 95: "critical"}),
        ("disk", {89: "healthy", 90: "warning", 100: "warning"}),
        ("network", {100_000: "healthy"}),
        ("database", {999: "healthy", 1000: "warning", 3000: "critical"}),
        ("redis", {999: "healthy", 1000: "warning", 3000: "critical"}),
    ],
)
def test_a_part_has_the_level_of_its_value(part: str, values: dict[float, str]) -> None:
    found = next(entry for entry in levels.PARTS if entry.name == part)
    assert {value: found.level(value) for value in values} == values
    assert found.level(None) == "unknown"


def test_health_is_the_worst_of_fresh_samples_and_says_which(people: Cast) -> None:
    assert data(people.vera.get(f"{PERFORMANCE}/health"))["status"] == "unknown"
    sampled(orchestrator="orch-1", value=60)
    sampled(orchestrator="orch-2", value=85)
    sampled(minutes_ago=6, orchestrator="orch-3", value=99)
    found = data(people.vera.get(f"{PERFORMANCE}/health"))
    assert set(found["components"]) == {"cpu", "memory", "disk", "network", "database", "redis"}
    assert found["status"] == "warning"
    cpu = found["components"]["cpu"]
    assert (cpu["level"], cpu["value"], cpu["orchestrator_id"], cpu["warning_at"]) == ("warning", 85, "orch-2", 70)
    assert data(people.charlie.get(f"{PERFORMANCE}/health"))["status"] == "unknown"
    assert refusal(people.charlie.get(f"{PERFORMANCE}/health?organization_id=org-001")) == (404, "not_found")
    assert refusal(people.machine.get(f"{PERFORMANCE}/health")) == (403, "forbidden")


# --- history and statistics ------------------------------------------------------------------------------------------


def test_history_is_read_from_samples_and_from_rollups(people: Cast) -> None:
    for minutes, value in ((1, 10), (61, 20), (60 * 30, 40)):
        sampled(minutes, value=value)
    sampled(1, org="org-002", value=99)
    rollups.run(now=timezone.now())
    raw = data(people.vera.get(f"{PERFORMANCE}/metrics/history?hours_back=2&columns=cpu_usage_percent"))
    assert raw["resolution"] == "raw"
    assert [point["avg"] for point in raw["series"]["cpu_usage_percent"]] == [20, 10]
    hourly = data(people.vera.get(f"{PERFORMANCE}/metrics/history?hours_back=48"))
    assert hourly["resolution"] == "hourly"
    assert hourly["series"]["memory_percent"][0]["avg"] == 40
    assert all(point["timestamp"].endswith(":00:00Z") for point in hourly["series"]["memory_percent"])
    newest = datetime.fromisoformat(raw["series"]["cpu_usage_percent"][-1]["timestamp"])
    assert newest <= timezone.now() - timedelta(seconds=50) < newest + timedelta(seconds=30)
    host = data(people.vera.get(f"{PERFORMANCE}/metrics/history?orchestrator_id=host&hours_back=2"))
    assert len(host["series"]["cpu_usage_percent"]) == 2
    for columns in ("secret", "%2C"):
        for door in ("history?hours_back=200&", "summary?"):
            refused = refusal(people.vera.get(f"{PERFORMANCE}/metrics/{door}columns={columns}"))
            assert refused == (400, "invalid_parameter")
    assert refusal(people.vera.get(f"{PERFORMANCE}/metrics/history?organization_id=org-002")) == (404, "not_found")


def test_the_summary_has_statistics_by_column(people: Cast) -> None:
    sampled(1, value=10)
    sampled(2, value=30)
    found = data(people.vera.get(f"{PERFORMANCE}/metrics/summary?columns=cpu_usage_percent,db_latency_ms"))["columns"]
    assert set(found) == {"cpu_usage_percent", "db_latency_ms"}
    assert (found["db_latency_ms"]["avg"], found["db_latency_ms"]["sample_count"]) == (20, 2)
    assert len(data(people.vera.get(f"{PERFORMANCE}/metrics/summary"))["columns"]) == 10


def test_the_status_counts_the_calls_of_the_last_hour_of_the_callers_own(people: Cast) -> None:
    called("/a", status=200, ms=10, times=8)
    called("/b", status=500, ms=900, times=2)
    called("/a", status=404, ms=10, times=3, org="org-002")
    called("/a", status=200, ms=10, times=50, at=timezone.now() - timedelta(hours=2))
    found = data(people.vera.get(f"{PERFORMANCE}/status"))["requests"]
    assert (found["count"], found["server_errors"], found["error_rate"], found["max_ms"]) == (10, 2, 0.2, 900)
    assert found["p50_ms"] == pytest.approx(10, rel=0.06)
    assert found["p95_ms"] == pytest.approx(900, rel=0.06)
    assert data(people.charlie.get(f"{PERFORMANCE}/status"))["requests"]["client_errors"] == 3
    everything = data(people.root.get(f"{PERFORMANCE}/status"))
    assert everything["requests"]["count"] == 13
    assert everything["collection"]["schedule"]["interval_seconds"] == 30
    assert calls.by_route(organizations=[], since=NOW, until=NOW) == {}


# --- recommendations -------------------------------------------------------------------------------------------------


def optimize(person: Any, body: Any = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = data(person.call("POST", f"{PERFORMANCE}/optimize", body or {}))["recommendations"]
    return found


def test_without_measurements_nothing_is_recommended(people: Cast) -> None:
    assert optimize(people.vera) == []


def test_a_busy_machine_is_recommended_with_its_measurement(people: Cast) -> None:
    for minutes in range(1, 13):
        sampled(minutes, value=92)
    found = optimize(people.vera, {"hours_back": 1})
    parts = {advice["component"]: advice for advice in found}
    assert {"cpu", "memory", "disk"} <= set(parts)
    cpu = parts["cpu"]
    assert (cpu["severity"], cpu["measurement"]["metric"], cpu["measurement"]["statistic"]) == (
        "critical", "cpu_usage_percent", "p95",
    )  # fmt: skip
    assert cpu["measurement"]["value"] == pytest.approx(92, rel=0.04)
    assert (cpu["measurement"]["threshold"], cpu["measurement"]["sample_count"]) == (90, 12)
    assert [advice["severity"] for advice in found] == sorted(
        (advice["severity"] for advice in found), key=["critical", "warning", "info"].index
    )
    assert optimize(people.charlie) == []
    assert refusal(people.charlie.call("POST", f"{PERFORMANCE}/optimize", {"organization_id": "org-001"})) == (
        404, "not_found",
    )  # fmt: skip


def test_a_few_samples_are_no_reason(people: Cast) -> None:
    for minutes in range(1, 6):
        sampled(minutes, value=99)
    assert optimize(people.vera, {"hours_back": 1}) == []


def test_an_idle_machine_could_be_smaller(people: Cast) -> None:
    for minutes in range(1, 13):
        sampled(minutes, value=5)
    found = optimize(people.vera, {"hours_back": 1})
    assert {(advice["component"], advice["severity"]) for advice in found} == {("cpu", "info"), ("memory", "info")}


def test_a_disk_that_fills_says_in_how_many_days(people: Cast) -> None:
    for hours in range(1, 25):
        sampled(60 * hours, value=60 - hours)  # a percent an hour
    rollups.run(now=timezone.now())
    (advice,) = [entry for entry in optimize(people.vera) if entry["measurement"]["statistic"] == "days_until_full"]
    assert (advice["component"], advice["severity"]) == ("disk", "critical")
    assert advice["measurement"]["value"] == pytest.approx(41 / 24, rel=0.1)


def test_a_slope_is_that_of_the_straight_line() -> None:
    assert optimization._slope([(0, 1), (1, 3), (2, 5)]) == 2
    assert optimization._slope([(1, 3)]) == optimization._slope([]) == 0


def test_slow_and_failing_routes_are_named(people: Cast) -> None:
    called("/slow", status=200, ms=1500, times=20)
    called("/broken", status=500, ms=5, times=2)
    called("/broken", status=200, ms=5, times=18, org="org-001", at=timezone.now() - timedelta(minutes=5))
    called("/rare", status=500, ms=9000, times=19)
    found = {advice["measurement"]["metric"]: advice for advice in optimize(people.vera)}
    assert set(found) == {"GET /slow", "GET /broken"}
    assert found["GET /slow"]["measurement"] | {"since": "", "until": ""} == {
        "metric": "GET /slow", "statistic": "p95_ms", "value": pytest.approx(1500, rel=0.06), "unit": "ms",
        "threshold": 1000, "sample_count": 20, "since": "", "until": "",
    }  # fmt: skip
    assert found["GET /broken"]["measurement"]["value"] == 0.1
    assert found["GET /broken"]["severity"] == "critical"


# --- activities ------------------------------------------------------------------------------------------------------

TRACK, ACTIVITY = f"{PERFORMANCE}/activity/track", f"{PERFORMANCE}/activity/summary"


def test_an_activity_is_stored_and_counted_for_its_organization(people: Cast) -> None:
    deed = {"activity_type": "feature", "metadata": {"name": "export"}, "user_id": "ann"}
    row = data(people.oscar.call("POST", TRACK, deed))
    assert (row["organization_id"], row["user_id"], row["metadata"]) == ("org-001", "ann", {"name": "export"})
    assert data(people.oscar.call("POST", TRACK, {"activity_type": "session"}))["user_id"] != ""
    assert data(people.root.call("POST", TRACK, {"activity_type": "api_call"}))["organization_id"] == "org-001"
    theirs = people.root.call("POST", f"{TRACK}?organization_id=org-002", {"activity_type": "workflow"})
    assert data(theirs)["organization_id"] == "org-002"
    assert Activity.objects.count() == 4
    found = data(people.vera.get(ACTIVITY))
    assert found["by_type"] == {"api_call": 1, "workflow": 0, "feature": 1, "session": 1}
    assert (found["total"], found["users"], found["by_day"][0]["count"]) == (3, 3, 3)
    assert {"organization_id": "org-001", "user_id": "ann", "count": 1} in found["top_users"]
    assert data(people.charlie.get(ACTIVITY))["total"] == 1
    assert data(people.root.get(ACTIVITY))["total"] == 4


def test_tasks_are_activities_of_who_created_them(people: Cast) -> None:
    body = {"type": "bugfix", "payload": {}, "priority": "P2"}
    for person, organization_id in ((people.oscar, "org-001"), (people.oscar, "org-001"), (people.charlie, "org-002")):
        task = person.call("POST", "/tasks", body | {"organization_id": organization_id}).json()["task_id"]
    ours = Task.objects.filter(organization_id="org-001").values_list("created_by", flat=True)[0]
    people.oscar.call("POST", TRACK, {"activity_type": "workflow", "user_id": ours})
    people.oscar.call("POST", TRACK, {"activity_type": "session", "user_id": "ann"})
    found = data(people.vera.get(ACTIVITY))
    assert found["by_type"] == {"api_call": 0, "workflow": 3, "feature": 0, "session": 1}
    assert (found["total"], found["users"], [day["count"] for day in found["by_day"]]) == (4, 2, [4])
    assert [(row["user_id"], row["count"]) for row in found["top_users"]] == [(ours, 3), ("ann", 1)]
    assert data(people.root.get(ACTIVITY))["users"] == 3
    Task.objects.filter(task_id=task).update(created_at=timezone.now() - timedelta(days=2))
    assert data(people.charlie.get(ACTIVITY))["total"] == 0


def test_prompts_runs_events_and_decisions_are_activities_each_counted_once(
    people: Cast, django_assert_num_queries: Any
) -> None:
    now = timezone.now()
    task = {"payload": {}, "priority": "P1", "type": "bugfix"}
    ids = [people.oscar.call("POST", "/tasks", task).json()["task"]["approval_id"] for _ in range(3)]
    assert people.alice.call("POST", f"/approvals/{ids[0]}/approve").status_code == 200
    assert people.alice.call("POST", f"/approvals/{ids[1]}/reject").status_code == 200
    Approval.objects.filter(approval_id=ids[2]).update(status="expired", decided_at=now)
    event = {"event_type": "built", "source_agent": "ci", "payload": {}}
    assert people.oscar.call("POST", "/events/publish", event).status_code == 200
    home: dict[str, Any] = {"organization_id": "org-001", "created_at": now, "created_by": "ann"}
    for number, task_id in enumerate(("", "", "tsk_1")):
        Prompt.objects.create(prompt_id=f"prm_{number}", task_id=task_id, **home)
    for number, user_id in enumerate(("bob", "")):
        row = Task.objects.create(task_id=f"tsk_{number}", task_type="workflow", priority=5, run_after=now, **home)
        run = {"workflow_id": f"wf_{number}", "workflow_type": "hybrid", "priority": 5, "user_id": user_id}
        WorkflowRun.objects.create(task=row, **run, **home)
    Prompt.objects.create(prompt_id="prm_old", **home | {"created_at": now - timedelta(days=2)})
    Prompt.objects.create(prompt_id="prm_theirs", **home | {"organization_id": "org-002"})
    found = data(people.vera.get(ACTIVITY))
    assert found["by_type"] == {"api_call": 3, "workflow": 5, "feature": 2, "session": 0}
    counts = sorted((row["user_id"], row["count"]) for row in found["top_users"])
    decider = Approval.objects.get(approval_id=ids[0]).decided_by
    creator = Task.objects.filter(task_type="bugfix")[0].created_by
    assert counts == sorted([("ann", 3), ("bob", 1), ("ci", 1), (decider, 2), (creator, 3)])
    assert (found["total"], found["users"]) == (10, 5)
    with django_assert_num_queries(10):
        activities.summarize(organizations=["org-001"], since=now - timedelta(days=1), until=timezone.now())


def test_who_reads_only_tracks_nothing_and_nobody_tracks_for_others(people: Cast) -> None:
    deed = {"activity_type": "feature"}
    assert refusal(people.vera.call("POST", TRACK, deed)) == (403, "forbidden")
    assert refusal(people.machine.call("POST", TRACK, deed)) == (403, "forbidden")
    assert refusal(people.nobody.call("POST", TRACK, deed)) == (401, "unauthenticated")
    assert refusal(people.oscar.call("POST", f"{TRACK}?organization_id=org-002", deed)) == (404, "not_found")
    assert refusal(people.machine.get(ACTIVITY)) == (403, "forbidden")
    assert refusal(people.oscar.get(f"{ACTIVITY}?organization_id=org-002")) == (404, "not_found")
    assert Activity.objects.count() == 0


@pytest.mark.parametrize(
    ("deed", "code"),
    [
        ({}, "invalid_field"),
        ({"activity_type": "nap"}, "invalid_field"),
        ({"activity_type": "feature", "metadata": []}, "invalid_field"),
        ({"activity_type": "feature", "metadata": {"a": "x" * 17_000}}, "invalid_field"),
        ({"activity_type": "feature", "organization_id": "org-002"}, "unknown_field"),
        ({"activity_type": "feature", "user_id": "x" * 201}, "invalid_field"),
    ],
)
def test_what_is_no_activity_is_refused(people: Cast, deed: dict[str, Any], code: str) -> None:
    assert refusal(people.oscar.call("POST", TRACK, deed)) == (400, code)


def test_an_activity_sent_again_with_its_key_is_counted_once(people: Cast) -> None:
    for _ in range(2):
        people.oscar.call("POST", TRACK, {"activity_type": "feature"}, **{"Idempotency-Key": "once"})
    assert Activity.objects.count() == 1
