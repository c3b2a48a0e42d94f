"""Dashboard sessions (PROTOCOL §2): who may watch what, snapshots, changes, and who is refused before the upgrade."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from monitoring.dashboard.movement import Movement
from moolai.testing.world import World
from orchestrators import independence, instances, presence
from orchestrators.models import Instance
from orchestrators.presence import Sighting
from orchestrators.tests.live import DEV_TOKEN, Live, Peer, running
from orchestrators.tests.raw import RawPeer
from orgs import events, keys, organizations, tokens
from orgs.models import Event, Membership, Organization, User

pytestmark = [pytest.mark.once("postgres"), pytest.mark.services]
TOPICS = ["orchestrators", "events", "fleet"]


@pytest.fixture(scope="module")
def live(world: World, django_db_blocker: Any) -> Iterator[Live]:
    with running(world, django_db_blocker) as found:
        for organization_id, name in (("acme", "orch-a"), ("globex", "orch-b")):
            instances.create(name, organization=found.organization(organization_id), acting_user=None)
        yield found


@pytest.fixture(autouse=True)
def hang_up(live: Live) -> Iterator[None]:
    yield
    live.hang_up()


def watch(live: Live, token: str, topics: list[str], **fields: Any) -> Peer:
    peer = live.peer(Authorization=f"Bearer {token}")
    answer = peer.ask({"type": "subscribe", "topics": topics, **fields}, "subscribed")
    assert set(answer["topics"]) == set(topics)
    return peer


def cookie(user: User) -> str:
    store = SessionStore()
    store[SESSION_KEY], store[BACKEND_SESSION_KEY] = str(user.pk), settings.AUTHENTICATION_BACKENDS[0]
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    store.create()
    return str(store.session_key)


def upgrade(live: Live, *, key: str, origin: str | None) -> RawPeer | int:
    peer = RawPeer(live.server.port)
    name = f"moolai_session_{live.server.port}"
    headers = [("Cookie", f"other=1; {name}={key}".encode())]
    if origin is not None:
        headers.append(("Origin", origin.encode()))
    status, _ = peer.upgrade(headers=headers)
    if status == 101:
        return peer
    peer.close()
    return status


# --- subscribe ----------------------------------------------------------------------------------------------------


def test_a_subscription_is_confirmed_then_comes_a_snapshot_then_changes(live: Live) -> None:
    peer = live.peer(Authorization=f"Bearer {DEV_TOKEN}")
    peer.send({"type": "subscribe", "topics": ["orchestrators", "fleet"]})
    assert peer.recv() == {"type": "subscribed", "topics": ["fleet", "orchestrators"]}
    fleet = peer.take("fleet")
    assert {"by_status", "total", "connected", "timestamp"} <= set(fleet)
    snapshot = {peer.take("orchestrator_status")["orchestrator_id"] for _ in range(2)}
    assert snapshot == {"orch-a", "orch-b"}
    session = live.register("orch-a", key=live.key("acme"))
    while True:
        change = peer.take("orchestrator_status")
        if change["orchestrator_id"] == "orch-a" and change["is_connected"]:
            break
    assert {"status", "last_seen", "is_connected", "organization_id"} <= set(change)
    assert change["status"] == "active"
    session.send({"type": "goodbye"})
    session.ending()
    while peer.take("orchestrator_status")["is_connected"]:
        pass
    assert peer.seen[-1]["status"] == "inactive"


def test_a_heartbeat_moves_last_seen_on_the_dashboard(live: Live) -> None:
    session = live.register("orch-beating", key=live.key("acme"))
    peer = watch(live, DEV_TOKEN, ["orchestrators"], organization_id="acme")
    before = max(
        frame["last_seen"] or "" for frame in peer.nothing(1.5) if frame.get("orchestrator_id") == "orch-beating"
    )
    session.send({"type": "i_am_alive"})
    until = time.monotonic() + 4
    while time.monotonic() < until:
        frame = peer.take("orchestrator_status", 4)
        if frame["orchestrator_id"] == "orch-beating" and frame["last_seen"] > before:
            break
    assert frame["last_seen"] > before


def test_a_toggle_shows_with_its_source(live: Live) -> None:
    instances.create("orch-toggled", organization=live.organization("acme"), acting_user=None)
    peer = watch(live, DEV_TOKEN, ["orchestrators", "events"])
    time.sleep(0.3)
    independence.set_instance("orch-toggled", is_independent=True, acting_user=None)
    seen: dict[str, Any] = {}
    while {"event", "orchestrator_status"} - set(seen):
        frame = peer.recv(4)
        if frame.get("orchestrator_id") == "orch-toggled" and (
            frame.get("kind") == "independence.changed" or frame.get("status") == "independent"
        ):
            seen[frame["type"]] = frame
    assert seen["orchestrator_status"]["independence_source"] == "own"
    assert seen["event"]["organization_id"] == "acme"


def test_ping_unsubscribe_and_a_second_subscribe(live: Live) -> None:
    peer = watch(live, DEV_TOKEN, ["fleet"])
    assert peer.ask({"type": "ping"}, "pong") == {"type": "pong"}
    assert set(peer.ask({"type": "subscribe", "topics": ["events"]}, "subscribed")["topics"]) == {"fleet", "events"}
    assert peer.ask({"type": "unsubscribe", "topics": ["fleet", "events"]}, "unsubscribed")["topics"] == []
    peer.nothing(0.3)
    live.register(key=live.key("acme"))
    assert peer.nothing(2.2) == []


def test_the_token_may_be_in_the_frame(live: Live) -> None:
    peer = live.peer()
    token = live.key("acme", role="viewer")
    assert peer.ask({"type": "subscribe", "topics": ["fleet"], "token": token}, "subscribed")["topics"] == ["fleet"]


# --- tenants ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_a_key_sees_its_own_organization_only(live: Live, role: str) -> None:
    peer = watch(live, live.key("acme", role=role), TOPICS)
    own, foreign = live.register(key=live.key("acme")), live.register(key=live.key("globex"))
    found = peer.nothing(2.6)
    named = {frame["orchestrator_id"] for frame in found + peer.seen if frame.get("orchestrator_id")}
    assert own.ack["orchestrator_id"] in named
    assert foreign.ack["orchestrator_id"] not in named
    assert "orch-b" not in named
    homes = {frame["organization_id"] for frame in peer.seen if "organization_id" in frame}
    assert homes == {"acme"}
    assert "globex" not in json.dumps(peer.seen)
    for frame in peer.seen:
        assert "heartbeats" not in frame  # the fleet-wide rate is the superadmin's
        if frame["type"] == "fleet":
            assert frame["total"] <= live.organization("acme").orchestrators.count()


def test_a_foreign_organization_is_answered_like_an_unknown_one(live: Live) -> None:
    token = live.key("acme", role="admin")
    answers = []
    for name in ("globex", "nobody"):
        peer = live.peer(Authorization=f"Bearer {token}")
        answers.append(peer.ask({"type": "subscribe", "topics": ["fleet"], "organization_id": name}))
    assert answers[0] == answers[1]
    assert answers[0]["error"] == "unknown_topic"
    assert watch(live, token, ["fleet"], organization_id="acme")


def test_a_superadmin_may_narrow_to_one_organization(live: Live) -> None:
    peer = watch(live, DEV_TOKEN, ["orchestrators"], organization_id="globex")
    homes = {frame["organization_id"] for frame in peer.nothing(0.5)}
    assert homes == {"globex"}


def test_nobody_and_wrong_credentials_are_4401(live: Live) -> None:
    row, revoked = live.key_row("acme", role="viewer")
    keys.revoke(row, acting_user=None)
    for token in ("", "mk_wrong", revoked):
        peer = live.peer()
        peer.send({"type": "subscribe", "topics": ["fleet"]} | ({"token": token} if token else {}))
        frames, code = peer.ending()
        assert ([frame["error"] for frame in frames], code) == (["unauthenticated"], 4401)


@pytest.mark.parametrize("token", [7, [], {"a": 1}, True])
def test_a_token_that_is_no_string_is_4401_and_no_fault_of_ours(live: Live, token: Any) -> None:
    peer = live.peer()
    peer.send({"type": "subscribe", "topics": ["fleet"], "token": token})
    frames, code = peer.ending()
    assert (frames[-1]["error"], code) == ("unauthenticated", 4401)


def test_a_credential_in_the_query_string_is_refused(live: Live) -> None:
    peer = live.peer(path=f"/ws?token={DEV_TOKEN}")
    peer.send({"type": "subscribe", "topics": ["fleet"]})
    frames, code = peer.ending()
    assert (frames[-1]["type"], frames[-1]["error"], code) == ("error", "unauthenticated", 4401)


def test_a_revoked_key_and_a_suspended_organization_end_the_watching_within_five_seconds(live: Live) -> None:
    row, token = live.key_row("acme", role="viewer")
    suspended = live.key("initech", role="viewer")
    first, second = watch(live, token, ["fleet"]), watch(live, suspended, ["fleet"])
    keys.revoke(row, acting_user=None)
    organizations.update(live.organization("initech"), acting_user=None, status="suspended")
    started = time.monotonic()
    for peer, told in ((first, ("unauthenticated", 4401)), (second, ("organization_suspended", 4403))):
        frames, code = peer.ending(6)
        assert (frames[-1]["error"], code) == told
    assert time.monotonic() - started < 5.5
    again = live.peer(Authorization=f"Bearer {suspended}")
    again.send({"type": "subscribe", "topics": ["fleet"]})
    frames, code = again.ending(6)
    assert (frames[-1]["error"], code) == ("organization_suspended", 4403)


def named(frames: list[Any]) -> set[tuple[str, str]]:
    """Return (organization, orchestrator) of everything the frames are about."""
    return {(frame["organization_id"], frame["orchestrator_id"]) for frame in frames if "organization_id" in frame}


def test_an_orchestrators_key_watches_its_own_orchestrator_and_nothing_else(live: Live) -> None:
    own, neighbour = live.new_id("own"), live.new_id("own")
    for orchestrator_id in (own, neighbour):
        instances.create(orchestrator_id, organization=live.organization("acme"), acting_user=None)
    peer = watch(live, live.key("acme", orchestrator_id=own), TOPICS)
    for orchestrator_id in (own, neighbour):
        independence.set_instance(orchestrator_id, is_independent=True, acting_user=None)
    events.record("user.changed", organization_id="acme", data={"username": "ann"})
    peer.nothing(2.6)
    assert named(peer.seen) == {("acme", own)}
    kinds = {frame["type"]: frame for frame in peer.seen}
    assert {"orchestrator_status", "event", "fleet"} <= set(kinds)
    assert kinds["fleet"]["total"] == 1
    assert "heartbeats" not in kinds["fleet"]
    assert kinds["orchestrator_status"]["status"] == "independent"


def test_an_unbound_orchestrators_key_watches_its_organizations_orchestrators_not_the_organization(live: Live) -> None:
    peer = watch(live, live.key("acme"), TOPICS, organization_id="acme")
    independence.set_instance("orch-a", is_independent=True, acting_user=None)
    independence.set_instance("orch-b", is_independent=True, acting_user=None)
    events.record("user.changed", organization_id="acme", data={"username": "ann"})
    found = peer.nothing(2.6)
    assert ("acme", "orch-a") in named(found)
    assert {home for home, _ in named(peer.seen)} == {"acme"}
    assert "" not in {orchestrator_id for _, orchestrator_id in named(peer.seen)}
    for name in ("orch-a", "orch-b"):
        independence.set_instance(name, is_independent=False, acting_user=None)


def test_an_access_token_watches_what_its_user_may_and_dies_with_the_sign_in(live: Live) -> None:
    user = User.objects.create_user("watcher")
    Membership.objects.create(user=user, organization=live.organization("acme"), role="viewer")
    now = timezone.now()
    pair = tokens.sign_in(user, now=now)
    peer = watch(live, pair.access_token, ["orchestrators"])
    assert {home for home, _ in named(peer.nothing(0.5))} == {"acme"}
    old = tokens.sign_in(user, now=now - timedelta(hours=1)).access_token
    assert live.peer(Authorization=f"Bearer {old}").ask({"type": "subscribe", "topics": ["fleet"]})["error"] == (
        "unauthenticated"
    )
    tokens.sign_out(pair.refresh_token, now=timezone.now())
    frames, code = peer.ending(6)
    assert (frames[-1]["error"], code) == ("unauthenticated", 4401)


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topics", "error"),
    [
        (["weather"], "unknown_topic"),
        (["fleet", "weather"], "unknown_topic"),
        (["*"], "invalid_topic"),
        (["orchestrators.*"], "invalid_topic"),
        (["../fleet"], "invalid_topic"),
        (["fleet "], "invalid_topic"),
        (["Fleet"], "invalid_topic"),
        ([""], "invalid_topic"),
        ([7], "invalid_topic"),
        ([["fleet"]], "invalid_topic"),
        ([], "invalid_topic"),
        ("fleet", "invalid_topic"),
        (None, "invalid_topic"),
        (["fleet"] * 129, "too_many_topics"),
        ([f"t{number}" for number in range(1000)], "too_many_topics"),
    ],
)
def test_w39_a_bad_topic_refuses_the_whole_frame_and_leaves_the_socket_open(
    live: Live, topics: Any, error: str
) -> None:
    peer = live.peer(Authorization=f"Bearer {DEV_TOKEN}")
    answer = peer.ask({"type": "subscribe", "topics": topics})
    assert (answer["error"], answer["fatal"]) == (error, False)
    assert peer.nothing(0.1) == []
    assert peer.ask({"type": "subscribe", "topics": ["fleet"]}, "subscribed")["topics"] == ["fleet"]


def test_a_watching_socket_takes_no_orchestrator_frames_and_ten_errors_end_it(live: Live) -> None:
    peer = watch(live, DEV_TOKEN, ["fleet"])
    for frame in (
        {"type": "register", "orchestrator_id": "x"},
        {"type": "i_am_alive"},
        {"type": "monitoring", "metrics": {}},
    ):
        assert peer.ask(frame)["error"] == "unknown_type"
    for text in ("{bad", "[]", "", '{"type":7}', '{"type":"ping","x":NaN}', "{bad"):
        assert peer.ask(text)["fatal"] is False
    peer.send("{bad")
    frames, code = peer.ending()
    assert (frames[-1]["fatal"], code) == (True, 1008)


def test_binary_and_large_frames_end_a_watching_socket(live: Live) -> None:
    for sent, error, expected in ((b"x", "binary_not_supported", 1003), ("x" * 300_000, "message_too_large", 1009)):
        peer = watch(live, DEV_TOKEN, ["events"])
        peer.send(sent)
        frames, code = peer.ending()
        assert (frames[-1]["error"], code) == (error, expected)


# --- the console's cookie -----------------------------------------------------------------------------------------


def test_w28_w29_a_session_cookie_needs_exactly_this_origin(live: Live) -> None:
    user = User.objects.create_superuser("boss", password="correct horse battery")
    key, port = cookie(user), live.server.port
    here = f"http://127.0.0.1:{port}"
    wrong = ["http://evil.example", "null", f"http://127.0.0.1:{port + 1}", f"https://127.0.0.1:{port}", "",
             f"{here}.evil.example", f"http://localhost:{port}", f"{here}/", f"{here} "]  # fmt: skip
    assert [upgrade(live, key=key, origin=origin) for origin in wrong[:-1]] == [403] * (len(wrong) - 1)
    assert upgrade(live, key=key, origin=None) == 403
    good = upgrade(live, key=key, origin=here)
    assert isinstance(good, RawPeer)
    with good:
        good.send({"type": "subscribe", "topics": ["fleet"]})
        assert good.recv() == {"type": "subscribed", "topics": ["fleet"]}
        assert "heartbeats" in good.recv()


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1", ""])
def test_w28_the_origin_of_a_bearer_client_is_not_looked_at(live: Live, origin: str) -> None:
    peer = live.peer(Authorization=f"Bearer {live.key('acme')}", Origin=origin)
    opening = {"type": "register", "orchestrator_id": live.new_id("bearer"), "capabilities": []}
    assert peer.ask(opening, "handshake_ack")["success"] is True


def test_a_cookie_shows_a_member_his_organizations_and_dies_with_the_login(live: Live) -> None:
    user = User.objects.create_user("member", password="correct horse battery")
    Membership.objects.create(user=user, organization=live.organization("acme"), role="viewer")
    peer = upgrade(live, key=cookie(user), origin=f"http://127.0.0.1:{live.server.port}")
    assert isinstance(peer, RawPeer)
    with peer:
        peer.send({"type": "subscribe", "topics": ["orchestrators"]})
        assert peer.recv()["type"] == "subscribed"
        assert peer.recv()["organization_id"] == "acme"
        user.is_active = False
        user.save(update_fields=["is_active"])
        frames, code = peer.ending(6)
        assert (frames[-1]["error"], code) == ("unauthenticated", 4401)
    with upgrade(live, key="forged", origin=f"http://127.0.0.1:{live.server.port}") as forged:  # type: ignore[union-attr]
        forged.send({"type": "subscribe", "topics": ["fleet"]})
        assert forged.ending()[1] == 4401


def test_a_cookie_opens_no_orchestrator_session(live: Live) -> None:
    user = User.objects.create_superuser("boss2", password="correct horse battery")
    with upgrade(live, key=cookie(user), origin=f"http://127.0.0.1:{live.server.port}") as peer:  # type: ignore[union-attr]
        peer.send({"type": "register", "orchestrator_id": "orch-a"})
        frames, code = peer.ending()
        assert (frames[-1]["type"], frames[-1]["success"], code) == ("handshake_ack", False, 4401)


# --- a dashboard that does not read -------------------------------------------------------------------------------


def test_a_dashboard_that_does_not_read_is_cut_off(live: Live) -> None:
    server = live.installation.serve(env={"WS_LAG_SECONDS": "2"})
    live.organization("flood")
    big = {"text": "x" * 400_000}
    events.record_many(Event(kind="flood", organization_id="flood", data=big) for _ in range(50))
    subscribe = {"type": "subscribe", "topics": ["events"], "token": DEV_TOKEN, "organization_id": "flood"}
    started = time.monotonic()
    with RawPeer(server.port, receive_buffer=4096) as slow:
        assert slow.upgrade()[0] == 101
        slow.send(subscribe)
        with suppress(ConnectionError):
            while time.monotonic() - started < 12:
                slow.send({"type": "ping"})
                time.sleep(0.1)
    assert 2 < time.monotonic() - started < 8
    assert live.peer(server=server).ask(subscribe, "subscribed")
    server.kill()


class Socket:
    """The ASGI side of a dashboard: `sent` is what it was sent, `is_stuck` holds back every write."""

    def __init__(self, *, has_drop: bool) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        self.dropped: list[tuple[dict[str, Any], int]] = []
        self.moving = asyncio.Event()
        self.moving.set()
        self.scope: dict[str, Any] = {
            "type": "websocket", "path": "/ws", "query_string": b"", "client": ("127.0.0.1", 1),
            "headers": [(b"authorization", f"Bearer {settings.DEV_BEARER_TOKEN}".encode())],
            "extensions": {"moolai.drop": self.drop} if has_drop else {},
        }  # fmt: skip
        self.incoming.put_nowait({"type": "websocket.connect"})
        self.say({"type": "subscribe", "topics": ["fleet"]})

    def say(self, frame: dict[str, Any]) -> None:
        self.incoming.put_nowait({"type": "websocket.receive", "text": json.dumps(frame)})

    def drop(self, text: str, code: int) -> None:
        self.dropped.append((json.loads(text), code))
        self.incoming.put_nowait({"type": "websocket.disconnect", "code": code})

    async def send(self, message: dict[str, Any]) -> None:
        await self.moving.wait()
        self.sent.append(message)

    def frames(self) -> list[dict[str, Any]]:
        return [json.loads(message["text"]) for message in self.sent if message["type"] == "websocket.send"]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(8):
            while not condition():  # noqa: ASYNC110 - what is awaited is a row of another thread
                await asyncio.sleep(0.02)

    def run(self) -> "asyncio.Task[None]":
        from moolai.asgi import application

        return asyncio.ensure_future(application(self.scope, self.incoming.get, self.send))


@pytest.mark.parametrize("has_drop", [True, False])
async def test_a_write_that_waits_too_long_ends_the_dashboard_with_1013(
    live: Live, settings: Any, has_drop: bool
) -> None:
    settings.WS_LAG_SECONDS, settings.DEV_BEARER_TOKEN = 1, DEV_TOKEN
    socket = Socket(has_drop=has_drop)
    session = socket.run()
    await socket.until(lambda: len(socket.frames()) >= 2)
    socket.moving.clear()
    async with asyncio.timeout(8):
        await session
    if has_drop:
        [(frame, code)] = socket.dropped
        assert (frame["error"], frame["fatal"], code) == ("slow_consumer", True, 1013)


async def test_a_full_queue_ends_the_dashboard_and_holds_no_pongs_beyond_its_bound(
    live: Live, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WS_LAG_SECONDS, settings.DEV_BEARER_TOKEN = 60, DEV_TOKEN
    settings.WS_FRAMES_BURST = 1000
    monkeypatch.setattr("monitoring.dashboard.session.MAX_WAITING", 50)
    socket = Socket(has_drop=True)
    session = socket.run()
    await socket.until(lambda: len(socket.frames()) >= 2)
    socket.moving.clear()
    for _ in range(200):
        socket.say({"type": "ping"})
    async with asyncio.timeout(8):
        await session
    assert [(frame["error"], code) for frame, code in socket.dropped] == [("slow_consumer", 1013)]


def test_only_topics_that_are_new_have_a_snapshot(live: Live) -> None:
    peer = watch(live, DEV_TOKEN, ["orchestrators"])
    assert peer.nothing(1.5, of="orchestrator_status")
    peer.ask({"type": "subscribe", "topics": ["orchestrators"]}, "subscribed")
    assert peer.nothing(0.4, of="orchestrator_status") == []
    peer.ask({"type": "subscribe", "topics": ["orchestrators", "fleet"]}, "subscribed")
    assert peer.recv()["type"] == "fleet"
    peer.ask({"type": "subscribe", "topics": ["orchestrators"], "organization_id": "globex"}, "subscribed")
    assert {frame["organization_id"] for frame in peer.nothing(0.4, of="orchestrator_status")} == {"globex"}


# --- what moved ---------------------------------------------------------------------------------------------------


class Fleet:
    """Rows that several processes flush, and one feed that reads them; an hour ahead of everything else."""

    def __init__(self, size: int) -> None:
        self.start = timezone.now() + timedelta(hours=1)
        organization = Organization.objects.create(organization_id="moving", name="Moving")
        rows = [Instance(orchestrator_id=f"m-{n:02d}", organization=organization, status="active") for n in range(size)]
        Instance.objects.bulk_create(rows)
        self.pks = dict(organization.orchestrators.values_list("orchestrator_id", "pk"))

    def at(self, seconds: float) -> datetime:
        return self.start + timedelta(seconds=seconds)

    def hear(self, *names: str, at: float) -> None:
        assert presence.flush([Sighting(self.pks[name], 0, self.at(at)) for name in names]) == len(names)

    def shown(self, movement: Movement, *, at: float) -> list[str]:
        return [frame["orchestrator_id"] for frame in movement.read(now=self.at(at))]


@pytest.fixture
def fleet(live: Live) -> Iterator[Fleet]:
    yield Fleet(12)
    Instance.objects.filter(organization="moving").delete()
    Organization.objects.filter(pk="moving").delete()


def test_what_another_process_flushes_late_is_shown_and_each_sighting_once(fleet: Fleet) -> None:
    movement = Movement()
    fleet.hear("m-00", at=0)
    fleet.shown(movement, at=0)
    fleet.hear("m-01", at=10)
    assert fleet.shown(movement, at=10) == ["m-01"]
    fleet.hear("m-02", at=9.5)
    assert fleet.shown(movement, at=10.5) == ["m-02"]
    assert fleet.shown(movement, at=11) == []
    fleet.hear("m-02", at=11.5)
    assert fleet.shown(movement, at=11.5) == ["m-02"]


def test_a_clock_that_is_ahead_does_not_silence_the_others(fleet: Fleet) -> None:
    movement = Movement()
    fleet.hear("m-00", at=0)
    fleet.shown(movement, at=0)
    fleet.hear("m-01", at=60)
    assert fleet.shown(movement, at=1) == ["m-01"]
    fleet.hear("m-02", at=2)
    assert fleet.shown(movement, at=2) == ["m-02"]
    fleet.hear("m-01", at=61)
    assert fleet.shown(movement, at=3) == ["m-01"]


def test_a_shorter_ttl_does_not_blind_the_feed(fleet: Fleet, settings: Any) -> None:
    settings.HEARTBEAT_TTL_SEC = 3600
    fleet.hear(*fleet.pks, at=-30)
    settings.HEARTBEAT_TTL_SEC = 10
    movement = Movement()
    assert fleet.shown(movement, at=0) == []
    fleet.hear("m-03", at=1)
    assert fleet.shown(movement, at=1) == ["m-03"]


@pytest.mark.parametrize("step", [0.0, 0.1])
def test_more_rows_than_a_page_are_shown_over_several_looks(fleet: Fleet, step: float) -> None:
    movement = Movement(page_rows=5)
    fleet.hear("m-00", at=-60)
    fleet.shown(movement, at=-60)
    for number, name in enumerate(fleet.pks):
        fleet.hear(name, at=step * number)
    looks = [fleet.shown(movement, at=2) for _ in range(4)]
    assert [len(look) for look in looks] == [5, 5, 2, 0]
    assert sorted(name for look in looks for name in look) == sorted(fleet.pks)


def test_a_look_is_one_query_along_the_index_of_deadlines(fleet: Fleet) -> None:
    movement = Movement()
    fleet.hear(*fleet.pks, at=0)
    fleet.shown(movement, at=0)
    with CaptureQueriesContext(connection) as queries:
        fleet.shown(movement, at=1)
    assert len(queries) == 1
    with transaction.atomic(), connection.cursor() as cursor:
        late = [
            Instance(orchestrator_id=f"late-{n}", organization_id="moving", deadline_at=timezone.now())
            for n in range(2000)
        ]
        Instance.objects.bulk_create(late)
        cursor.execute(f"ANALYZE {Instance._meta.db_table}")
        cursor.execute("EXPLAIN " + queries[0]["sql"])
        plan = str(cursor.fetchall())
        transaction.set_rollback(True)
    assert "instances_due" in plan
