"""Health over the API: for everybody in words, for superadmins in detail, for members their organization's."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from moolai.management.commands.beat import AliveRow
from moolai.testing.processes import free_port, wait_until
from moolai.testing.product import Installation
from moolai.testing.redis import Redis
from orchestrators import instances, messages, presence
from orchestrators.models import Instance, Node
from orgs import leases
from orgs.models import Organization
from orgs.tests import cast
from orgs.tests.cast import Cast

HEALTH, INTERNAL = "/api/v1/controller/health", "/api/v1/internal/health"
OURS = "/api/v1/orchestrators/org-001/health"


@pytest.fixture
def people(settings: Any, db: None) -> Cast:
    """The cast, without Redis, with worker and beat alive."""
    settings.REDIS_URL = ""
    leases.note("sweep", holder="worker:1", now=timezone.now())
    leases.note(leases.BEAT, holder="beat:1", now=timezone.now())
    return cast.make(settings)


@pytest.fixture
def no_database() -> Iterator[None]:
    """Make every statement of this test's connection fail, as without a server."""

    def execute(*_: Any) -> Any:
        raise OperationalError("connection refused: password=canary")

    with connection.execute_wrapper(execute):
        yield


def data(answer: Any, *, status: int = 200) -> Any:
    assert answer.status_code == status, answer.content
    return json.loads(answer.content)["data"]


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, json.loads(answer.content)["error"]


def ran(name: str, ago_seconds: float) -> None:
    leases.note(name, holder=f"{name}:1", now=timezone.now() - timedelta(seconds=ago_seconds))


# --- public ----------------------------------------------------------------------------------------------------------


def test_everybody_is_told_in_words_and_no_more(people: Cast) -> None:
    answer = people.nobody.get(HEALTH)
    assert data(answer) == {
        "status": "healthy",
        "dependencies": {"database": "connected", "redis": "embedded", "celery": "running"},
    }
    assert answer["Cache-Control"] == "no-store"
    assert "X-RateLimit-Limit" not in answer
    assert people.nobody.get(f"{HEALTH}/").status_code == 200


@pytest.mark.parametrize("who", ["root", "alice", "vera", "charlie", "machine"])
def test_a_credential_adds_version_and_uptime(people: Cast, settings: Any, who: str) -> None:
    found = data(getattr(people, who).get(HEALTH))
    assert set(found) == {"status", "dependencies", "version", "uptime_seconds"}
    assert found["version"] == settings.VERSION
    assert found["uptime_seconds"] > 0


def test_a_credential_that_fails_is_refused(people: Cast) -> None:
    assert refusal(people.mallory.get(HEALTH)) == (403, "forbidden")


@pytest.mark.parametrize(
    ("name", "ago", "word"), [("sweep", 29, "running"), ("sweep", 31, "stale"), ("beat", 31, "running")]
)
def test_background_work_that_stands_still_degrades(people: Cast, name: str, ago: float, word: str) -> None:
    ran(name, ago)
    found = data(people.nobody.get(HEALTH))
    assert found["dependencies"]["celery"] == word
    assert found["status"] == ("healthy" if word == "running" else "degraded")


def test_background_work_that_never_ran_degrades(settings: Any, db: None) -> None:
    settings.REDIS_URL = ""
    found = data(cast.Person({}).get(HEALTH))
    assert (found["status"], found["dependencies"]["celery"]) == ("degraded", "stale")


def test_a_redis_that_is_away_degrades(people: Cast, settings: Any) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    found = data(people.nobody.get(HEALTH))
    assert (found["status"], found["dependencies"]["redis"]) == ("degraded", "disconnected")


def test_a_redis_that_hangs_is_waited_for_a_second_at_most(people: Cast, settings: Any, redis_server: Redis) -> None:
    settings.REDIS_URL = redis_server.url()
    assert data(people.nobody.get(HEALTH))["dependencies"]["redis"] == "connected"
    redis_server.pause()
    for path in (HEALTH, "/health"):
        started = time.monotonic()
        assert people.nobody.get(path).status_code == 200
        assert time.monotonic() - started < 1.5
    assert data(people.nobody.get(HEALTH))["dependencies"]["redis"] == "disconnected"


@pytest.mark.parametrize("who", ["nobody", "root", "alice"])
def test_without_the_database_it_is_unhealthy(people: Cast, no_database: None, who: str) -> None:
    answer = getattr(people, who).get(HEALTH)
    found = data(answer, status=503)
    assert (found["status"], found["dependencies"]["database"], found["dependencies"]["celery"]) == (
        "unhealthy", "disconnected", "unknown",
    )  # fmt: skip
    body = json.loads(answer.content)
    assert (body["success"], body["error"]) == (False, "database_unavailable")
    assert body["request_id"] == answer["X-Request-ID"]
    assert int(answer["Retry-After"]) > 0
    assert b"canary" not in answer.content


@pytest.mark.parametrize("path", [HEALTH, INTERNAL, OURS])
def test_only_reading_and_no_parameters(people: Cast, path: str) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = people.root.call(method, path)
        assert refusal(answer) == (405, "method_not_allowed")
        assert set(answer["Allow"].split(", ")) == {"GET", "HEAD"}
    assert refusal(people.root.get(f"{path}?verbose=1")) == (400, "invalid_parameter")
    assert people.root.call("HEAD", path).status_code == 200


# --- for superadmins -------------------------------------------------------------------------------------------------


def test_a_superadmin_sees_every_process(people: Cast) -> None:
    now = timezone.now()
    row = {"hostname": "h", "pid": 7, "started_at": now, "sessions": 2}
    Node.objects.create(node_id="h:7:a", beat_at=now, **row)
    Node.objects.create(node_id="h:8:b", beat_at=now - timedelta(seconds=60), **row)
    ran("sweep", 3)
    found = data(people.root.get(INTERNAL))
    assert set(found) == {"status", "version", "uptime_seconds", "database", "redis", "celery", "websockets"}
    assert found["database"]["status"] == "connected"
    assert found["database"]["latency_ms"] >= 0
    assert found["redis"] == {"status": "embedded", "latency_ms": None}
    assert (found["celery"]["status"], found["celery"]["worker"]["process"]) == ("running", "sweep:1")
    assert 2.9 <= found["celery"]["worker"]["age_seconds"] < 10
    assert found["celery"]["beat"]["status"] == "running"
    listed = [(node["node"], node["is_alive"], node["sessions"]) for node in found["websockets"]["nodes"]]
    assert listed == [("h:7:a", True, 2), ("h:8:b", False, 2)]
    assert found["websockets"]["sessions"] == 0
    assert found["websockets"]["nodes"][1]["beat_age_seconds"] >= 60


@pytest.mark.parametrize(
    ("worker_ago", "beat_ago", "words"),
    [
        (60, 1, ("stale", "stale", "running")),
        (60, 60, ("stale", "unknown", "stale")),
        (1, 60, ("running", "running", "stale")),
    ],
)
def test_a_worker_is_blamed_only_while_beat_calls_it(
    people: Cast, worker_ago: float, beat_ago: float, words: tuple[str, ...]
) -> None:
    ran("sweep", worker_ago)
    ran(leases.BEAT, beat_ago)
    celery = data(people.root.get(INTERNAL))["celery"]
    assert (celery["status"], celery["worker"]["status"], celery["beat"]["status"]) == words


@pytest.mark.parametrize("who", ["nobody", "mallory", "machine", "alice", "oscar", "vera", "charlie"])
def test_nobody_else_sees_the_details(people: Cast, who: str) -> None:
    assert refusal(getattr(people, who).get(INTERNAL))[0] == (401 if who == "nobody" else 403)


def test_the_details_are_there_without_a_database_too(people: Cast, no_database: None) -> None:
    found = data(people.root.get(INTERNAL), status=503)
    assert (found["status"], found["celery"]["worker"]["status"], found["websockets"]) == (
        "unhealthy", "unknown", {"sessions": 0, "nodes": []},
    )  # fmt: skip


def test_the_details_take_as_many_queries_for_many_processes(people: Cast) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            data(people.root.get(INTERNAL))
        return len(captured)

    few, now = queries(), timezone.now()
    row = {"hostname": "h", "pid": 7, "started_at": now, "beat_at": now}
    Node.objects.bulk_create(Node(node_id=f"n{number}", **row) for number in range(200))
    assert queries() == few <= 4


def test_the_sweep_is_the_workers_sign_of_life_and_publishing_beats(people: Cast) -> None:
    ran("sweep", 60)
    ran(leases.BEAT, 60)
    presence.sweep(holder="worker:2")
    AliveRow().note(sender="orchestrators.sweep")
    celery = data(people.root.get(INTERNAL))["celery"]
    assert (celery["worker"]["status"], celery["worker"]["process"], celery["beat"]["status"]) == (
        "running", "worker:2", "running",
    )  # fmt: skip


def test_beat_goes_on_without_a_database(db: None, no_database: None) -> None:
    AliveRow().note()


# --- an organization's -----------------------------------------------------------------------------------------------


@pytest.fixture
def fleet(people: Cast) -> Cast:
    """Three orchestrators of org-001, one of org-002; all inactive."""
    for number, organization_id in enumerate(("org-001", "org-001", "org-001", "org-002"), start=1):
        organization = Organization.objects.get(pk=organization_id)
        instances.create(f"orch-00{number}", organization=organization, acting_user=None)
    return people


def set_status(**statuses: str) -> None:
    for name, status in statuses.items():
        Instance.objects.filter(orchestrator_id=name.replace("_", "-")).update(status=status, last_seen=timezone.now())


def test_members_see_their_fleet_in_numbers(fleet: Cast) -> None:
    set_status(orch_001="active", orch_002="degraded")
    Instance.objects.filter(orchestrator_id="orch-001").update(is_connected=True)
    messages.queue("orch-001", message_type="note", content={}, acting_user=None)
    messages.queue("orch-004", message_type="note", content={}, acting_user=None)
    for person in (fleet.root, fleet.alice, fleet.oscar, fleet.vera):
        assert data(person.get(OURS)) == {
            "organization_id": "org-001",
            "status": "degraded",
            "orchestrators": {"total": 3, "active": 1, "independent": 0, "inactive": 1, "degraded": 1, "error": 0},
            "connected": 1,
            "silent": 0,
            "pending_messages": 1,
        }


@pytest.mark.parametrize(
    ("statuses", "word"),
    [
        ({"orch_001": "active", "orch_002": "active", "orch_003": "independent"}, "healthy"),
        ({"orch_001": "active", "orch_002": "active"}, "degraded"),
        ({}, "unhealthy"),
        ({"orch_001": "error"}, "unhealthy"),
    ],
)
def test_the_word_follows_the_orchestrators(fleet: Cast, statuses: dict[str, str], word: str) -> None:
    set_status(**statuses)
    assert data(fleet.alice.get(OURS))["status"] == word


def test_active_ones_that_nobody_hears_of_are_silent_and_no_part_of_the_working_ones(
    fleet: Cast, settings: Any
) -> None:
    def told() -> tuple[str, int]:
        found = data(fleet.alice.get(OURS))
        return found["status"], found["silent"]

    rows, late = Instance.objects.all(), timezone.now() - timedelta(seconds=settings.HEARTBEAT_TTL_SEC + 1)
    rows.update(status="active", is_connected=False, last_seen=timezone.now())  # by heartbeats over plain HTTP
    assert told() == ("healthy", 0)
    rows.update(last_seen=late)
    assert told() == ("unhealthy", 3)
    rows.filter(orchestrator_id="orch-001").update(is_connected=True)
    assert told() == ("degraded", 2)
    rows.filter(orchestrator_id="orch-002").update(is_independent=True)
    rows.filter(orchestrator_id="orch-003").update(last_seen=None)
    assert told() == ("degraded", 1)
    Organization.objects.filter(pk="org-001").update(is_independent=True)
    assert told() == ("healthy", 0)


def test_an_organization_without_orchestrators_is_well_unless_it_is_closed(people: Cast) -> None:
    assert data(people.alice.get(OURS))["status"] == "healthy"
    Organization.objects.filter(pk="org-001").update(status="suspended")
    assert data(people.root.get(OURS))["status"] == "unhealthy"


def test_others_do_not_see_an_organizations_health(fleet: Cast) -> None:
    assert refusal(fleet.nobody.get(OURS)) == (401, "unauthenticated")
    assert refusal(fleet.mallory.get(OURS)) == (401, "unauthenticated")
    assert refusal(fleet.machine.get(OURS)) == (403, "forbidden")
    foreign, missing = (fleet.charlie.get(OURS.replace("org-001", name)) for name in ("org-001", "nowhere"))
    assert refusal(foreign) == refusal(missing) == (404, "not_found")


# --- the real processes ----------------------------------------------------------------------------------------------


@pytest.mark.services
def test_worker_and_beat_are_seen_alive_and_missed(installation: Callable[..., Installation]) -> None:
    import urllib.request

    place = installation()
    server = place.serve()

    def word() -> str:
        with urllib.request.urlopen(server.url(HEALTH), timeout=10) as answer:
            return str(json.load(answer)["data"]["dependencies"]["celery"])

    assert word() == "stale"
    place.worker()
    place.beat()
    assert wait_until(lambda: word() == "running", timeout_seconds=60, interval_seconds=0.5)
