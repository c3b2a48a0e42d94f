"""The tenant matrix over `/ws`: every frame type and topic, for every caller, over real sockets."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings

from monitoring.dashboard import snapshots
from monitoring.models import SystemMetric
from moolai import wiring, ws
from moolai.testing.world import World
from orchestrators import protocol
from orchestrators.models import Instance, Message
from orchestrators.tests.live import Live, Peer, eventually, running
from tests.matrix import frames, people, stage
from tests.matrix.people import GOOD, PARTS, Part
from tests.matrix.rows import COLUMNS
from tests.matrix.stage import CANARY, Stage

pytestmark = [pytest.mark.once("postgres"), pytest.mark.services]


@pytest.fixture(scope="module")
def live(world: World, django_db_blocker: Any) -> Iterator[Live]:
    with running(world, django_db_blocker, {"DEV_BEARER_TOKEN": people.TOKEN}) as found:
        yield found


@pytest.fixture(scope="module")
def world_stage(live: Live) -> Stage:
    return stage.build()


@pytest.fixture(autouse=True)
def hang_up(live: Live) -> Iterator[None]:
    yield
    live.hang_up()


def connect(live: Live, world_stage: Stage, part: Part) -> Peer:
    """Open a socket with a caller's credential; one of the console comes from this host's own page."""
    caller = world_stage.callers[part]
    if part.kind != "session":
        return live.peer(**caller.headers)  # type: ignore[arg-type]
    cookie = caller.client.cookies[settings.SESSION_COOKIE_NAME].value
    port = live.server.port
    return live.peer(Cookie=f"moolai_session_{port}={cookie}", Origin=f"http://127.0.0.1:{port}")


def column(row: str, part: Part) -> int:
    """Return what a row of frames.py has for a caller."""
    found = dict(zip(COLUMNS, map(int, row.split()), strict=True))
    return found["B" if part.role in ("MB", "AB") else part.role]


def code_of(peer: Peer) -> int:
    return peer.ending()[1] or 0


def test_every_frame_type_and_topic_has_a_row() -> None:
    assert set(frames.SESSION) == set(protocol.RESERVED_TYPES) | set(wiring.FRAME_HANDLERS)
    assert set(frames.TOPICS) == set(snapshots.SNAPSHOTS)
    assert frames.FIRST == ws.OPENING_TYPES == set(frames.OPENING) | {"subscribe"}


@pytest.mark.parametrize("kind", sorted(frames.OPENING))
def test_who_opens_a_session_as_an_orchestrator_of_a(live: Live, world_stage: Stage, kind: str) -> None:
    wrong = {}
    for part in PARTS:
        # A person's token or cookie is no orchestrator's credential: it is not looked at.
        is_looked_at = part.state == "good" and part.kind not in ("jwt", "session")
        want = column(frames.OPENING[kind], part) if is_looked_at else protocol.UNAUTHENTICATED
        peer = connect(live, world_stage, part)
        answer = peer.ask({"type": kind, **frames.BODIES[kind]}, "handshake_ack")
        if answer["success"]:
            peer.send({"type": "goodbye"})
        got = (answer["success"], code_of(peer))
        if got != ((True, protocol.NORMAL) if want == 0 else (False, want)):
            wrong[str(part)] = (want, got, answer)
        assert CANARY not in str(peer.seen) or part.role in ("MB", "AB", "OB")
    assert wrong == {}


@pytest.mark.parametrize("topic", sorted(frames.TOPICS))
def test_who_watches_a_topic_of_a(live: Live, world_stage: Stage, topic: str) -> None:
    wrong = {}
    for part in PARTS:
        want = column(frames.TOPICS[topic], part) if part.state == "good" else protocol.UNAUTHENTICATED
        peer = connect(live, world_stage, part)
        peer.send({"type": "subscribe", "topics": [topic], "organization_id": world_stage.a.organization})
        answer = peer.recv()
        got: Any = 0 if answer["type"] == "subscribed" else 1 if answer["error"] == "unknown_topic" else code_of(peer)
        if got != want:
            wrong[str(part)] = (want, got, answer)
        peer.nothing(0.05)
        peer.close()
    assert wrong == {}


@pytest.mark.parametrize("kind", frames.LATER)
def test_nothing_else_opens_a_session_whoever_sends_it(live: Live, world_stage: Stage, kind: str) -> None:
    wrong = {}
    for part in GOOD:
        peer = connect(live, world_stage, part)
        for _ in range(2):
            peer.send({"type": kind, **frames.BODIES.get(kind, {})})
        seen, code = peer.ending()
        if ([frame["error"] for frame in seen], code) != (["not_registered"] * 2, protocol.POLICY):
            wrong[str(part)] = (seen, code)
    assert wrong == {}
    assert not Message.objects.filter(message_id__in=("m-2", "m-3")).exists()


@pytest.mark.parametrize("kind", sorted(frames.SESSION))
def test_what_an_orchestrators_session_may_send(live: Live, world_stage: Stage, kind: str) -> None:
    want = frames.SESSION[kind]
    peer = connect(live, world_stage, Part("OU"))
    peer.ask({"type": "register", "orchestrator_id": live.new_id("frames"), "capabilities": []}, "handshake_ack")
    peer.take("provisioning")
    peer.send({"type": kind, **frames.BODIES.get(kind, {})})
    if want == "silence":
        assert peer.is_open()
        assert [frame for frame in peer.seen if frame["type"] == "error"] == []
    elif want.startswith("closed"):
        assert f"closed {code_of(peer)}" == want
    else:
        frame = peer.recv()
        assert frame.get("error", frame["type"]) == want


@pytest.mark.parametrize("kind", sorted(frames.SESSION))
@pytest.mark.parametrize("role", frames.WATCHERS)
def test_what_a_dashboard_may_send(live: Live, world_stage: Stage, role: str, kind: str) -> None:
    peer = connect(live, world_stage, world_stage.caller(role).part)
    peer.ask({"type": "subscribe", "topics": ["events"]}, "subscribed")
    peer.nothing(0.05)
    peer.send({"type": kind, **frames.BODIES.get(kind, {})})
    want = frames.DASHBOARD.get(kind, "unknown_type")
    while (frame := peer.recv())["type"] in ("event", "fleet"):
        pass
    assert frame.get("error", frame["type"]) == want


@pytest.mark.parametrize("kind", ["monitoring", "recommendation", "message"])
def test_what_a_session_of_b_sends_is_bs_whatever_it_names(live: Live, world_stage: Stage, kind: str) -> None:
    peer = connect(live, world_stage, Part("OB"))
    named = {"orchestrator_id": world_stage.b.orchestrator, "capabilities": []}
    assert peer.ask({"type": "register", **named}, "handshake_ack")["success"]
    claim = {"organization_id": world_stage.a.organization, "orchestrator_id": world_stage.a.orchestrator}
    before = SystemMetric.objects.filter(organization_id=world_stage.a.organization).count()
    body = frames.BODIES[kind] | {"message_id": f"forged-{kind}"}
    assert peer.ask({"type": kind, **body, **claim}, "ack")["success"]
    assert SystemMetric.objects.filter(organization_id=world_stage.a.organization).count() == before
    homes = set(Message.objects.filter(message_id=f"forged-{kind}").values_list("orchestrator_id", flat=True))
    assert homes <= {world_stage.b.orchestrator}
    peer.send({"type": "goodbye"})
    code_of(peer)
    row = Instance.objects.filter(orchestrator_id=world_stage.b.orchestrator, is_connected=False)
    assert eventually(row.exists)


def test_a_heartbeat_speaks_for_its_own_session_only(live: Live, world_stage: Stage) -> None:
    peer = connect(live, world_stage, Part("OU"))
    peer.ask({"type": "register", "orchestrator_id": live.new_id("frames"), "capabilities": []}, "handshake_ack")
    for foreign in (world_stage.a.orchestrator, world_stage.b.orchestrator, "nowhere"):
        answer = peer.ask({"type": "i_am_alive", "orchestrator_id": foreign, "seq": 1})
        assert answer["error"] == "orchestrator_mismatch"
        assert CANARY not in str(answer)
