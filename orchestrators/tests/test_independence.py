"""Independence: nothing of an independent orchestrator moves, on the wire and in the rows, and back again."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from moolai.errors import NotFound
from moolai.testing.world import World
from orchestrators import independence, instances, presence
from orchestrators.models import Instance
from orchestrators.presence import Sighting
from orchestrators.tests.live import Live, Peer, eventually, running
from orgs.models import AuditEntry, Event, Organization

PROCESSING, IGNORING = "Processing heartbeat from orchestrator", "Ignoring heartbeat from independent orchestrator"


@pytest.fixture(scope="module")
def live(world: World, django_db_blocker: Any) -> Iterator[Live]:
    with running(world, django_db_blocker) as found:
        yield found
        found.hang_up()


def toggle(orchestrator_id: str, flag: bool) -> Instance:
    return independence.set_instance(orchestrator_id, is_independent=flag, acting_user=None)


def frozen(live: Live, orchestrator_id: str) -> tuple[Any, ...]:
    row = live.row(orchestrator_id)
    return row.last_seen, row.last_activity, row.deadline_at, row.health_status, row.updated_at


def beats(peer: Peer, count: int = 3) -> None:
    for number in range(count):
        sent = {"type": "i_am_alive", "seq": number, "health": {"status": "error", "n": number}}
        assert peer.ask(sent, "heartbeat_ack")["seq"] == number


@pytest.mark.services
@pytest.mark.parametrize("source", ["own", "organization"])
def test_an_independent_orchestrators_row_does_not_move_by_a_microsecond(live: Live, source: str) -> None:
    organization_id, name = f"free-{source}", f"orch-{source}"
    peer = live.register(name, key=live.key(organization_id))
    assert peer.is_open()
    time.sleep(1.2)
    if source == "own":
        toggle(name, True)
    else:
        independence.set_organization(organization_id, is_independent=True, acting_user=None)
    time.sleep(1.1)  # every process has heard of it
    before = frozen(live, name)
    beats(peer)
    peer.send({"type": "monitoring", "metrics": {"cpu_usage_percent": 1}})
    time.sleep(1.5)
    assert frozen(live, name) == before
    row = live.row(name)
    assert (row.status, row.is_connected, row.independence_source) == ("independent", True, source)
    assert eventually(lambda: live.lines(f"{IGNORING} {name}"))
    status, body = live.call("GET", f"/api/v1/controller/orchestrators/live?organization_id={organization_id}")
    assert status == 200
    [entry] = body["data"]["items"] if isinstance(body["data"], dict) else body["data"]
    assert datetime.fromisoformat(entry["last_seen"]) == row.last_seen
    assert (entry["is_independent"], entry["independence_source"]) == (True, source)
    peer.close()
    assert eventually(lambda: not live.row(name).is_connected)
    assert (live.row(name).status, live.row(name).last_seen) == ("independent", before[0])


@pytest.mark.services
def test_registering_does_not_touch_last_seen_and_the_ack_says_so(live: Live) -> None:
    key = live.key("free-again")
    live.register("orch-again", key=key).close()
    toggle("orch-again", True)
    time.sleep(1.1)
    before = live.row("orch-again").last_seen
    peer = live.register("orch-again", key=key)
    assert peer.ack["is_independent"] is True
    row = live.row("orch-again")
    assert (row.last_seen, row.status, row.deadline_at, row.is_connected) == (before, "independent", None, True)


@pytest.mark.services
def test_the_log_changes_with_the_toggle_and_is_limited_otherwise(live: Live) -> None:
    peer = live.register("orch-loud", key=live.key("loud"))
    beats(peer)
    toggle("orch-loud", True)
    time.sleep(1.1)
    beats(peer)
    toggle("orch-loud", False)
    time.sleep(1.1)
    beats(peer)
    found = [line for line in live.lines("orch-loud") if "heartbeat from" in line]
    words = [json.loads(line)["event"] for line in found]
    assert words == [f"{PROCESSING} orch-loud", f"{IGNORING} orch-loud", f"{PROCESSING} orch-loud"]


@pytest.mark.services
def test_through_the_server_itself_the_toggle_is_there_at_once_and_config_still_comes(live: Live) -> None:
    peer = live.register("orch-at-once", key=live.key("rest"))
    beats(peer, 1)
    path = "/api/v1/internal/orchestrators/orch-at-once/independence"
    status, body = live.call("PUT", path, {"is_independent": True, "reason": "drill"})
    assert (status, body["data"]["is_independent"]) == (200, True)
    before = live.row("orch-at-once").last_seen
    assert before is not None
    beats(peer)
    assert eventually(lambda: live.lines(f"{IGNORING} orch-at-once"), 0.5)
    instances.update(live.row("orch-at-once"), acting_user=None, features={"beta": True})
    assert peer.take("config_update")["config"]["features"] == {"beta": True}
    assert live.row("orch-at-once").last_seen == before
    status, _ = live.call("PUT", path, {"is_independent": False})
    assert status == 200
    beats(peer)
    assert eventually(lambda: (live.row("orch-at-once").last_seen or before) > before, 2.5)
    entry = AuditEntry.objects.filter(target_id="orch-at-once", action="orchestrator.independence").latest("id")
    assert (entry.before, entry.after) == ({"is_independent": True}, {"is_independent": False})


@pytest.mark.services
def test_the_mirror_files_say_what_the_database_says(live: Live) -> None:
    for name in ("orch-m.1", "orch-m-1", "orch-m_1"):
        live.register(name, key=live.key("mirror"))
    folder = Path(live.installation.data_dir)
    path = "/api/v1/internal/orchestrators/{}/independence"
    assert live.call("PUT", path.format("orch-m-1"), {"is_independent": True})[0] == 200
    assert live.call("PUT", "/api/v1/internal/organizations/mirror/independence", {"is_independent": True})[0] == 200
    document = json.loads((folder / "orchestrator_independence.json").read_text())
    assert set(document) == {"orchestrators", "organizations"}
    assert document["orchestrators"]["orch-m-1"]["is_independent"] is True
    assert document["orchestrators"]["orch-m_1"]["is_independent"] is False
    assert document["organizations"]["mirror"]["is_independent"] is True
    stamp = datetime.fromisoformat(document["orchestrators"]["orch-m-1"]["updated_at"])
    assert abs(stamp - datetime.now(UTC)) < timedelta(seconds=30)
    lines = (folder / "independence.env").read_text().splitlines()
    assert "ORCHESTRATOR_ORCH_M_1_INDEPENDENT=true" in lines  # two ids share the name: true if any is
    assert "ORCHESTRATOR_ORCH_M.1_INDEPENDENT=false" in lines
    assert len(lines) == len({line.partition("=")[0] for line in lines})
    assert live.call("PUT", path.format("orch-m-1"), {"is_independent": False})[0] == 200
    assert "ORCHESTRATOR_ORCH_M_1_INDEPENDENT=false" in (folder / "independence.env").read_text().splitlines()
    assert not list(folder.glob(".*independence*"))


@pytest.mark.services
def test_the_environment_sets_the_flag_when_an_instance_is_first_made(live: Live) -> None:
    server = live.installation.serve(env={"ORCHESTRATOR_ORCH_BORN_FREE_INDEPENDENT": "true"})
    peer = live.register("orch-born-free", key=live.key("born"), server=server)
    assert peer.ack["is_independent"] is True
    assert live.row("orch-born-free").last_seen is None
    toggle("orch-born-free", False)
    peer.close()
    assert live.register("orch-born-free", key=live.key("born"), server=server).ack["is_independent"] is False
    server.kill()


# --- rows alone -----------------------------------------------------------------------------------------------------


@pytest.fixture
def organization(transactional_db: None) -> Organization:
    return Organization.objects.create(organization_id="acme", name="Acme")


def instance(organization: Organization, name: str, **fields: Any) -> Instance:
    return Instance.objects.create(orchestrator_id=name, organization=organization, **{"status": "active", **fields})


def test_leaving_independence_gives_one_full_ttl_and_keeps_last_seen(organization: Organization) -> None:
    long_ago = timezone.now() - timedelta(days=3)
    instance(organization, "a", last_seen=long_ago, deadline_at=long_ago)
    instance(organization, "b", is_connected=True)
    instance(organization, "never", status="inactive")
    for name in ("a", "b", "never"):
        assert toggle(name, True).status == "independent"
        assert toggle(name, True).deadline_at is None
    now = timezone.now()
    left = {name: toggle(name, False) for name in ("a", "b", "never")}
    assert (left["a"].status, left["a"].last_seen) == ("active", long_ago)
    assert abs((left["a"].deadline_at - now).total_seconds() - 125) < 5  # type: ignore[operator]
    assert left["b"].status == "active"
    assert (left["never"].status, left["never"].deadline_at) == ("inactive", None)


def test_an_own_flag_outlives_the_organizations(organization: Organization) -> None:
    instance(organization, "own", last_seen=timezone.now())
    instance(organization, "inherits", last_seen=timezone.now())
    toggle("own", True)
    independence.set_organization("acme", is_independent=True, acting_user=None)
    assert set(Instance.objects.values_list("status", flat=True)) == {"independent"}
    independence.set_organization("acme", is_independent=False, acting_user=None)
    assert dict(Instance.objects.values_list("orchestrator_id", "status")) == {
        "own": "independent",
        "inherits": "active",
    }


def test_setting_what_is_set_already_writes_nothing(organization: Organization) -> None:
    instance(organization, "a")
    toggle("a", False)
    independence.set_organization("acme", is_independent=False, acting_user=None)
    assert not AuditEntry.objects.exists()
    assert not Event.objects.exists()
    with pytest.raises(NotFound):
        toggle("nobody", True)


def test_a_toggle_beats_a_flush_that_was_pending(organization: Organization) -> None:
    row = instance(organization, "a", last_seen=timezone.now() - timedelta(seconds=9), epoch=3)
    pending = [Sighting(row.pk, 3, timezone.now())]
    toggle("a", True)
    assert presence.flush(pending) == 0
    row.refresh_from_db()
    before = row.last_seen
    toggle("a", False)
    independence.set_organization("acme", is_independent=True, acting_user=None)
    assert presence.flush(pending) == 0
    row.refresh_from_db()
    assert row.last_seen == before


def test_flushes_racing_a_toggle_never_move_the_row_after_its_commit(organization: Organization) -> None:
    from django.db import connections

    row = instance(organization, "a", last_seen=timezone.now(), epoch=1)
    stop = threading.Event()
    errors: list[BaseException] = []

    def flushing() -> None:
        try:
            while not stop.is_set():
                presence.flush([Sighting(row.pk, 1, timezone.now())])
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=flushing) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(6):
            by_organization = turn % 2 == 1
            for flag in (True, False):
                if by_organization:
                    independence.set_organization("acme", is_independent=flag, acting_user=None)
                else:
                    toggle("a", flag)
                if flag:
                    first = Instance.objects.values_list("last_seen", flat=True).get(pk=row.pk)
                    time.sleep(0.03)
                    assert Instance.objects.values_list("last_seen", flat=True).get(pk=row.pk) == first
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []
