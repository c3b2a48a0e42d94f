"""Every default rule that has a source fires at its number and not below, on what the product itself writes down."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from monitoring.alerts import defaults, engine, probes, rules
from monitoring.metrics import requests, storage
from monitoring.metrics.requests import Recorder, Series
from monitoring.models import Alert, Rule
from monitoring.tests.alert_stage import Beat, fleet, organization
from monitoring.tests.samples import sample
from orchestrators import nodes
from orchestrators.models import Instance, Node
from orgs import counters, events, leases, rates
from orgs.tests import cast
from orgs.tests.cast import Cast

pytestmark = [pytest.mark.once("postgres"), pytest.mark.django_db]
CALL = Series("/api/v1/things", "GET", "2xx")
# The numbers of the rules of a kind: just below, the first, the second.
CPU, MEMORY, DISK = (69.9, 70.0, 90.0), (79.9, 80.0, 95.0), (89.9, 89.9, 90.0)
FAILED_OF_1000, MILLISECONDS = (9, 10, 50), (960.0, 1060.0, 3200.0)  # a percentile is read to about 3 %
LIMITED, WRONG = (99, 100, 500), (49, 50, 200)


@pytest.fixture
def people(settings: Any) -> Cast:
    settings.DEFAULT_ORGANIZATION_ID = "org-001"
    return cast.make(settings)


@pytest.fixture
def beat(people: Cast) -> Beat:
    return Beat()


def severities() -> dict[str, str]:
    """Return {type: severity} of what is open, and where it is about an orchestrator or organization, {key: …}."""
    rows = Alert.objects.unresolved()
    return {row.dedup_key.removesuffix("/-/-"): row.severity for row in rows}


@dataclass
class Traffic:
    """Calls of our API as web processes count and store them."""

    beat: Beat
    recorder: Recorder = field(default_factory=Recorder)

    def record(self, number: int, status: int = 200, ms: float = 10, route: str = CALL.route, org: str = "") -> None:
        series = CALL._replace(route=route, status_class=f"{status // 100}xx")
        for _ in range(number):
            now = self.beat.now.timestamp()
            self.recorder.record(series, status=status, organization_id=org, elapsed_ms=ms, now=now)

    def store(self) -> None:
        self.recorder.flush(requests.store)


def measure(beat: Beat, level: int) -> None:
    """Store a sample of an orchestrator and one of the controller's host."""
    values = {"cpu_usage_percent": CPU[level], "memory_percent": MEMORY[level], "storage_percent": DISK[level]}
    storage.insert([sample(beat.now, organization="org-001", orchestrator=name, **values) for name in ("orch-1", "")])


def call_too_often(people: Cast, number: int, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be refused so many times for calling too often; all but the first few are only counted."""
    monkeypatch.setattr(rates, "_memory", rates._Memory())
    settings.RATE_LIMITS, settings.REDIS_URL = {"API": "1/hour"}, ""
    codes = [people.vera.get("/api/v1/organizations").status_code for _ in range(5)]
    assert codes == [200, 429, 429, 429, 429]
    settings.RATE_LIMITS = {"API": "1000000/hour"}
    for _ in range(number - 4):
        counters.add("rate_limit.hit", "others")


def call_with_wrong_credentials(people: Cast, number: int) -> None:
    """Be refused so many times: over HTTP, at the console's sign-in, and the others are only counted."""
    for _ in range(3):
        assert people.mallory.get("/api/v1/organizations").status_code == 401
    words = {"username": "root", "password": "wrong"}
    assert Client().post("/admin/login/", words).status_code == 200
    for _ in range(number - 4):
        counters.add("credential.refused", "127.0.0.1")


# --- tests ------------------------------------------------------------------------------------------------------------


def test_the_defaults_are_the_issues() -> None:
    found: dict[str, list[tuple[str, float]]] = {}
    for row in Rule.objects.order_by("threshold"):
        found.setdefault(row.alert_type, []).append((row.severity, row.threshold))
    pairs = {
        "response_time": (1000, 3000), "error_rate": (1, 5), "cpu": (70, 90), "host_cpu": (70, 90), "memory": (80, 95),
        "host_memory": (80, 95), "queue_pending": (50, 100), "queue_processing": (20, 50), "rate_limit": (100, 500),
        "authentication": (50, 200), "budget": (80, 100), "queue_age": (900, 3600),
    }  # fmt: skip
    expected: dict[str, list[tuple[str, float]]] = {
        name: [("warning", first), ("error", second)] for name, (first, second) in pairs.items()
    }
    expected |= {"health_check": [("warning", 2), ("critical", 3)], "redis_disconnected": [("critical", 1)]}
    expected |= {name: [("error", 90)] for name in ("disk", "host_disk")}
    expected |= {name: [("error", 1)] for name in ("orchestrator_inactive", "config_failed", "process_crashed")}
    expected |= {"organization_empty": [("critical", 1)], "process_restarting": [("error", 5)]}
    assert {name: found[name] for name in expected} == expected
    waiting = {row.alert_type for row in Rule.objects.all() if probes.waits_for(row.metric)}
    assert waiting == set()
    assert len(Rule.objects.all()) == len(defaults.RULES)


@pytest.mark.parametrize("level", [0, 1, 2], ids=["below", "first", "second"])
def test_a_number_fires_at_its_threshold_with_its_severity(
    level: int, people: Cast, beat: Beat, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic = Traffic(beat)
    fleet_ids = fleet(organization("acme"), 1, now=beat.now)
    call_too_often(people, LIMITED[level], settings, monkeypatch)
    call_with_wrong_credentials(people, WRONG[level])
    counters.flush(now=beat.now)
    for _ in range(8):
        traffic.record(940 - FAILED_OF_1000[level])
        traffic.record(FAILED_OF_1000[level], status=503)
        traffic.record(60, ms=MILLISECONDS[level])
        traffic.store()
        measure(beat, level)
        beat.run(10, beating=fleet_ids)
    found = severities()
    assert found.pop("token_flood", "") == ("critical" if WRONG[level] >= 100 else "")
    ends = ("cpu/org-001/orch-1", "memory/org-001/orch-1", "host_cpu", "host_memory", "rate_limit", "authentication")
    both = dict.fromkeys((*ends, "error_rate", "response_time"), ("warning", "error")[level - 1])
    disks = {"disk/org-001/orch-1": "error", "host_disk": "error"}
    assert found == [{}, both, both | disks][level]


def test_what_failed_is_told_from_what_was_refused_and_what_lasts(beat: Beat) -> None:
    traffic = Traffic(beat)
    for _ in range(8):
        traffic.record(100)
        for status in (401, 403, 404, 429):
            traffic.record(100, status=status)
        traffic.record(100, status=503, route="/readyz")
        traffic.record(100, ms=60_000, route="/api/v1/stream/system/health")
        traffic.record(100, ms=60_000, route="/export/metrics")
        traffic.record(100, status=404, ms=60_000)
        traffic.store()
        beat.run(10)
    assert severities() == {}


def test_few_calls_say_nothing_unless_they_all_fail(beat: Beat) -> None:
    traffic = Traffic(beat)
    traffic.record(15, ms=9000)
    traffic.record(4, status=500)
    traffic.store()
    beat.run(80)
    assert severities() == {}
    traffic.record(1, status=500)
    traffic.store()
    beat.run(80)
    assert severities() == {"error_rate": "error", "response_time": "error"}
    assert Alert.objects.get(alert_type="error_rate").detail == "5 of 20 calls failed, most often GET /api/v1/things."
    beat.run(400)
    assert severities() == {}


def test_an_organization_may_watch_its_own_calls(beat: Beat) -> None:
    wish = {"metric": "error_rate_percent", "scope": "organization", "severity": "error", "title": "Our calls fail"}
    rules.create("our_errors", organization_id="org-001", threshold=2, acting_user=None, **wish)
    traffic = Traffic(beat)
    traffic.record(90, org="org-001")
    traffic.record(10, status=500, org="org-001")
    traffic.record(10_000, org="org-002")
    traffic.store()
    beat.run(20)
    assert severities() == {"our_errors/org-001/-": "error"}


def test_calls_that_hung_through_a_pause_of_the_controller_are_no_alert(beat: Beat) -> None:
    traffic = Traffic(beat)
    beat.pause(300)
    traffic.record(50, ms=300_000)
    traffic.record(50, status=503)
    traffic.store()
    beat.run(150)
    assert set(Alert.objects.values_list("alert_type", flat=True)) == {"detector_late"}


def test_a_check_that_fails_twice_is_a_warning_and_thrice_is_critical(beat: Beat) -> None:
    moment, found = beat.now + timedelta(seconds=5), []
    for _ in range(7):  # the engine runs, and nothing is heard of Celery's beat
        moment += timedelta(seconds=10)
        leases.note("sweep", holder="worker", now=moment)
        engine.run(holder="beat", now=moment)
        found.append(severities().get("health_check", ""))
    assert found == ["", "", "", "", "warning", "critical", "critical"]
    assert Alert.objects.get().detail == "Not well: Celery's beat."


def test_redis_is_watched_where_there_is_one(beat: Beat, settings: Any) -> None:
    settings.REDIS_URL = ""
    beat.run(20)
    assert severities() == {}
    settings.REDIS_URL = "redis://127.0.0.1:1/0"  # nobody listens there
    beat.run(10)
    assert severities() == {"redis_disconnected": "critical"}


def crash(beat: Beat, people: Cast) -> None:
    Node.objects.create(node_id="host:1:a", hostname="host", pid=1, started_at=beat.now, beat_at=beat.now)
    nodes.clear_dead(now=beat.now + timedelta(hours=1))


def restart(beat: Beat, people: Cast) -> None:
    for number in range(6):
        nodes.start(f"host:{number}:b")


def refuse_configuration(beat: Beat, people: Cast) -> None:
    Instance.objects.filter(orchestrator_id="acme-0").update(config_status="failed", config_error="no such model")
    events.record("config.failed", organization_id="acme", orchestrator_id="acme-0")


def forge(beat: Beat, people: Cast) -> None:
    root = get_user_model().objects.create_superuser("root", "root@example.com", "correct horse battery staple")
    client = Client(enforce_csrf_checks=True)
    client.force_login(root)
    path, body = "/api/v1/organizations", {"organization_id": "x", "name": "x"}
    codes = {client.post(path, body, content_type="application/json").status_code for _ in range(20)}
    assert codes == {403}
    counters.flush(now=beat.now)


def flood(beat: Beat, people: Cast) -> None:
    for _ in range(3):
        people.mallory.get("/api/v1/organizations")
    for _ in range(97):
        counters.add("credential.refused", "127.0.0.1")
    counters.flush(now=beat.now)


def silence_one(beat: Beat, people: Cast) -> None:
    Instance.objects.filter(orchestrator_id="acme-0").update(deadline_at=beat.now)


def silence_all(beat: Beat, people: Cast) -> None:
    Instance.objects.update(deadline_at=beat.now)


HAPPENINGS: dict[str, tuple[Callable[[Beat, Cast], None], dict[str, str]]] = {
    "crash": (crash, {"process_crashed": "error"}),
    "restarts": (restart, {"process_restarting": "error", "process_crashed": "error"}),
    "configuration": (refuse_configuration, {"config_failed/acme/acme-0": "error"}),
    "foreign origin": (forge, {"cross_origin": "error"}),
    "token flood": (flood, {"token_flood": "critical", "authentication": "warning"}),
    "inactive": (silence_one, {"orchestrator_inactive/acme/acme-0": "error"}),
    "nobody left": (
        silence_all,
        {
            "orchestrator_inactive/acme/acme-0": "error",
            "orchestrator_inactive/acme/acme-1": "error",
            "organization_empty/acme/-": "critical",
        },
    ),
}


@pytest.mark.parametrize("name", HAPPENINGS)
def test_what_happens_once_is_an_alert_within_a_run(name: str, beat: Beat, people: Cast) -> None:
    happen, expected = HAPPENINGS[name]
    fleet(organization("acme"), 2, now=beat.now)
    beat.run(10)
    assert severities() == {}
    happen(beat, people)
    beat.run(20)
    assert severities() == expected
