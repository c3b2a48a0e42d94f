"""Server-sent events over real sockets: who may read what, snapshot, changes, going on, and every way to end."""

import asyncio
import http.client
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as ours
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection, connections
from django.utils import timezone

from monitoring.dashboard import feed
from monitoring.models import SystemMetric
from monitoring.streams import desk
from monitoring.tests.event_stream import EventStream
from moolai.testing.world import World
from orchestrators import independence, instances, messages
from orchestrators.tests.live import DEV_TOKEN, Live, running
from orgs import events, keys, organizations, tokens, users
from orgs.models import User

pytestmark = [pytest.mark.once("postgres"), pytest.mark.services]
PATH, HEALTH, METRICS = "/api/v1/stream", "/api/v1/stream/system/health", "/api/v1/stream/metrics/organization"
LIMIT_SECONDS = 5.0
Open = Callable[..., EventStream]


@pytest.fixture(scope="module")
def live(world: World, django_db_blocker: Any) -> Iterator[Live]:
    with running(world, django_db_blocker, {"STREAMS_PER_CALLER": "6"}) as found:
        for organization_id, name in (("acme", "orch-a"), ("globex", "orch-b")):
            instances.create(name, organization=found.organization(organization_id), acting_user=None)
        yield found


@pytest.fixture
def stream(live: Live) -> Iterator[Open]:
    opened: list[EventStream] = []

    def start(path: str = PATH, token: str = DEV_TOKEN, *, port: int = 0, **headers: str) -> EventStream:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        credential = {"Authorization": f"Bearer {token}"} if token else {}
        opened.append(EventStream(port or live.server.port, path, {**credential, **named}))
        return opened[-1]

    yield start
    for one in opened:
        one.close()
    live.hang_up()


def sample(organization_id: str = "acme", orchestrator_id: str = "orch-a", **columns: Any) -> SystemMetric:
    number = SystemMetric.objects.count()
    return SystemMetric.objects.create(
        metric_id=f"m{number}-{time.monotonic_ns()}"[:32],
        organization_id=organization_id,
        orchestrator_id=orchestrator_id,
        timestamp=timezone.now(),
        **columns,
    )


def cookie(live: Live, user: User) -> str:
    """Sign a user in to the console; return the Cookie header."""
    store = SessionStore()
    store[SESSION_KEY], store[BACKEND_SESSION_KEY] = str(user.pk), "django.contrib.auth.backends.ModelBackend"
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    store.create()
    return f"moolai_session_{live.server.port}={store.session_key}"


# --- what is told -------------------------------------------------------------------------------------------------


def test_everything_is_told_first_and_then_every_change(live: Live, stream: Open) -> None:
    first = sample(cpu_usage_percent=11.5)
    queued = messages.queue("orch-a", message_type="greet", content={"secret": "s3"}, acting_user=None)
    one = stream()
    assert (one.status, one.headers["Content-Type"]) == (200, "text/event-stream")
    assert one.headers["Cache-Control"] == "no-store"
    assert len(one.headers["X-Request-ID"]) >= 8
    assert "X-RateLimit-Remaining" in one.headers
    assert one.take("message", message_id=queued.message_id).data["status"] == "pending"
    assert one.take("orchestrator_status", orchestrator_id="orch-a").data["status"]
    assert one.take("system_metrics", metric_id=first.metric_id).data["metrics"]["cpu_usage_percent"] == 11.5
    assert [block.retry for block in one.seen if block.retry] == [3000]
    independence.set_instance("orch-a", is_independent=True, acting_user=None)
    assert one.take("orchestrator_status", orchestrator_id="orch-a", status="independent").id
    independence.set_instance("orch-a", is_independent=False, acting_user=None)
    written = time.monotonic()
    second = sample(memory_percent=40.0)
    told = one.take("system_metrics", metric_id=second.metric_id)
    assert time.monotonic() - written < 2.5
    assert (told.data["metrics"]["memory_percent"], told.data["metrics"]["cpu_usage_percent"]) == (40.0, None)
    events.record("alert.fired", organization_id="acme", data={"alert_id": "alr_1", "severity": "error"})
    alert = one.take("alert", alert_id="alr_1").data
    assert (alert["event"], alert["severity"], alert["organization_id"]) == ("fired", "error", "acme")
    assert "s3" not in str(one.seen)


def test_health_is_the_same_words_as_the_controllers_and_of_no_organization(live: Live, stream: Open) -> None:
    told = stream(HEALTH, live.key("acme", role="viewer")).take("system_health").data
    _, answer = live.call("GET", "/api/v1/controller/health", token=DEV_TOKEN)
    assert told["dependencies"] == answer["data"]["dependencies"]
    assert set(told) == {"type", "status", "dependencies"}


def test_metrics_begin_with_the_history_of_the_window(live: Live, stream: Open) -> None:
    sample("wayne", "", cpu_usage_percent=10.0)
    sample("wayne", "", cpu_usage_percent=30.0)
    live.organization("wayne")
    one = stream(f"{METRICS}?organization_id=wayne&time_window=6h")
    told = one.take("history").data
    points = told["columns"]["cpu_usage_percent"]
    assert (told["time_window"], told["columns"]["memory_percent"]) == ("6h", [])
    assert (min(point[2] for point in points), max(point[3] for point in points)) == (10.0, 30.0)
    assert all(point[0] % told["step_seconds"] == 0 for point in points)
    one.take("system_metrics")
    sample("acme")
    last = sample("wayne", "", cpu_usage_percent=50.0)
    assert one.take("system_metrics").data["metric_id"] == last.metric_id
    assert stream(f"{METRICS}?time_window=2h").body["error"] == "invalid_parameter"


# --- who may ------------------------------------------------------------------------------------------------------


def test_a_member_is_told_of_its_organization_only_and_a_superadmin_may_narrow(live: Live, stream: Open) -> None:
    narrowed = {"path": f"{PATH}?organization_id=acme"}
    for one in (stream(token=live.key("acme", role="viewer")), stream(**narrowed)):
        one.take("orchestrator_status")
        independence.set_instance("orch-b", is_independent=True, acting_user=None)
        sample("globex", "orch-b")
        messages.queue("orch-b", message_type="greet", content={}, acting_user=None)
        events.record("alert.fired", organization_id="globex", data={"alert_id": "alr_g"})
        events.record("alert.fired", data={"alert_id": "alr_controller"})
        one.nothing(1.5)
        assert {block.data["organization_id"] for block in one.seen if block.event} == {"acme"}


def test_refusals_are_those_of_every_call(live: Live, stream: Open) -> None:
    row, revoked = live.key_row("acme", role="viewer")
    keys.revoke(row, acting_user=None)
    bound = live.key("acme", orchestrator_id="orch-a")
    foreign = live.key("globex")
    own = f"{PATH}?organization_id=acme"
    cases = [
        (PATH, "", 401, "unauthenticated"), (PATH, revoked, 401, "unauthenticated"), (PATH, bound, 403, "forbidden"),
        (own, bound, 403, "forbidden"), (own, foreign, 404, "not_found"),
        (own, live.key("globex", role="admin"), 404, "not_found"),
        (f"{PATH}?organization_id=nobody", DEV_TOKEN, 404, "not_found"),
        (f"{PATH}?token={DEV_TOKEN}", DEV_TOKEN, 400, "invalid_parameter"),
        (f"{PATH}/nothing", DEV_TOKEN, 404, "not_found"), (f"{HEALTH}?organization_id=acme", DEV_TOKEN, 400, ""),
    ]  # fmt: skip
    for path, token, status, code in cases:
        answer = stream(path, token)
        assert (answer.status, answer.body["error"]) == (status, code or "invalid_parameter"), path
        assert answer.body["request_id"] == answer.headers["X-Request-ID"]
    assert stream(X_Request_ID="mine-1").headers["X-Request-ID"] == "mine-1"


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_other_methods_are_405(live: Live, method: str) -> None:
    for path in (PATH, HEALTH, METRICS):
        line = http.client.HTTPConnection("127.0.0.1", live.server.port, timeout=5)
        line.request(method, path, headers={"Authorization": f"Bearer {DEV_TOKEN}"})
        answer = line.getresponse()
        assert (answer.status, answer.headers["Allow"]) == (405, "GET")
        line.close()


def test_a_browser_with_the_consoles_session_reads_it(live: Live, stream: Open) -> None:
    user = User.objects.create_superuser("reader", password="correct horse battery")
    signed_in = cookie(live, user)
    one = stream(token="", Cookie=signed_in, Accept="text/event-stream")
    assert one.take("orchestrator_status")
    evil = stream(token="", Cookie=signed_in, Origin="https://evil.example")
    assert "Access-Control-Allow-Origin" not in evil.headers
    assert stream(token="", Cookie=f"{signed_in}x").status == 401


def test_a_caller_has_a_number_of_seats_and_gets_them_back(live: Live, stream: Open) -> None:
    token = live.key("acme", role="viewer")
    taken = [stream(HEALTH, token) for _ in range(6)]
    refused = stream(HEALTH, token)
    assert (refused.status, refused.body["error"], refused.headers["Retry-After"]) == (429, "rate_limited", "5")
    assert stream(HEALTH, live.key("acme", role="viewer")).status == 200
    taken[0].close()
    time.sleep(0.5)
    assert stream(HEALTH, token).status == 200


# --- going on -----------------------------------------------------------------------------------------------------


def test_who_comes_back_is_told_what_it_missed_and_by_another_process_too(live: Live, stream: Open) -> None:
    instances.create("orch-still", organization=live.organization("acme"), acting_user=None)
    one = stream()
    sample()
    one.take("orchestrator_status", orchestrator_id="orch-still")
    one.nothing(1.5)
    one.close()
    missed = sample(cpu_usage_percent=77.0)
    independence.set_instance("orch-a", is_independent=True, acting_user=None)
    queued = messages.queue("orch-b", message_type="greet", content={}, acting_user=None)
    events.record("alert.fired", organization_id="acme", data={"alert_id": "alr_missed"})
    other = live.installation.serve()
    for port in (live.server.port, other.port):
        again = stream(port=port, Last_Event_ID=one.last_event_id)
        again.nothing(1.5)
        assert {row["metric_id"] for row in again.events("system_metrics")} == {missed.metric_id}
        states = {row["orchestrator_id"]: row["status"] for row in again.events("orchestrator_status")}
        assert states.get("orch-a") == "independent"
        assert "orch-still" not in states
        assert queued.message_id in {row["message_id"] for row in again.events("message")}
        assert [row["alert_id"] for row in again.events("alert")] == ["alr_missed"]
        assert not again.events("resync")
    other.terminate()
    independence.set_instance("orch-a", is_independent=False, acting_user=None)


def test_an_unknown_a_foreign_and_an_old_id_begin_anew_in_the_same_way(live: Live, stream: Open) -> None:
    token = live.key("acme", role="viewer")
    foreign = stream(token=live.key("globex", role="viewer"))
    foreign.nothing(1.2)
    own = stream(token=token)
    own.nothing(1.2)
    made_up = f"{own.last_event_id[:-4]}0000"
    other_stream = stream(HEALTH, token)
    other_stream.take("system_health")
    told = []
    for text in (foreign.last_event_id, made_up, other_stream.last_event_id):
        one = stream(token=token, Last_Event_ID=text)
        told.append(one.take("resync").data)
        assert one.take("orchestrator_status").data["organization_id"] == "acme"
        one.close()
    assert told[0] == told[1] == told[2]
    half = next(block.id for block in own.seen if block.event == "orchestrator_status")
    if half != own.last_event_id:  # who was told half of a snapshot begins anew
        assert stream(token=token, Last_Event_ID=half).take("resync")


@pytest.mark.parametrize("text", ["garbage", "0", "-1", "1-2-3", "1-2-3-zzzzzzzzzzzzzzzz", "1' OR 1=1", "9" * 5000])
def test_r25_garbage_is_400(live: Live, stream: Open, text: str) -> None:
    answer = stream(Last_Event_ID=text)
    assert (answer.status, answer.body["error"]) == (400, "invalid_parameter")


# --- how it ends --------------------------------------------------------------------------------------------------


def test_it_ends_within_five_seconds_when_the_credential_dies(live: Live, stream: Open) -> None:
    home = live.organization("initech")
    row, secret = live.key_row("initech", role="viewer")
    people = {
        name: users.create(home, username=name, role="viewer", acting_user=None, password="a-long-enough-secret")
        for name in ("leaving", "signed-out", "inactive", "console")
    }
    pairs = {name: tokens.sign_in(member.user, now=timezone.now()) for name, member in people.items()}
    session = cookie(live, people["console"].user)
    elsewhere = live.key("umbrella", role="viewer")
    open_ones = [
        stream(token=secret), stream(token=elsewhere), stream(token="", Cookie=session),
        *(stream(HEALTH, pairs[name].access_token) for name in ("leaving", "signed-out", "inactive")),
    ]  # fmt: skip
    staying = stream(token=live.key("initech", role="viewer"))
    assert [one.status for one in open_ones] == [200] * 6
    started = time.monotonic()
    keys.revoke(row, acting_user=None)
    organizations.update(live.organization("umbrella"), acting_user=None, status="suspended")
    people["leaving"].delete()
    tokens.sign_out(pairs["signed-out"].refresh_token, now=timezone.now())
    User.objects.filter(username__in=["inactive", "console"]).update(is_active=False)
    for one in open_ones:
        last = one.ending(6)[-1]
        assert (last.event, last.data["error"]) == ("end", "unauthenticated")
    assert time.monotonic() - started < LIMIT_SECONDS
    assert staying.nothing(0.1) is not None
    assert not staying.events("end")


def test_a_token_that_expires_ends_it(live: Live, stream: Open, settings: Any) -> None:
    user = User.objects.create_superuser("brief", password="correct horse battery")
    settings.ACCESS_TOKEN_SECONDS = 2
    one = stream(HEALTH, tokens.sign_in(user, now=timezone.now()).access_token)
    assert one.status == 200
    assert one.ending(7)[-1].data["error"] == "unauthenticated"


def test_a_server_that_ends_says_when_to_come_back(live: Live, stream: Open) -> None:
    other = live.installation.serve()
    one = stream(HEALTH, port=other.port)
    one.take("system_health")
    other.terminate()
    retry, end = one.ending()[-2:]
    assert 500 <= retry.retry <= 500 + ours.SHUTDOWN_SPREAD_MS
    assert (end.event, end.data["error"]) == ("end", "server_shutdown")
    assert not [line for line in other.output().splitlines() if '"error"' in line and "Traceback" in line]


# --- many, and slow ones ------------------------------------------------------------------------------------------


class Inside:
    """A stream of an application in this process: its client may stop reading."""

    def __init__(self, token: str, path: str = PATH) -> None:
        self.written = b""
        self.is_read, self._moved = asyncio.Event(), asyncio.Event()
        self.is_read.set()
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._incoming.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        headers = [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {token}".encode())]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": headers,
            "client": ("127.0.0.1", 4711), "server": ("127.0.0.1", 80),
        }  # fmt: skip
        from moolai.asgi import application

        self.task = asyncio.ensure_future(application(scope, self._incoming.get, self._send))

    async def _send(self, message: dict[str, Any]) -> None:
        await self.is_read.wait()
        self.written += message.get("body", b"")
        self._moved.set()

    async def until(self, text: bytes) -> None:
        async with asyncio.timeout(10):
            while text not in self.written:
                self._moved.clear()
                await self._moved.wait()

    async def hang_up(self) -> None:
        self.is_read.set()
        self._incoming.put_nowait({"type": "http.disconnect"})
        await self.task


async def test_a_reader_that_falls_behind_begins_anew(
    live: Live, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DEV_BEARER_TOKEN = DEV_TOKEN
    monkeypatch.setattr("monitoring.streams.subscriber.MAX_WAITING", 20)
    one = Inside(DEV_TOKEN)
    await one.until(b"orchestrator_status")
    one.is_read.clear()
    [watching] = desk.current().subscribers
    for number in range(200):
        feed.current()._offer({"type": "message", "id": number, "organization_id": "acme", "orchestrator_id": "orch-a"})
        watching.settle(feed.current().place)
        assert len(watching._queue) <= 20
    before = len(one.written)
    one.is_read.set()
    await one.until(b"event: resync")
    await asyncio.sleep(0.5)
    assert b"orchestrator_status" in one.written[before:].partition(b"event: resync")[2]
    await one.hang_up()
    await feed.current().run(connections.close_all)
    assert not desk.current().subscribers
    assert not feed.current().subscribers


async def test_a_line_that_breaks_ends_and_stops_no_others_keep_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "TICK_SECONDS", 0.01)
    table, ends = desk.Desk(), []

    class Line:
        def __init__(self, *, is_broken: bool) -> None:
            self.is_broken, self.ticks = is_broken, 0

        def tick(self, now: float) -> None:
            self.ticks += 1
            if self.is_broken:
                raise RuntimeError("unheard of")

        def give_up(self) -> None:
            ends.append(self)

    lines: list[Any] = [Line(is_broken=number % 2 == 0) for number in range(6)]
    for line in lines:
        table.add(line)
    async with asyncio.timeout(5):
        while not all(line.ticks >= 2 for line in lines):  # noqa: ASYNC110 - counted by the desk
            await asyncio.sleep(0.01)
    for line in lines:
        table.remove(line)
    assert set(ends) == set(lines[::2])


async def statements(tokens_: list[str]) -> list[str]:
    """Open a stream with each credential; return the statements of one turn of the feed and one look at them all."""
    open_ones = [Inside(token) for token in tokens_]
    for one in open_ones:
        await one.until(b"orchestrator_status")
    for task in [*feed.current()._tasks, *desk.current()._tasks]:
        task.cancel()
    counted: list[str] = []

    def count(execute: Any, sql: str, *rest: Any) -> Any:
        counted.append(sql)
        return execute(sql, *rest)

    wrappers: list[Any] = await feed.current().run(lambda: connection.execute_wrappers)
    await feed.current()._turn()
    wrappers.append(count)
    await elsewhere(lambda: sample(cpu_usage_percent=5.0))
    await feed.current()._turn()
    await desk.current().check()
    wrappers.remove(count)
    for one in open_ones:
        await one.until(b'"cpu_usage_percent":5.0')
        await one.hang_up()
    await feed.current().run(connections.close_all)
    return counted


async def elsewhere(work: Callable[[], Any]) -> Any:
    """Do database work in a thread, and give its connection back: the pool of a test is small."""

    def run() -> Any:
        try:
            return work()
        finally:
            connection.close()

    return await sync_to_async(run)()


def many(live: Live) -> list[str]:
    """Return twenty-five tokens of a person and as many keys."""
    SystemMetric.objects.all().delete()
    user = User.objects.create_superuser("many", password="correct horse battery")
    signed_in = [tokens.sign_in(user, now=timezone.now()).access_token for _ in range(25)]
    return [secret for token in signed_in for secret in (token, live.key("acme", role="viewer"))]


async def test_fifty_subscribers_cost_as_many_statements_as_four(live: Live, settings: Any) -> None:
    settings.STREAMS_PER_CALLER = 50
    secrets = await elsewhere(lambda: many(live))
    few = await statements(secrets[:4])
    await elsewhere(SystemMetric.objects.all().delete)
    assert len(await statements(secrets)) == len(few) <= 9
