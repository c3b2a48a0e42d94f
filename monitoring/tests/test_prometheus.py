"""`/metrics`: what it says, that Prometheus understands it, who may read it, and what it says without a database."""

from itertools import product
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from prometheus_client.openmetrics import parser as openmetrics

from monitoring.metrics import prometheus
from monitoring.metrics.requests import Recorder, Series
from monitoring.models import Alert
from monitoring.tests import scrape
from moolai.testing import promtool
from orchestrators import nodes
from orgs.tests import cast
from orgs.tests.cast import Cast

FORWARDED = {"X-Forwarded-For": "203.0.113.7"}
STATUSES = ("firing", "acknowledged")
NODE = nodes.process()
pytestmark = pytest.mark.django_db


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return scrape.counted(monkeypatch)


@pytest.fixture
def people(settings: Any, recorder: Recorder) -> Cast:
    settings.DEFAULT_ORGANIZATION_ID = "org-001"
    found = cast.make(settings)
    scrape.fill(scrape.now(), organization_id="org-001")
    return found


def read(**headers: str) -> dict[str, dict[str, float]]:
    """Return {name: {labels as text: value}}, without `node` where it is this process."""
    answer = Client().get(scrape.PATH, headers=headers)
    assert answer.status_code == 200, answer.content
    found: dict[str, dict[str, float]] = {}
    for (name, pairs), value in scrape.values(answer.content.decode()).items():
        text = " ".join(sorted(label for key, label in pairs if (key, label) != ("node", NODE)))
        found.setdefault(name, {})[text] = value
    return found


# --- what it says ----------------------------------------------------------------------------------------------------


def test_it_says_what_the_database_says(people: Cast) -> None:
    found = read()
    assert found["moolai_orchestrators"] == {
        "active": 1, "inactive": 1, "independent": 0, "degraded": 0, "error": 0,
    }  # fmt: skip
    assert found["moolai_orchestrators_connected"] == {"": 1}
    assert found["moolai_websocket_sessions"] == {"web:7": 3}
    assert found["moolai_heartbeats_per_second"] == {"web:7": 1}
    assert found["moolai_messages"]["outbound pending"] == 1
    assert len(found["moolai_messages"]) == 10
    assert found["moolai_tasks"] == {"pending_approval": 1, "assigned": 0, "in_progress": 0}
    assert found["moolai_tasks_created_last_hour"] == {"": 2}
    assert found["moolai_tasks_ended_last_hour"] == {"completed": 1, "failed": 0, "dead": 0, "cancelled": 0}
    assert found["moolai_task_mean_seconds"][""] < 5
    assert found["moolai_agents"] == {"": 1}
    assert found["moolai_agents_busy"] == found["moolai_tasks_late"] == found["moolai_task_oldest_seconds"] == {"": 0}
    assert found["moolai_jobs"]["queued"] == found["moolai_rollouts"]["running"] == 0
    assert set(found["moolai_background_age_seconds"]) == {"sweep", "prune", "collection", "beat"}
    assert found["moolai_metrics_collection_lag_seconds"] == {"": 0}
    assert found["moolai_metrics_collection_records_total"] == {"": 5}
    assert found["moolai_metrics_collection_failures_total"] == {"": 1}
    assert set(found["moolai_scrape_success"].values()) == {1}


def test_open_alerts_have_a_series_for_each_severity_and_status_with_zeros(people: Cast) -> None:
    names = {"started_at": scrape.now(), "last_seen_at": scrape.now(), "alert_type": "fleet_offline", "title": "Dark"}
    incident = Alert.objects.create(dedup_key="a", severity="critical", **names)
    Alert.objects.create(dedup_key="b", severity="error", parent=incident, **names)
    Alert.objects.create(dedup_key="c", severity="error", status="acknowledged", **names)
    Alert.objects.create(dedup_key="d", severity="error", status="resolved", **names)
    found = read()["moolai_alerts"]
    severities = ("info", "warning", "error", "critical")
    assert set(found) == {" ".join(sorted(pair)) for pair in product(severities, STATUSES)}
    assert {name: number for name, number in found.items() if number} == {"critical firing": 1, "acknowledged error": 1}


def test_measurements_are_in_base_units(people: Cast) -> None:
    found = read()
    assert found["moolai_host_cpu_usage_ratio"] == {"": 0.5}
    assert found["moolai_host_memory_used_bytes"] == {"": 50 * 2**20}
    assert found["moolai_host_storage_size_bytes"] == {"": 50 * 2**30}
    assert found["moolai_host_database_latency_seconds"] == {"": 0.05}


def test_it_names_no_organization_and_no_orchestrator(people: Cast) -> None:
    people.alice.get("/api/v1/controller/orchestrators/orch-1")
    text = Client().get(scrape.PATH).content.decode()
    assert "org-001" not in text
    assert "orch-1" not in text
    assert "Acme" not in text


def test_a_call_is_counted_with_its_status_and_its_duration(people: Cast, recorder: Recorder) -> None:
    series = Series("/api/v1/things", "GET", "5xx")
    for ms in (0.5, 3, 300, 100_000):
        recorder.record(series, status=500, organization_id="org-001", elapsed_ms=ms)
    found = read()
    assert found["moolai_http_requests_total"] == {"/api/v1/things 5xx GET": 4, "/healthz 2xx GET": 1}
    assert found["moolai_http_request_duration_seconds_count"]["/api/v1/things GET"] == 4
    assert found["moolai_http_request_duration_seconds_sum"]["/api/v1/things GET"] == pytest.approx(100.3035)
    buckets = found["moolai_http_request_duration_seconds_bucket"]
    below = {bound: buckets[f"/api/v1/things {bound} GET"] for bound in ("0.002", "0.004", "0.512", "16.384")}
    assert below == {"0.002": 1, "0.004": 2, "0.512": 3, "16.384": 3}
    assert buckets["+Inf /api/v1/things GET"] == 4


def test_what_a_process_says_of_itself_carries_its_name(people: Cast) -> None:
    found = scrape.labels(Client().get(scrape.PATH).content.decode())
    of_processes = {name for name in found if name.startswith(("moolai_http_", "moolai_process_"))}
    assert len(of_processes) >= 9
    assert all("node" in found[name] for name in of_processes)


# --- that it is understood -------------------------------------------------------------------------------------------


def test_the_strict_parser_of_openmetrics_takes_it(people: Cast) -> None:
    answer = Client().get(scrape.PATH, headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert answer["Content-Type"].startswith("application/openmetrics-text")
    families = list(openmetrics.text_string_to_metric_families(answer.content.decode()))  # type: ignore[no-untyped-call]
    assert len(families) > 40


@pytest.mark.skipif(promtool.executable() is None, reason=promtool.MISSING)
def test_promtool_has_nothing_to_say(people: Cast) -> None:
    scrape.sample(scrape.now(), organization_id="org-001", orchestrator_id="orch-1")
    for text in (Client().get(scrape.PATH).content, prometheus.of_samples(_rows())[0]):
        assert promtool.check("metrics", text=text) == (0, "")


def _rows() -> Any:
    from monitoring.metrics import latest

    return latest.rows(["org-001"])


# --- who may ---------------------------------------------------------------------------------------------------------


def test_who_is_on_this_host_needs_no_credential_and_a_proxy_there_is_not(people: Cast) -> None:
    assert people.nobody.get(scrape.PATH).status_code == 200
    for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
        answer = people.nobody.get(scrape.PATH, **{name: "127.0.0.1"})
        assert (answer.status_code, answer.json()["error"]) == (401, "unauthenticated")
        assert answer["WWW-Authenticate"]
    for address, status in (("127.8.8.8", 200), ("::1", 200), ("10.0.0.4", 401), ("", 401)):
        assert Client(REMOTE_ADDR=address).get(scrape.PATH).status_code == status


def test_a_credential_that_is_sent_has_to_be_good_enough(people: Cast) -> None:
    for headers in ({}, FORWARDED):
        assert people.root.get(scrape.PATH, **headers).status_code == 200
        for person in (people.alice, people.vera, people.machine):
            assert person.get(scrape.PATH, **headers).status_code == 403
        assert people.mallory.get(scrape.PATH, **headers).status_code == 401


def test_the_token_of_metrics_opens_nothing_else(people: Cast, settings: Any) -> None:
    settings.METRICS_TOKEN = "a-token-for-prometheus-only"
    bearer = {"Authorization": f"Bearer {settings.METRICS_TOKEN}"} | FORWARDED
    assert Client().get(scrape.PATH, headers=bearer).status_code == 200
    assert Client().get("/api/v1/organizations", headers=bearer).status_code == 401
    assert Client().get(scrape.PATH, headers=bearer | {"Authorization": "Bearer wrong"}).status_code == 401
    settings.METRICS_TOKEN = ""
    assert Client().get(scrape.PATH, headers=bearer | {"Authorization": "Bearer "}).status_code == 401


def test_it_is_read_and_nothing_else(people: Cast) -> None:
    assert people.root.call("POST", scrape.PATH, {}).status_code == 405
    assert people.root.get(f"{scrape.PATH}/").status_code == 200
    assert people.root.get(f"{scrape.PATH}?x=1").status_code == 400


# --- without a database ----------------------------------------------------------------------------------------------


def test_without_a_database_the_process_still_speaks_for_itself(people: Cast) -> None:
    def execute(*_: Any) -> Any:
        raise OperationalError("gone")

    with connection.execute_wrapper(execute):
        found = read()
    assert set(found["moolai_scrape_success"].values()) <= {0, 1}
    assert found["moolai_scrape_success"]["fleet"] == 0
    assert "moolai_orchestrators" not in found
    assert found["moolai_http_requests_total"]["/healthz 2xx GET"] == 1
