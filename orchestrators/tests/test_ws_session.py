"""The life of an orchestrator session, as a client written from PROTOCOL §1 expects it."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from moolai.testing.world import World
from orchestrators import messages
from orchestrators.models import Instance, Message
from orchestrators.tests.live import Ended, Live, eventually, running
from orchestrators.tests.raw import CLOSE, TEXT, RawPeer, frame
from orgs.models import AuditEntry, Event

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def live(world: World, django_db_blocker: Any) -> Iterator[Live]:
    with running(world, django_db_blocker) as found:
        yield found


@pytest.fixture(scope="module")
def quick() -> dict[str, str]:
    return {"HEARTBEAT_TTL_SEC": "3", "HEARTBEAT_POKER_ENABLED": "true", "SHUTDOWN_SPREAD_MS": "9000"}


@pytest.fixture(autouse=True)
def hang_up(live: Live) -> Iterator[None]:
    yield
    live.hang_up()


def handshake(orchestrator_id: str) -> dict[str, Any]:
    """The alias, byte for byte as existing clients send it."""
    return {
        "type": "handshake",
        "service": "orchestrator",
        "data": {
            "orchestrator_id": orchestrator_id,
            "metadata": {
                "version": "1.0.0", "hostname": "h", "ip": "10.0.0.4", "ssl_enabled": False,
                "name": f"Organization {orchestrator_id}", "location": "eu", "features": {},
            },
        },
        "timestamp": "2025-10-27T10:30:15",
    }  # fmt: skip


# --- register ----------------------------------------------------------------------------------------------------


def test_a_session_lives_from_register_to_goodbye(live: Live) -> None:
    peer = live.peer(Authorization=f"Bearer {live.key()}")
    before = datetime.now(UTC)
    peer.send(
        {
            "type": "register", "orchestrator_id": "orch-life", "organization_id": "acme", "name": "Default",
            "version": "1.4.0", "capabilities": ["tasks", "config"], "metadata": {"hostname": "h", "features": {}},
            "a field of tomorrow": [1],
        }
    )  # fmt: skip
    ack = peer.recv()
    assert ack == ack | {
        "type": "handshake_ack", "success": True, "orchestrator_id": "orch-life", "organization_id": "acme", "epoch": 1,
        "is_independent": False, "heartbeat_interval": 30, "heartbeat_ttl": 120, "protocol": 1,
        "reconnect": {"min_ms": 1000, "max_ms": 30000},
    }  # fmt: skip
    assert abs(datetime.fromisoformat(ack["server_time"]) - before) < timedelta(seconds=5)
    provisioning = peer.recv()
    assert provisioning["type"] == "provisioning"
    assert provisioning["data"] == provisioning["config"]
    assert {"features", "session", "metadata", "privacy_mode", "llm"} <= set(provisioning["config"])
    row = live.row("orch-life")
    assert (row.status, row.is_connected, row.session_id, row.epoch) == ("active", True, ack["session_id"], 1)
    assert (row.name, row.version, row.capabilities) == ("Default", "1.4.0", ["tasks", "config"])
    assert row.metadata == {"hostname": "h", "features": {}}
    assert (row.remote_address, row.config_status) == ("127.0.0.1", "pending")
    assert provisioning["config_hash"] == row.config_hash
    assert provisioning["version"] == row.config_version
    assert peer.ask({"type": "i_am_alive", "seq": 42}, "heartbeat_ack") == peer.seen[-1]
    peer.send({"type": "goodbye"})
    frames, code = peer.ending()
    assert (frames, code) == ([], 1000)
    assert eventually(lambda: not live.row("orch-life").is_connected, 2)
    assert live.row("orch-life").status == "inactive"
    assert not Event.objects.filter(orchestrator_id="orch-life", kind="orchestrator.inactive").exists()


def test_only_type_and_id_are_required_when_the_key_names_the_organization(live: Live) -> None:
    peer = live.peer()
    peer.send({"type": "register", "orchestrator_id": "orch-min", "token": live.key()})
    assert peer.recv()["organization_id"] == "acme"


def test_nothing_is_sent_before_the_handshake_ack(live: Live) -> None:
    key, orchestrator_id = live.key(), "orch-greeting"
    live.register(orchestrator_id, key=key).close()
    for number in range(8):
        messages.queue(orchestrator_id, message_type="order", content={"n": number}, acting_user=None)
        peer = live.peer(Authorization=f"Bearer {key}")
        peer.send({"type": "register", "orchestrator_id": orchestrator_id, "capabilities": ["x"]})
        messages.queue(orchestrator_id, message_type="order", content={"n": number}, acting_user=None)
        assert [peer.recv()["type"] for _ in range(3)] == ["handshake_ack", "provisioning", "order"]
        peer.send({"type": "goodbye"})
        assert peer.ending()[1] == 1000


@pytest.mark.parametrize(
    "word", ["live", "register", "heartbeat", "", "-a", "a b", "ä", "a" * 51, "../x", 7, None, ["a"]]
)
def test_an_unusable_id_is_refused(live: Live, word: Any) -> None:
    refusal = live.refused({"type": "register", "orchestrator_id": word}, Authorization=f"Bearer {live.key()}")
    assert (refusal["type"], refusal["error"], refusal["close"]) == ("handshake_ack", "invalid_field", 1008)
    assert refusal["detail"]


@pytest.mark.parametrize(
    "field",
    [{"capabilities": "tasks"}, {"capabilities": [1]}, {"metadata": []}, {"name": 5}, {"name": "n" * 10_000},
     {"version": {}}, {"config_hash": 1}, {"organization_id": "../b"}, {"organization_id": 5}],
)  # fmt: skip
def test_a_wrong_field_refuses_the_register(live: Live, field: dict[str, Any]) -> None:
    frame_ = {"type": "register", "orchestrator_id": live.new_id()} | field
    refusal = live.refused(frame_, Authorization=f"Bearer {live.key()}")
    assert (refusal["type"], refusal["error"], refusal["close"]) == ("handshake_ack", "invalid_field", 1008)


def test_a_dropped_line_is_noticed_within_two_seconds_and_leaves_the_status(live: Live) -> None:
    key = live.key()
    peer = RawPeer(live.server.port)
    peer.register("orch-cut", key)
    peer.close()
    assert eventually(lambda: not live.row("orch-cut").is_connected, 2)
    row = live.row("orch-cut")
    assert (row.status, row.session_id, row.node, row.connected_at) == ("active", "", "", None)


# --- heartbeats --------------------------------------------------------------------------------------------------


def test_a_heartbeat_has_no_reply_unless_it_carries_seq(live: Live) -> None:
    peer = live.register()
    peer.send({"type": "i_am_alive"})
    assert peer.nothing(0.3) == []
    answer = peer.ask({"type": "i_am_alive", "seq": 2**62, "timestamp": "2026-11-20T12:00:00Z"}, "heartbeat_ack")
    assert set(answer) == {"type", "seq", "server_time"}
    assert answer["seq"] == 2**62
    assert datetime.fromisoformat(answer["server_time"]).utcoffset() == timedelta(0)


def test_last_seen_follows_within_two_seconds(live: Live) -> None:
    peer = live.register("orch-seen")
    before = live.row("orch-seen").last_seen
    assert before is not None
    peer.send({"type": "i_am_alive"})
    moved = eventually(lambda: (live.row("orch-seen").last_seen or before) > before, 2.5)
    assert moved
    assert live.row("orch-seen").status == "active"


def test_any_valid_frame_proves_the_session_alive(live: Live) -> None:
    peer = live.register("orch-any")
    before = live.row("orch-any").last_seen
    assert before is not None
    time.sleep(0.1)
    peer.send({"type": "monitoring", "metrics": {"cpu_usage_percent": 1}})
    assert eventually(lambda: (live.row("orch-any").last_seen or before) > before, 2.5)


def test_a_heartbeat_for_another_id_counts_for_nobody(live: Live) -> None:
    other = live.register("orch-named")
    peer = live.register("orch-naming")
    time.sleep(1.2)  # so that what registering left to write is written
    before = [live.row(name).last_seen for name in ("orch-named", "orch-naming")]
    error = peer.ask({"type": "i_am_alive", "orchestrator_id": "orch-named", "seq": 1})
    assert (error["error"], error["fatal"], error["success"]) == ("orchestrator_mismatch", False, False)
    assert peer.nothing(1.5, of="heartbeat_ack") == []
    assert [live.row(name).last_seen for name in ("orch-named", "orch-naming")] == before
    assert peer.ask({"type": "i_am_alive", "orchestrator_id": "orch-naming", "seq": 2}, "heartbeat_ack")["seq"] == 2
    assert other.is_open()


def test_the_first_heartbeat_is_logged_and_then_one_in_ten_seconds(live: Live) -> None:
    peer = live.register("orch-log")
    for _ in range(5):
        assert peer.is_open()
    text = "Processing heartbeat from orchestrator orch-log"
    assert eventually(lambda: live.lines(text))
    [line] = live.lines(text)
    assert json.loads(line)["level"] == "info"


def test_health_is_stored_and_its_word_becomes_the_status(live: Live) -> None:
    peer = live.register("orch-health")
    peer.send({"type": "i_am_alive", "health": {"status": "degraded", "disk": 97}})
    assert eventually(lambda: live.row("orch-health").status == "degraded", 2.5)
    assert live.row("orch-health").health_status == {"status": "degraded", "disk": 97}
    peer.send({"type": "i_am_alive", "health": {"status": "healthy"}})
    assert eventually(lambda: live.row("orch-health").status == "active", 2.5)


def test_a_goodbye_right_after_a_health_report_stays_inactive(live: Live) -> None:
    peer = live.register("orch-leaving")
    peer.send({"type": "i_am_alive", "health": {"status": "healthy"}})
    peer.send({"type": "goodbye"})
    assert peer.ending()[1] == 1000
    time.sleep(1.6)
    row = live.row("orch-leaving")
    assert (row.status, row.is_connected) == ("inactive", False)


def test_a_session_of_a_deleted_instance_is_closed(live: Live) -> None:
    from orchestrators import instances

    peer = live.register("orch-deleted")
    instances.delete(live.row("orch-deleted"), acting_user=None)
    frames, code = peer.ending(3)
    assert (frames[-1]["error"], frames[-1]["fatal"], code) == ("unknown_orchestrator", True, 4403)
    refusal = live.refused(
        {"type": "register", "orchestrator_id": "orch-deleted"}, Authorization=f"Bearer {live.key()}"
    )
    assert (refusal["error"], refusal["close"]) == ("unknown_orchestrator", 4403)


def test_a_heartbeat_of_an_instance_whose_row_is_gone_ends_the_session(live: Live) -> None:
    peer = live.register("orch-gone")
    Instance.objects.filter(orchestrator_id="orch-gone").delete()
    peer.send({"type": "i_am_alive"})
    frames, code = peer.ending(3)
    assert (frames[-1]["error"], code) == ("unknown_orchestrator", 4403)


# --- the alias ----------------------------------------------------------------------------------------------------


def test_the_older_handshake_works_as_its_clients_expect(live: Live) -> None:
    peer = live.peer(Authorization=f"Bearer {live.key()}")
    peer.send(handshake("orch-old"))
    ack = peer.recv()
    assert (ack["type"], ack["success"], ack["orchestrator_id"]) == ("handshake_ack", True, "orch-old")
    provisioning = peer.recv()
    assert (provisioning["type"], provisioning["data"]) == ("provisioning", provisioning["config"])
    row = live.row("orch-old")
    assert (row.name, row.version) == ("Organization orch-old", "1.0.0")
    assert (row.metadata["location"], row.config_status) == ("eu", "unknown")
    before = row.last_seen
    assert before is not None
    peer.send({"type": "i_am_alive", "timestamp": "2025-10-27T10:30:25"})
    assert eventually(lambda: (live.row("orch-old").last_seen or before) > before, 2.5)
    assert peer.nothing(0.2) == []
    last_seen = live.row("orch-old").last_seen
    assert last_seen is not None
    assert abs(last_seen - datetime.now(UTC)) < timedelta(seconds=10)  # server time, not the client's


def test_the_handshake_may_carry_its_token_where_register_does(live: Live) -> None:
    for place in ("frame", "data"):
        peer = live.peer()
        opening = handshake(live.new_id())
        (opening if place == "frame" else opening["data"])["token"] = live.key()
        peer.send(opening)
        assert peer.recv()["success"] is True, place


@pytest.mark.parametrize("kind", ["handshake", "no capabilities"])
def test_to_older_clients_a_message_is_delivered_when_written_and_config_comes_as_provisioning(
    live: Live, kind: str
) -> None:
    from orchestrators import instances

    orchestrator_id = live.new_id("old")
    peer = live.peer(Authorization=f"Bearer {live.key()}")
    plain = {"type": "register", "orchestrator_id": orchestrator_id}
    peer.send(handshake(orchestrator_id) if kind == "handshake" else plain)
    assert peer.recv()["success"] is True
    first = peer.recv()
    row = messages.queue(orchestrator_id, message_type="order", content={"a": 1}, acting_user=None)
    received = peer.take("order")
    assert received == {"type": "order", "message_id": row.message_id, "content": {"a": 1}, "attempt": 1}
    assert eventually(lambda: Message.objects.get(pk=row.pk).status == "delivered")
    instances.update(live.row(orchestrator_id), acting_user=None, features={"beta": True})
    second = peer.take("provisioning")
    assert (second["version"], second["data"]["features"]) == (first["version"] + 1, {"beta": True})
    assert second["config_hash"] != first["config_hash"]
    assert live.row(orchestrator_id).config_status == "unknown"


# --- takeovers ---------------------------------------------------------------------------------------------------


def test_the_newest_socket_wins_and_the_old_ones_end_does_not_mark_it_offline(live: Live) -> None:
    key = live.key()
    old = live.register("orch-twice", key=key)
    new = live.register("orch-twice", key=key)
    frames, code = old.ending()
    assert (frames[-1]["error"], frames[-1]["fatal"], code) == ("superseded", True, 4409)
    assert new.ack["epoch"] == old.ack["epoch"] + 1
    old.close()
    time.sleep(0.5)
    row = live.row("orch-twice")
    assert (row.is_connected, row.session_id, row.status) == (True, new.ack["session_id"], "active")
    assert new.is_open()


def test_the_third_takeover_within_a_minute_is_refused_and_audited(live: Live) -> None:
    key = live.key()
    sessions = [live.register("orch-thrice", key=key) for _ in range(3)]
    refusal = live.refused({"type": "register", "orchestrator_id": "orch-thrice"}, Authorization=f"Bearer {key}")
    assert (refusal["type"], refusal["error"]) == ("handshake_ack", "duplicate_instance")
    assert (refusal["close"], refusal["retry_after_ms"]) == (1013, 60_000)
    assert sessions[-1].is_open()
    assert live.row("orch-thrice").epoch == 3
    entry = AuditEntry.objects.get(target_id="orch-thrice", action="session.duplicate_instance")
    assert entry.organization_id == "acme"


def test_messages_reach_the_new_session_at_once_after_a_takeover(live: Live) -> None:
    key = live.key()
    old = live.register("orch-moved", key=key)
    row = messages.queue("orch-moved", message_type="order", content={}, acting_user=None)
    assert old.take("order")["attempt"] == 1
    new = live.register("orch-moved", key=key)
    again = new.take("order", 2)
    assert (again["message_id"], again["attempt"]) == (row.message_id, 2)


def test_a_client_that_leaves_in_the_moment_it_registers_blocks_nobody(live: Live) -> None:
    key = live.key()
    for _ in range(3):
        with RawPeer(live.server.port) as hasty:
            assert hasty.upgrade()[0] == 101
            opening = {"type": "register", "orchestrator_id": "orch-hasty", "token": key, "capabilities": ["x"]}
            hasty.raw(frame(TEXT, json.dumps(opening).encode()) + frame(CLOSE, b"\x03\xe8"))
            hasty.ending()
        assert eventually(lambda: Instance.objects.filter(orchestrator_id="orch-hasty", is_connected=False).exists())
    peer = live.register("orch-hasty", key=key)
    messages.queue("orch-hasty", message_type="order", content={}, acting_user=None)
    assert peer.take("order", 2)["attempt"] == 1


# --- time and the end --------------------------------------------------------------------------------------------


def test_a_silent_session_is_poked_and_then_closed(live: Live, quick: dict[str, str]) -> None:
    server = live.installation.serve(env=quick)
    silent, alive = live.register("orch-silent", server=server), live.register("orch-poked", server=server)
    assert (alive.ack["heartbeat_ttl"], alive.ack["heartbeat_interval"]) == (3, 1)
    assert alive.take("poke") == {"type": "poke"}
    assert alive.is_open()
    frames, code = silent.ending(6)
    assert [entry["type"] for entry in frames] == ["poke", "error"]
    assert (frames[-1]["error"], code) == ("heartbeat_timeout", 4408)
    assert eventually(lambda: not live.row("orch-silent").is_connected, 2)
    assert live.row("orch-silent").status == "active"
    assert alive.is_open()

    # The same server restarts: everybody is told first, whatever he is.
    from orchestrators import independence

    free = live.register("orch-free", server=server)
    independence.set_instance("orch-free", is_independent=True, acting_user=None)
    dashboard = live.peer(server=server, Authorization="Bearer dev-token-of-the-contract-tests")
    assert dashboard.ask({"type": "subscribe", "topics": ["fleet"]}, "subscribed")
    unregistered = live.peer(server=server)
    fleet = [live.register(server=server) for _ in range(12)]
    started = time.monotonic()
    import threading

    exits: list[int | None] = []
    stopping = threading.Thread(target=lambda: exits.append(server.terminate(timeout_seconds=12)))
    stopping.start()
    waits = []
    for peer in [*fleet, alive, free, dashboard, unregistered]:
        frames, code = peer.ending(8)
        assert code == 1012
        assert (frames[-1]["error"], frames[-1]["fatal"]) == ("server_shutdown", True)
        waits.append(frames[-1]["retry_after_ms"])
    stopping.join()
    assert exits == [0]
    assert time.monotonic() - started < 10
    assert min(waits) >= 0
    assert max(waits) <= 9000
    assert max(waits) - min(waits) > 2000
    row = live.row("orch-poked")
    assert (row.is_connected, row.status, row.session_id) == (False, "active", "")
    assert live.row("orch-free").status == "independent"
    assert not Event.objects.filter(kind="orchestrator.inactive").exists()


def test_two_processes_share_one_orchestrator_and_the_older_session_is_closed(live: Live) -> None:
    second = live.installation.serve()
    key = live.key()
    old = live.register("orch-across", key=key)
    new = live.register("orch-across", key=key, server=second)
    frames, code = old.ending(3)
    assert (frames[-1]["error"], code) == ("superseded", 4409)
    assert new.is_open()
    time.sleep(0.5)
    row = live.row("orch-across")
    assert (row.is_connected, row.session_id) == (True, new.ack["session_id"])
    messages.queue("orch-across", message_type="order", content={}, acting_user=None)
    assert new.take("order", 3)["attempt"] == 1
    second.kill()
    with pytest.raises(Ended):
        new.recv(5)
    again = live.register("orch-across", key=key)
    assert again.take("order", 3)["attempt"] == 2
    assert Message.objects.get(orchestrator__orchestrator_id="orch-across").status == "sent"
