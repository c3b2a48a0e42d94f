"""`runserver` (daphne): slower and less careful with bad wires, but a session and a dashboard work under it, too."""

from collections.abc import Iterator
from typing import Any

import pytest

from moolai.testing.world import World
from orchestrators import messages
from orchestrators.tests.live import DEV_TOKEN, Live, eventually, running
from orchestrators.tests.raw import RawPeer

pytestmark = [pytest.mark.once, pytest.mark.services]


@pytest.fixture(scope="module")
def live(world: World, django_db_blocker: Any) -> Iterator[Live]:
    with running(world, django_db_blocker) as found:
        found.server.kill()
        port = found.installation.env["PORT"]
        process = found.installation.process("runserver", "--noreload", f"127.0.0.1:{port}")
        process.spawn()
        process.wait_ready(process.is_healthy, timeout_seconds=60)
        found.server = process
        yield found
        found.hang_up()


def test_it_is_daphne(live: Live) -> None:
    assert "daphne" in live.server.output().lower()


def test_a_session_from_register_to_goodbye(live: Live) -> None:
    key = live.key()
    peer = live.register("orch-daphne", key=key)
    assert peer.is_open()
    row = messages.queue("orch-daphne", message_type="order", content={"a": 1}, acting_user=None)
    assert peer.take("order")["message_id"] == row.message_id
    peer.send({"type": "ack", "message_id": row.message_id, "success": True})
    assert peer.ask({"type": "recommendation", "message_id": "up", "content": {}}, "ack")["success"] is True
    assert peer.ask("{bad")["error"] == "invalid_json"
    newer = live.register("orch-daphne", key=key)
    assert peer.ending()[1] == 4409
    newer.send({"type": "goodbye"})
    assert newer.ending()[1] == 1000
    assert eventually(lambda: live.row("orch-daphne").status == "inactive")


def test_refusals_are_told_before_they_are_closed(live: Live) -> None:
    refusal = live.refused({"type": "register", "orchestrator_id": "orch-x", "token": "mk_wrong"})
    assert (refusal["error"], refusal["close"]) == ("unauthenticated", 4401)
    peer = live.register()
    peer.send(b"binary")
    frames, code = peer.ending()
    assert (frames[-1]["error"], code) == ("binary_not_supported", 1003)


def test_an_unknown_path_is_refused_and_leaves_no_traceback(live: Live) -> None:
    with RawPeer(live.server.port) as peer:
        status, _ = peer.upgrade(path="/ws/elsewhere")
    assert status in (403, 404)
    assert "Traceback" not in live.server.output()


def test_a_dashboard_is_shown_the_fleet(live: Live) -> None:
    peer = live.peer(Authorization=f"Bearer {DEV_TOKEN}")
    assert peer.ask({"type": "subscribe", "topics": ["orchestrators"]}, "subscribed")
    live.register("orch-seen", key=live.key())
    while peer.take("orchestrator_status")["orchestrator_id"] != "orch-seen":
        pass
