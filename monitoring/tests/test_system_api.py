"""The doors of measurements: what they answer, to whom, and that it is what the table and the machine say."""

import json
from datetime import timedelta
from typing import Any

import psutil
import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from monitoring.metrics import rollups
from monitoring.models import NUMBERS, Collection, SystemMetric
from monitoring.rows import FIELDS
from monitoring.tests import scrape
from orgs.tests import cast
from orgs.tests.cast import Cast

pytestmark = pytest.mark.django_db
SYSTEM = "/api/v1/system"
OURS = f"{SYSTEM}/metrics/organization/org-001"


@pytest.fixture
def people(settings: Any) -> Cast:
    """The cast; org-001 has a host, two orchestrators and an older sample, org-002 one orchestrator."""
    settings.DEFAULT_ORGANIZATION_ID = "org-001"
    found, now = cast.make(settings), timezone.now()
    scrape.sample(now - timedelta(hours=30), organization_id="org-001", value=5)
    scrape.sample(now - timedelta(hours=2), organization_id="org-001", value=10)
    scrape.sample(now - timedelta(seconds=9), organization_id="org-001", value=20)
    scrape.sample(now - timedelta(seconds=8), organization_id="org-001", orchestrator_id="orch-1", value=30)
    scrape.sample(now - timedelta(seconds=7), organization_id="org-001", orchestrator_id="orch-2", value=40)
    scrape.sample(now - timedelta(seconds=6), organization_id="org-002", orchestrator_id="orch-3", value=90)
    rollups.run(now=timezone.now())
    return found


def data(answer: Any) -> Any:
    assert answer.status_code == 200, answer.content
    return json.loads(answer.content)["data"]


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, json.loads(answer.content)["error"]


def collect(people: Cast, path: str = f"{SYSTEM}/collect/immediate") -> Any:
    """Collect as the superadmin, without a body and without a Content-Type."""
    return Client().generic("POST", path, headers=people.root.headers, content_type="")


# --- rows ------------------------------------------------------------------------------------------------------------


def test_a_row_has_every_published_column() -> None:
    assert set(NUMBERS) <= set(FIELDS)
    assert len(FIELDS) == len(set(FIELDS))
    assert {"metric_id", "user_id", "timestamp", "collected_by", "created_at"} <= set(FIELDS)


def test_the_latest_rows_are_those_of_each_source_the_caller_sees(people: Cast) -> None:
    for path in (f"{SYSTEM}/metrics", "/v1/performance/metrics/current"):
        for person, values in ((people.root, [20, 30, 40, 90]), (people.vera, [20, 30, 40]), (people.charlie, [90])):
            found = data(person.get(path))
            assert [row["cpu_usage_percent"] for row in found["items"]] == values
            assert found["total_items"] == len(values)
            assert all(set(row) == set(FIELDS) for row in found["items"])
        assert data(people.root.get(f"{path}?organization_id=org-002"))["total_items"] == 1
        assert refusal(people.alice.get(f"{path}?organization_id=org-002")) == (404, "not_found")
        assert refusal(people.machine.get(path)) == (403, "forbidden")
        assert refusal(people.nobody.get(path)) == (401, "unauthenticated")


def test_an_organizations_rows_come_newest_first_within_hours_and_limit(people: Cast) -> None:
    assert [row["cpu_usage_percent"] for row in data(people.vera.get(OURS))["items"]] == [40, 30, 20, 10]
    assert data(people.vera.get(f"{OURS}?hours_back=1"))["total_items"] == 3
    assert data(people.vera.get(f"{OURS}?hours_back=48"))["total_items"] == 5
    page = data(people.vera.get(f"{OURS}?limit=3&page=2"))
    assert ([row["cpu_usage_percent"] for row in page["items"]], page["page_size"], page["has_prev"]) == ([10], 3, True)
    assert data(people.vera.get(OURS))["page_size"] == 500
    assert refusal(people.charlie.get(OURS)) == refusal(people.charlie.get(OURS.replace("001", "404"))) == (
        404, "not_found",
    )  # fmt: skip
    assert refusal(people.machine.get(OURS)) == (403, "forbidden")
    assert refusal(people.vera.get(f"{OURS}?hours_back=0")) == (400, "invalid_parameter")


def test_the_latest_row_is_one_and_without_any_there_is_none(people: Cast) -> None:
    assert data(people.vera.get(f"{OURS}/latest"))["orchestrator_id"] == "orch-2"
    SystemMetric.objects.all().delete()
    assert refusal(people.vera.get(f"{OURS}/latest")) == (404, "not_found")


@pytest.mark.parametrize(
    ("kind", "column"), [("cpu", "cpu_usage_percent"), ("memory", "memory_percent"), ("storage", "storage_percent")]
)
def test_a_summary_is_what_the_samples_come_to(people: Cast, kind: str, column: str) -> None:
    found = data(people.vera.get(f"{SYSTEM}/metrics/summary/{kind}"))
    assert (found["avg"], found["min"], found["max"], found["sample_count"]) == (25, 10, 40, 4)
    assert found["p95"] == pytest.approx(40, rel=0.06)
    assert found["columns"][column] == {name: found[name] for name in ("avg", "max", "min", "p95", "sample_count")}
    assert (found["metric"], found["organization_id"], found["hours_back"]) == (kind, "org-001", 24)
    assert data(people.root.get(f"{SYSTEM}/metrics/summary/{kind}"))["organization_id"] is None
    assert data(people.root.get(f"{SYSTEM}/metrics/summary/{kind}?organization_id=org-002"))["max"] == 90
    assert refusal(people.vera.get(f"{SYSTEM}/metrics/summary/network")) == (404, "not_found")


def test_a_list_takes_as_many_queries_whatever_there_is(people: Cast) -> None:
    now = timezone.now()
    counts = []
    for number in (3, 40):
        for index in range(number):
            scrape.sample(now, organization_id="org-001", orchestrator_id=f"more-{number}-{index}")
        with CaptureQueriesContext(connection) as queries:
            people.vera.get(f"{SYSTEM}/metrics")
            people.vera.get(OURS)
        counts.append(len(queries))
    assert counts[0] == counts[1]


# --- collecting ------------------------------------------------------------------------------------------------------


def test_collecting_now_answers_the_row_that_is_stored_and_true(people: Cast) -> None:
    SystemMetric.objects.all().delete()
    for path, organization_id in (
        (f"{SYSTEM}/collect/immediate", "org-001"),
        (f"{SYSTEM}/collect/immediate?organization_id=org-002", "org-002"),
        (f"{SYSTEM}/collect/organization/org-002", "org-002"),
    ):
        row = data(collect(people, path))
        stored = SystemMetric.objects.get(metric_id=row["metric_id"])
        assert (row["organization_id"], stored.organization_id, row["collected_by"]) == (
            organization_id, organization_id, "static token",
        )  # fmt: skip
        memory = psutil.virtual_memory()
        assert row["memory_total_mb"] == pytest.approx(memory.total / 2**20)
        assert row["memory_percent"] == pytest.approx(memory.percent, abs=10)
        assert row["db_latency_ms"] > 0
    assert SystemMetric.objects.count() == 3


def test_only_a_superadmin_measures_the_host(people: Cast) -> None:
    for path in (f"{SYSTEM}/collect/immediate", f"{SYSTEM}/collect/organization/org-001"):
        for person in (people.alice, people.vera, people.machine):
            assert refusal(person.call("POST", path, {})) == (403, "forbidden")
    assert refusal(people.charlie.call("POST", f"{SYSTEM}/collect/organization/org-001", {})) == (404, "not_found")
    assert refusal(people.root.call("POST", f"{SYSTEM}/collect/organization/none", {})) == (404, "not_found")
    assert refusal(people.root.call("POST", f"{SYSTEM}/collect/immediate", {"x": 1})) == (400, "unknown_field")
    assert SystemMetric.objects.count() == 6


def test_the_status_tells_schedule_runs_and_failures(people: Cast) -> None:
    collect(people)
    Collection.objects.create(organization_id="org-002", last_run_at=timezone.now(), records=7, failures=2)
    ours = data(people.vera.get(f"{SYSTEM}/status/collection"))
    assert (ours["records"], ours["failures"], ours["schedule"]["interval_seconds"]) == (1, 0, 30)
    assert data(people.root.get(f"{SYSTEM}/status/background"))["records"] == 8
    assert data(people.root.get(f"{SYSTEM}/status/collection?organization_id=org-002"))["failures"] == 2
    theirs = data(people.charlie.get(f"{SYSTEM}/status/background"))
    assert (theirs["records"], theirs["schedule"]["enabled"], theirs["schedule"]["organization_id"]) == (7, False, None)
    assert ours["schedule"]["organization_id"] == "org-001"
    assert refusal(people.vera.get(f"{SYSTEM}/status/collection?organization_id=org-002")) == (404, "not_found")
    assert refusal(people.machine.get(f"{SYSTEM}/status/background")) == (403, "forbidden")


# --- health ----------------------------------------------------------------------------------------------------------


def test_everybody_may_know_whether_measurements_come_in(people: Cast, settings: Any) -> None:
    assert data(people.nobody.get(f"{SYSTEM}/health"))["status"] == "degraded"  # never measured
    collect(people)
    found = data(people.nobody.get(f"{SYSTEM}/health"))
    assert (found["status"], found["storage"]) == ("healthy", "connected")
    assert "org-001" not in json.dumps(found)
    late = timezone.now() - timedelta(minutes=5)
    Collection.objects.update(scheduled_at=late)
    assert data(people.nobody.get(f"{SYSTEM}/health"))["status"] == "degraded"
    settings.AUTO_COLLECT = False
    assert data(people.nobody.get(f"{SYSTEM}/health"))["status"] == "healthy"


def test_without_a_database_it_says_so(people: Cast) -> None:
    def execute(*_: Any) -> Any:
        raise OperationalError("gone: password=canary")

    with connection.execute_wrapper(execute):
        answer = people.nobody.get(f"{SYSTEM}/health")
    assert refusal(answer) == (503, "database_unavailable")
    assert answer.json()["data"]["status"] == "unhealthy"
    assert answer["Retry-After"] == "5"
    assert "canary" not in answer.content.decode()


def test_a_summary_reads_hours_where_they_are_rolled_up(people: Cast) -> None:
    found = data(people.vera.get(f"{SYSTEM}/metrics/summary/cpu?hours_back=200"))
    assert (found["sample_count"], found["min"], found["max"]) == (5, 5, 40)
