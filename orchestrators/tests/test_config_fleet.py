"""Configuration over real sockets: it reaches every session, never an older one after a newer, and failures go back."""

import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from moolai.testing.world import World
from orchestrators import configuration, instances
from orchestrators.configuration import rollouts
from orchestrators.models import Instance, Rollout
from orchestrators.tests.live import Live, Peer, eventually, running

pytestmark = pytest.mark.services
RESEND_SECONDS = 2


@pytest.fixture(scope="module")
def live(world: World, django_db_blocker: Any) -> Iterator[Live]:
    with running(world, django_db_blocker, {"MESSAGE_ACK_TIMEOUT_SEC": str(RESEND_SECONDS)}) as found:
        yield found
        found.hang_up()


class Client(threading.Thread):
    """A session that answers each configuration, with `failed` when it is broken; `taken` are (version, n)."""

    def __init__(self, peer: Peer, *, is_deaf: bool = False) -> None:
        super().__init__(daemon=True)
        self.peer, self.is_deaf, self.is_over = peer, is_deaf, False
        self.taken: list[tuple[int, Any]] = []
        self.answer(peer.seen[-1])
        self.start()

    def answer(self, frame: dict[str, Any]) -> None:
        self.taken.append((frame["version"], frame["config"]["features"].get("n")))
        if self.is_deaf:
            return
        status = "failed" if frame["config"]["features"].get("broken") else "applied"
        for word in ("applying", status):
            self.peer.send({"type": "config_status", "config_hash": frame["config_hash"], "status": word})

    def run(self) -> None:
        while not self.is_over:
            try:
                frame = self.peer.recv(0.2)
            except TimeoutError:
                continue
            except Exception:
                return
            if frame["type"] in ("config_update", "provisioning"):
                self.answer(frame)

    @property
    def versions(self) -> list[int]:
        return [version for version, _ in self.taken]


@pytest.fixture
def fleet(live: Live, request: pytest.FixtureRequest) -> Iterator[list[Client]]:
    """Ten sessions of an organization of their own; the last one is independent."""
    organization_id = f"fleet-{live.new_id()}"
    key = live.key(organization_id)
    for number in range(10):
        instances.create(
            f"{organization_id}-{number}",
            organization=live.organization(organization_id),
            acting_user=None,
            is_independent=number == 9,
        )
    clients = [Client(live.register(f"{organization_id}-{number}", key=key)) for number in range(10)]
    yield clients
    for client in clients:
        client.is_over = True
    for client in clients:
        client.join()
    live.hang_up()


def home(live: Live, clients: list[Client]) -> Any:
    return live.row(clients[0].peer.ack["orchestrator_id"]).organization


def all_run(clients: list[Client], n: Any) -> bool:
    return all(client.taken[-1][1] == n for client in clients)


def settled(organization: Any) -> bool:
    return not Rollout.objects.filter(organization=organization, status__in=Rollout.ACTIVE).exists()


def test_a_configuration_reaches_every_session_independent_ones_too(live: Live, fleet: list[Client]) -> None:
    organization = home(live, fleet)
    status, answer = live.call(
        "PUT", f"/api/v1/orchestrators/{organization.pk}/config", {"config": {"features": {"n": 1}}}
    )
    assert (status, answer["data"]["version"]) == (200, 1)
    assert eventually(lambda: all_run(fleet, 1))
    assert eventually(lambda: settled(organization)), "the reports advance the rollout, without any sweep"
    assert Rollout.objects.get(organization=organization).outcome["applied"] == 10
    assert set(Instance.objects.filter(organization=organization).values_list("config_status", flat=True)) == {
        "applied"
    }


def test_under_concurrent_changes_no_older_one_comes_after_a_newer(live: Live, fleet: list[Client]) -> None:
    organization = home(live, fleet)
    path = f"/api/v1/orchestrators/{organization.pk}/config"
    troubles: list[Any] = []

    def publish(start: int) -> None:
        for number in range(start, start + 8):
            status, answer = live.call("PUT", path, {"config": {"features": {"n": number}}})
            if status != 200:
                troubles.append((status, answer))

    def rename() -> None:
        for number in range(8):
            row = live.row(fleet[0].peer.ack["orchestrator_id"])
            instances.update(row, acting_user=None, session_config={"x": number})

    threads = [threading.Thread(target=publish, args=(start,)) for start in (100, 200, 300)]
    threads.append(threading.Thread(target=rename))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
    last = live.call("GET", path)[1]["data"]
    assert last["version"] == 24
    assert eventually(lambda: all_run(fleet, last["config"]["features"]["n"]))
    for client in fleet:
        assert client.versions == sorted(set(client.versions))
    row = live.row(fleet[0].peer.ack["orchestrator_id"])
    assert row.config_document()["session"] == {"x": 7}
    assert row.config_hash == configuration.digest(row.config_document())


@pytest.mark.once("postgres")
def test_a_broken_version_stops_at_its_first_stage_and_goes_back(live: Live, fleet: list[Client]) -> None:
    organization = home(live, fleet)
    configuration.publish(organization, {"features": {"n": 1}}, acting_user=None)
    assert eventually(lambda: all_run(fleet, 1) and settled(organization))
    rollout = rollouts.start(
        organization,
        {"features": {"n": 2, "broken": True}},
        wanted=[{"percent": 20}, {"percent": 100}],
        acting_user=None,
    )
    assert eventually(lambda: Rollout.objects.get(pk=rollout.pk).status == "halted")
    assert eventually(lambda: all_run(fleet, 1))
    assert sum(2 in [n for _, n in client.taken] for client in fleet) <= 2
    for client in fleet:
        assert client.versions == sorted(set(client.versions))


@pytest.mark.once("postgres")
def test_a_broken_plain_change_goes_back_by_itself(live: Live, fleet: list[Client]) -> None:
    organization = home(live, fleet)
    path = f"/api/v1/orchestrators/{organization.pk}/config"
    configuration.publish(organization, {"features": {"n": 1}}, acting_user=None)
    assert eventually(lambda: all_run(fleet, 1) and settled(organization))
    live.call("PUT", path, {"config": {"features": {"n": 2, "broken": True}}})
    assert eventually(lambda: live.call("GET", path)[1]["data"]["source"] == "automatic rollback")
    assert eventually(lambda: all_run(fleet, 1))
    assert eventually(lambda: settled(organization))


@pytest.mark.once("postgres")
def test_stages_follow_each_other_by_the_reports_alone(live: Live, fleet: list[Client]) -> None:
    organization = home(live, fleet)
    rollout = rollouts.start(
        organization, {"features": {"n": 5}}, wanted=[{"percent": 10}, {"percent": 50}], acting_user=None
    )
    assert eventually(lambda: Rollout.objects.get(pk=rollout.pk).status == "completed")
    assert all_run(fleet, 5)
    assert all(len(set(client.versions)) == 2 for client in fleet)


@pytest.mark.once("postgres")
def test_a_pause_holds_the_next_stage(live: Live, fleet: list[Client]) -> None:
    organization = home(live, fleet)
    rollout = rollouts.start(
        organization, {"features": {"n": 5}}, wanted=[{"percent": 10}], soak_seconds=1, acting_user=None
    )
    rollouts.pause(rollout, acting_user=None)
    time.sleep(1.5)
    assert sum(client.taken[-1][1] == 5 for client in fleet) == 1
    rollouts.resume(rollout, acting_user=None)
    assert eventually(lambda: swept(rollout) and all_run(fleet, 5), timeout=10)


@pytest.mark.once
def test_a_configuration_without_an_answer_is_sent_again_with_growing_pauses(live: Live) -> None:
    peer = live.register(live.new_id("deaf"), key=live.key("deaf-home"))
    client = Client(peer, is_deaf=True)
    configuration.publish(live.organization("deaf-home"), {"features": {"n": 1}}, acting_user=None)
    assert eventually(lambda: len(client.taken) >= 3, timeout=15)
    began = time.monotonic()
    assert eventually(lambda: len(client.taken) >= 4, timeout=30)
    assert time.monotonic() - began > RESEND_SECONDS
    assert client.versions == sorted(client.versions)
    client.is_deaf = False
    assert eventually(lambda: live.row(peer.ack["orchestrator_id"]).config_status == "applied", timeout=25)
    client.is_over = True
    client.join()


@pytest.mark.once("postgres")
def test_a_kill_between_push_and_answer_loses_nothing(live: Live) -> None:
    key = live.key("crash-home")
    ids = [live.new_id("crash") for _ in range(5)]
    clients = [Client(live.register(orchestrator_id, key=key)) for orchestrator_id in ids]
    organization = live.organization("crash-home")
    assert eventually(lambda: Instance.objects.filter(organization=organization, config_status="applied").count() == 5)
    for client in clients:
        client.is_deaf = True
    configuration.publish(organization, {"features": {"n": 9}}, acting_user=None)
    assert eventually(lambda: all_run(clients, 9))
    live.server.kill()
    for client in clients:
        client.is_over = True
        client.join()
    live.hang_up()
    live.server.start()
    before = {row.orchestrator_id: row.config_version for row in Instance.objects.filter(organization=organization)}
    began = time.monotonic()
    again = [Client(live.register(orchestrator_id, key=key, config_hash=None)) for orchestrator_id in ids]
    assert eventually(lambda: settled(organization) and all_run(again, 9), timeout=10)
    assert time.monotonic() - began < 10
    for client in again:
        client.is_over = True
    after = {row.orchestrator_id: row.config_version for row in Instance.objects.filter(organization=organization)}
    assert after == before


def swept(rollout: Rollout, *, seconds: float = 0) -> Rollout:
    """Sweep as after so many seconds, and return the rollout as it is then."""
    rollouts.sweep(now=timezone.now() + timedelta(seconds=seconds))
    return Rollout.objects.get(pk=rollout.pk)


def begin_deaf(live: Live, clients: list[Client]) -> Rollout:
    """Begin a rollout to half of a settled fleet that hears it and does not answer."""
    organization = home(live, clients)
    assert eventually(lambda: not Instance.objects.filter(organization=organization, config_status="pending").exists())
    Instance.objects.filter(organization=organization).update(connected_at=timezone.now() - timedelta(hours=1))
    for client in clients:
        client.is_deaf = True
    rollout = rollouts.start(organization, {"features": {"n": 7}}, wanted=[{"percent": 50}], acting_user=None)
    assert eventually(lambda: len(crashing(clients)) == 5)
    return rollout


def crashing(clients: list[Client]) -> list[Client]:
    return [client for client in clients if client.taken[-1][1] == 7]


@pytest.mark.once("postgres")
def test_a_version_that_crashes_orchestrators_before_they_answer_halts(live: Live, fleet: list[Client]) -> None:
    rollout = begin_deaf(live, fleet)
    for client in crashing(fleet):
        client.peer.socket.socket.shutdown(socket.SHUT_RDWR)
    assert eventually(lambda: Instance.objects.filter(config_rollout=rollout, is_connected=False).count() == 5)
    assert swept(rollout).status == "running", "they may come back"
    assert swept(rollout, seconds=61).status == "halted"


@pytest.mark.once("postgres")
def test_a_kill_of_ours_while_a_rollout_runs_is_no_failure_of_its_version(live: Live, fleet: list[Client]) -> None:
    rollout = begin_deaf(live, fleet)
    organization = home(live, fleet)
    live.server.kill()
    assert swept(rollout, seconds=301).status == "running"
    for client in fleet:
        client.is_over = True
        client.join()
    live.server.start()
    assert swept(rollout, seconds=61).status == "running", "nobody was lost"
    key = live.key(organization.pk)
    again = [Client(live.register(client.peer.ack["orchestrator_id"], key=key)) for client in fleet]
    assert eventually(lambda: settled(organization))
    assert Rollout.objects.get(pk=rollout.pk).status == "completed"
    for client in again:
        client.is_over = True
