"""Performance of a period: every figure against one counted by hand, and nobody sees another organization's."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from monitoring.analytics import performance
from monitoring.metrics import requests, storage
from monitoring.metrics.requests import Recorder, Series
from monitoring.tests.samples import sample
from orchestrators import instances, messages
from orchestrators.models import Instance, Message
from orgs.models import Event, Organization
from orgs.tests import cast
from orgs.tests.cast import Cast

pytestmark = pytest.mark.django_db
PERFORMANCE = "/api/v1/controller/performance"
END = timezone.now().replace(minute=0, second=0, microsecond=0)
HOUR = timedelta(hours=1)


@pytest.fixture
def people(settings: Any) -> Cast:
    return cast.make(settings)


def data(answer: Any) -> Any:
    assert answer.status_code == 200, answer.content
    return json.loads(answer.content)["data"]


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, json.loads(answer.content)["error"]


def asked(person: Any, *, hours: float = 4, **query: Any) -> Any:
    """Return the performance of the hours before END."""
    span = {"start_date": END - hours * HOUR, "end_date": END}
    written = {name: moment.strftime("%Y-%m-%dT%H:%M:%SZ") for name, moment in span.items()} | query
    return data(person.get(f"{PERFORMANCE}?" + "&".join(f"{name}={value}" for name, value in written.items())))


def call(
    route: str, *, status: int = 200, ms: float = 10, times: int = 1, org: str = "org-001", hours_ago: float
) -> None:
    recorder, series = Recorder(), Series(route, "GET", f"{status // 100}xx")
    for _ in range(times):
        at = (END - hours_ago * HOUR).timestamp()
        recorder.record(series, status=status, organization_id=org, elapsed_ms=ms, now=at)
    recorder.flush(requests.store)


def by_key(found: Any) -> dict[str, Any]:
    return {group["key"]: group for group in found["groups"]}


# --- calls ------------------------------------------------------------------------------------------------------------


def test_latency_has_percentiles_series_and_groups(people: Cast) -> None:
    call("/a", ms=10, times=90, hours_ago=3)
    call("/b", ms=200, times=10, hours_ago=1)
    call("/a", ms=5000, times=100, org="org-002", hours_ago=1)
    call("/a", ms=9000, hours_ago=5)
    found = asked(people.vera, group_by="endpoint", percentiles="50,95,99.9")
    assert (found["metric_type"], found["unit"], found["basis"]) == ("latency", "ms", "calls of the API")
    assert found["summary"] == {"value": 29, "min": pytest.approx(10, rel=0.06), "max": 200, "sample_count": 100}
    near = {"50": pytest.approx(10, rel=0.06), "95": pytest.approx(200, rel=0.06), "99.9": pytest.approx(200, rel=0.06)}
    assert found["percentiles"] == near
    assert [(point["value"], point["sample_count"]) for point in found["series"]] == [(10, 90), (200, 10)]
    assert datetime.fromisoformat(found["series"][0]["timestamp"]) == END - 3 * HOUR
    assert found["series"][1]["percentiles"]["50"] == pytest.approx(200, rel=0.06)
    assert {key: (group["value"], group["sample_count"]) for key, group in by_key(found).items()} == {
        "/a": (10, 90), "/b": (200, 10),
    }  # fmt: skip
    assert list(by_key(found)) == ["/a", "/b"]
    assert set(asked(people.vera)["percentiles"]) == {"50", "90", "95", "99"}


def test_a_span_that_cuts_minutes_has_the_calls_of_whole_ones(people: Cast) -> None:
    for minute in range(1, 12):
        call("/a", times=6, hours_ago=minute / 60)
    start, end = END - timedelta(minutes=9, seconds=30), END - timedelta(minutes=1, seconds=50)
    span: dict[str, Any] = {"start_date": f"{start:%Y-%m-%dT%H:%M:%SZ}", "end_date": f"{end:%Y-%m-%dT%H:%M:%SZ}"}
    found = asked(people.vera, metric_type="throughput", **span)
    assert found["summary"] == {"value": 0.1, "min": 0.1, "max": 0.1, "sample_count": 54}
    assert [point["sample_count"] for point in found["series"]] == [6] * 9


def test_throughput_counts_seconds_without_calls_too(people: Cast) -> None:
    call("/a", times=72, hours_ago=3)
    call("/b", times=72, hours_ago=1)
    found = asked(people.vera, metric_type="throughput", group_by="endpoint", percentiles="50")
    assert found["step_seconds"] == 120
    assert found["summary"] == {"value": 0.01, "min": 0, "max": 0.6, "sample_count": 144}
    assert len(found["series"]) == 120
    assert sum(point["value"] for point in found["series"]) * 120 == pytest.approx(144)
    assert found["percentiles"] == {"50": 0}
    assert {key: group["value"] for key, group in by_key(found).items()} == {"/a": 0.005, "/b": 0.005}


def test_error_rate_is_the_share_of_5xx(people: Cast) -> None:
    call("/a", times=8, hours_ago=3)
    call("/a", status=503, times=2, hours_ago=3)
    call("/b", status=404, times=10, hours_ago=1)
    found = asked(people.vera, metric_type="error_rate", group_by="endpoint", percentiles="50")
    assert found["summary"] == {"value": 0.1, "min": 0, "max": 0.2, "sample_count": 20}
    assert found["percentiles"] == {"50": 0.1}
    assert [point["value"] for point in found["series"]] == [0.2, 0]
    assert {key: group["value"] for key, group in by_key(found).items()} == {"/a": 0.2, "/b": 0}
    ends = by_key(asked(people.vera, metric_type="availability", group_by="endpoint"))
    assert {key: group["value"] for key, group in ends.items()} == {"/a": 0.8, "/b": 1}


def test_nothing_measured_is_said_so_and_old_calls_are_not_claimed(people: Cast, settings: Any) -> None:
    for kind in performance.TYPES:
        found = asked(people.vera, metric_type=kind, group_by="organization")
        assert (found["summary"]["sample_count"], found["groups"]) == (0, [])
        assert found["summary"]["value"] == (0 if kind == "throughput" else None)
    settings.METRICS_DAILY_RETENTION_DAYS = 1
    found = asked(people.vera, hours=24 * 9, metric_type="throughput")
    assert timezone.now() - datetime.fromisoformat(found["measured_from"]) == pytest.approx(
        timedelta(days=1), abs=timedelta(minutes=1)
    )
    future = data(people.vera.get(f"{PERFORMANCE}?start_date=2099-01-01&end_date=2099-01-02"))
    assert (future["series"], future["basis"]) == ([], "nothing")


# --- orchestrators ----------------------------------------------------------------------------------------------------


def instance(name: str, *, org: str = "org-001", created: float = 100.0) -> None:
    instances.create(name, organization=Organization.objects.get(pk=org), acting_user=None)
    Event.objects.filter(orchestrator_id=name).delete()
    Instance.objects.filter(orchestrator_id=name).update(created_at=END - created * HOUR)


def event(name: str, kind: str, *, hours_ago: float, org: str = "org-001") -> None:
    at = END - hours_ago * HOUR
    Event.objects.create(organization_id=org, orchestrator_id=name, kind=f"orchestrator.{kind}", created_at=at)


def test_orchestrators_have_the_latency_of_their_samples_and_the_rates_of_their_messages(people: Cast) -> None:
    for name, org in (("orch-1", "org-001"), ("orch-2", "org-001"), ("orch-9", "org-002")):
        instance(name, org=org)
        rows = [
            sample(END - 30 * timedelta(minutes=part), organization=org, orchestrator=name, api_latency_ms=value)
            for part, value in ((1, 10.0), (2, 30.0 if name == "orch-1" else 50.0))
        ]
        storage.insert(rows)
        for _ in range(4):
            messages.queue(name, message_type="note", content={}, acting_user=None)
    Message.objects.update(created_at=END - HOUR)
    Message.objects.filter(pk=Message.objects.filter(orchestrator__orchestrator_id="orch-1").earliest("pk").pk).update(
        status="failed"
    )
    found = asked(people.vera, hours=2, group_by="orchestrator")
    assert {key: (group["value"], group["sample_count"]) for key, group in by_key(found).items()} == {
        "orch-1": (20, 2), "orch-2": (30, 2),
    }  # fmt: skip
    assert found["summary"] == {"value": 25, "min": pytest.approx(10, rel=0.06), "max": 50, "sample_count": 4}
    errors = asked(people.vera, hours=2, metric_type="error_rate", group_by="orchestrator")
    assert {key: group["value"] for key, group in by_key(errors).items()} == {"orch-1": 0.25, "orch-2": 0}
    rates = asked(people.vera, hours=2, metric_type="throughput", group_by="orchestrator")
    assert rates["summary"]["value"] == pytest.approx(8 / 7200)
    assert set(by_key(asked(people.root, hours=2, group_by="orchestrator"))) == {"orch-1", "orch-2", "orch-9"}


def test_availability_is_the_share_of_time_connected(people: Cast) -> None:
    for name in ("steady", "flapping", "young", "gone", "silent", "pruned"):
        instance(name, created=2 if name == "young" else 100)
    instance("foreign", org="org-002")
    Instance.objects.filter(orchestrator_id="gone").update(deleted_at=END - 3 * HOUR)
    event("foreign", "inactive", hours_ago=50, org="org-002")
    for name in ("steady", "flapping", "gone"):
        event(name, "connected", hours_ago=50)
    event("flapping", "disconnected", hours_ago=3)
    event("gone", "deleted", hours_ago=3)
    event("gone", "disconnected", hours_ago=2.99)  # its session is closed by that
    event("flapping", "connected", hours_ago=2)
    event("young", "registered", hours_ago=1)
    event("pruned", "disconnected", hours_ago=1)
    event("pruned", "created", hours_ago=-1)
    found = asked(people.vera, metric_type="availability", group_by="orchestrator", percentiles="50")
    values = {key: group["value"] for key, group in by_key(found).items()}
    assert values == {"silent": 0, "young": 0.5, "flapping": 0.75, "pruned": 0.75, "gone": 1, "steady": 1}
    assert list(values) == ["silent", "young", "flapping", "pruned", "gone", "steady"]  # the worst first
    up, observed = 0 + 1 + 3 + 3 + 1 + 4, 4 + 2 + 4 + 4 + 1 + 4
    assert found["summary"]["value"] == pytest.approx(up / observed)
    assert found["summary"]["sample_count"] == 6
    hourly = asked(people.vera, hours=200, metric_type="availability", group_by="organization")
    assert hourly["step_seconds"] == 7200
    assert set(by_key(hourly)) == {"org-001"}
    whole = asked(people.root, metric_type="availability", group_by="organization")
    assert by_key(whole)["org-002"]["value"] == 0
    points = [point["value"] for point in found["series"]]
    assert len(points) == 120
    assert sum(points) / 120 < 1


# --- whose ------------------------------------------------------------------------------------------------------------


def test_nobody_sees_what_belongs_to_others(people: Cast) -> None:
    call("/ours", times=3, hours_ago=1)
    call("/theirs", times=5, org="org-002", hours_ago=1)
    call("/nobodys", times=7, org="", hours_ago=1)
    for group in ("organization", "endpoint"):
        found = asked(people.vera, group_by=group)
        assert found["summary"]["sample_count"] == 3
        assert sum(entry["sample_count"] for entry in found["groups"]) == 3
    assert "theirs" not in json.dumps(asked(people.vera, group_by="endpoint"))
    assert asked(people.root)["summary"]["sample_count"] == 15
    assert set(by_key(asked(people.root, group_by="organization"))) == {"org-001", "org-002", ""}
    assert asked(people.root, organization_ids="org-001,org-002")["summary"]["sample_count"] == 8
    assert asked(people.root, organization_id="org-002")["summary"]["sample_count"] == 5
    for query in ("organization_ids=org-001,org-002", "organization_id=org-002", "organization_ids=nowhere"):
        assert refusal(people.vera.get(f"{PERFORMANCE}?{query}")) == (404, "not_found")
    assert refusal(people.machine.get(PERFORMANCE)) == (403, "forbidden")
    alias = people.vera.get("/api/v1/analytics/performance")
    assert data(alias)["summary"]["sample_count"] == 3


@pytest.mark.once
@pytest.mark.parametrize(
    "query",
    [
        "percentiles=0", "percentiles=100", "percentiles=50,x", "percentiles=nan", "percentiles=,", "metric_type=speed",
        "percentiles=1,2,3,4,5,6,7,8,9,10,11", "group_by=color", "organization_ids=,", "start_date=2026-13-01",
        "organization_id=org-001&organization_ids=org-001", "start_date=2026-01-02&end_date=2026-01-01", "color=red",
    ],
)  # fmt: skip
def test_an_unusable_parameter_is_400(people: Cast, query: str) -> None:
    assert refusal(people.vera.get(f"{PERFORMANCE}?{query}")) == (400, "invalid_parameter")


def test_it_takes_as_many_statements_for_many_as_for_few(people: Cast) -> None:
    def statements() -> list[int]:
        found = []
        for kind in performance.TYPES:
            for group in performance.GROUPS:
                with CaptureQueriesContext(connection) as captured:
                    asked(people.root, metric_type=kind, group_by=group)
                found.append(len(captured))
        return found

    instance("orch-1")
    event("orch-1", "connected", hours_ago=2)
    call("/a", hours_ago=1)
    few = statements()
    for number in range(20):
        instance(f"many-{number}", org="org-002")
        event(f"many-{number}", "connected", hours_ago=2, org="org-002")
        call(f"/many/{number}", hours_ago=number / 10, org="org-002")
    assert statements() == few
    assert max(few) <= 12
