"""Presence: who went dark and when, whose fault it was, and which session a row belongs to."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.backends.signals import connection_created
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orchestrators import claims, nodes, presence, protocol, registration
from orchestrators import hub as hubs
from orchestrators.batcher import Batcher
from orchestrators.claims import Claim
from orchestrators.limiter import Limiter
from orchestrators.models import Instance, Node
from orchestrators.presence import Ended, Sighting
from orchestrators.protocol import FrameError
from orchestrators.registration import Grant
from orgs import events, keys, leases
from orgs.models import Event, Organization

START = timezone.now()
TTL = timedelta(seconds=125)


@pytest.fixture
def organization(transactional_db: None) -> Organization:
    Node.objects.create(node_id="alive", hostname="h", pid=1, started_at=START, beat_at=START + timedelta(days=1))
    return Organization.objects.create(organization_id="acme", name="Acme")


def instance(organization: Organization, name: str, **fields: Any) -> Instance:
    values = {"status": "active", "last_seen": START, "deadline_at": START + TTL, "epoch": 1, **fields}
    return Instance.objects.create(orchestrator_id=name, organization=organization, **values)


def sweeps(until: datetime, *, holder: str = "beat") -> int:
    """Sweep every 5 s of imagined time up to `until`; return how many were declared inactive."""
    declared, now = 0, START
    while now < until:
        now += timedelta(seconds=5)
        declared += presence.sweep(holder=holder, now=now) or 0
    return declared


def statuses() -> dict[str, str]:
    return dict(Instance.objects.values_list("orchestrator_id", "status"))


# --- the sweep ------------------------------------------------------------------------------------------------------


def test_inactive_comes_at_ttl_and_five_seconds_with_exactly_one_event(organization: Organization) -> None:
    instance(organization, "silent")
    instance(organization, "alive", deadline_at=START + timedelta(days=1))
    instance(organization, "free", status="independent", deadline_at=None)
    instance(organization, "free by flag", is_independent=True)
    assert sweeps(START + TTL) == 0
    assert presence.sweep(holder="beat", now=START + TTL + timedelta(seconds=5)) == 1
    assert statuses() == {"silent": "inactive", "alive": "active", "free": "independent", "free by flag": "active"}
    for seconds in (10, 15, 20):
        assert presence.sweep(holder="beat", now=START + TTL + timedelta(seconds=seconds)) == 0
    [event] = Event.objects.filter(kind="orchestrator.inactive")
    assert (event.orchestrator_id, event.organization_id) == ("silent", "acme")


def test_a_late_sweep_extends_deadlines_instead_of_declaring_the_fleet_dead(organization: Organization) -> None:
    for number in range(5):
        instance(organization, f"o{number}")
    assert presence.sweep(holder="beat", now=START) is not None
    late = START + timedelta(seconds=600)
    assert presence.sweep(holder="beat", now=late) == 0
    assert set(statuses().values()) == {"active"}
    assert set(Instance.objects.values_list("deadline_at", flat=True)) == {late + TTL}
    now = late
    while now <= late + TTL:
        assert presence.sweep(holder="beat", now=now) in (0, None)
        now += timedelta(seconds=5)
    assert presence.sweep(holder="beat", now=now) == 5


def test_without_any_process_to_hear_heartbeats_nobody_is_declared_dead(organization: Organization) -> None:
    instance(organization, "silent")
    Node.objects.all().delete()
    assert sweeps(START + TTL + timedelta(seconds=30)) == 0
    assert statuses() == {"silent": "active"}


def test_two_clocks_run_one_sweep(organization: Organization) -> None:
    instance(organization, "silent")
    sweeps(START + TTL)
    now = START + TTL + timedelta(seconds=5)
    results: list[int | None] = []

    def run(holder: str) -> None:
        try:
            results.append(presence.sweep(holder=holder, now=now))
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(f"beat-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results, key=str) == [1, None, None, None]
    assert Event.objects.filter(kind="orchestrator.inactive").count() == 1


def test_a_heartbeat_just_before_the_sweep_saves(organization: Organization) -> None:
    row = instance(organization, "late")
    sweeps(START + TTL)
    assert presence.flush([Sighting(row.pk, 1, START + TTL)]) == 1
    assert presence.sweep(holder="beat", now=START + TTL + timedelta(seconds=5)) == 0


def test_a_dead_process_leaves_no_open_sessions_and_its_fleet_a_fresh_deadline(organization: Organization) -> None:
    Node.objects.create(node_id="dead", hostname="h", pid=2, started_at=START, beat_at=START)
    instance(organization, "orphan", is_connected=True, node="dead", session_id="s1")
    instance(organization, "held", is_connected=True, node="alive", session_id="s2")
    instance(
        organization,
        "free",
        status="independent",
        is_independent=True,
        deadline_at=None,
        is_connected=True,
        node="dead",
    )
    now = START + timedelta(seconds=26)
    presence.sweep(holder="beat", now=now - timedelta(seconds=6))
    assert Instance.objects.filter(is_connected=True).count() == 3, "after a pause of ours nobody is given up yet"
    presence.sweep(holder="beat", now=now)
    rows = {row.orchestrator_id: row for row in Instance.objects.all()}
    assert [rows[name].is_connected for name in ("orphan", "held", "free")] == [False, True, False]
    assert (rows["orphan"].session_id, rows["orphan"].node, rows["orphan"].status) == ("", "", "active")
    assert rows["orphan"].deadline_at == now + TTL
    assert (rows["free"].status, rows["free"].deadline_at, rows["free"].last_seen) == ("independent", None, START)
    assert list(Node.objects.values_list("node_id", flat=True)) == ["alive"]
    gone = Event.objects.filter(kind="orchestrator.disconnected").values_list("orchestrator_id", flat=True)
    assert set(gone) == {"orphan", "free"}


# --- fencing --------------------------------------------------------------------------------------------------------


def test_a_flush_of_an_older_epoch_moves_nothing(organization: Organization) -> None:
    row = instance(organization, "a", epoch=5)
    later = START + timedelta(seconds=30)
    assert presence.flush([Sighting(row.pk, 4, later)]) == 0
    assert presence.flush([Sighting(row.pk, 6, later)]) == 0
    assert presence.flush([Sighting(row.pk, 5, later)]) == 1
    row.refresh_from_db()
    assert (row.last_seen, row.last_activity, row.deadline_at) == (later, later, later + TTL)


def test_the_end_of_an_older_session_leaves_the_newer_one_alone(organization: Organization) -> None:
    row = instance(organization, "a", is_connected=True, session_id="new", node="alive")
    presence.end([Ended(row.pk, "old", "connection lost", is_goodbye=True)])
    row.refresh_from_db()
    assert (row.is_connected, row.session_id, row.status) == (True, "new", "active")
    assert not Event.objects.exists()
    presence.end([Ended(row.pk, "new", "connection lost")])
    row.refresh_from_db()
    assert (row.is_connected, row.session_id, row.status) == (False, "", "active")


def test_goodbye_is_inactive_at_once_and_never_an_alert(organization: Organization) -> None:
    managed = instance(organization, "a", is_connected=True, session_id="s1")
    free = instance(organization, "b", is_connected=True, session_id="s2", status="independent", is_independent=True)
    presence.end(
        [Ended(managed.pk, "s1", "goodbye", is_goodbye=True), Ended(free.pk, "s2", "goodbye", is_goodbye=True)]
    )
    assert statuses() == {"a": "inactive", "b": "independent"}
    presence.save_health([(managed.pk, {"status": "healthy"})])
    presence.flush([Sighting(managed.pk, 1, START)])
    presence.revive([managed.pk])
    assert statuses() == {"a": "inactive", "b": "independent"}
    sweeps(START + 2 * TTL)
    assert not Event.objects.filter(kind="orchestrator.inactive").exists()


def test_a_flush_is_one_statement_up_to_a_large_fleet(organization: Organization) -> None:
    rows = [Instance(orchestrator_id=f"o{n}", organization=organization, status="active", epoch=1) for n in range(900)]
    Instance.objects.bulk_create(rows)
    seen = [Sighting(pk, 1, START) for pk in Instance.objects.values_list("pk", flat=True)]
    with CaptureQueriesContext(connection) as queries:
        assert presence.flush(seen) == 900
    assert len(queries) == 1


def claim(name: str, *, secret: str, session_id: str) -> Claim:
    frame = {"type": "register", "orchestrator_id": name, "token": secret, "capabilities": []}
    return claims.read(frame, secret="", remote_address="127.0.0.1", session_id=session_id, node="alive")


def test_one_batch_of_registers_is_a_constant_number_of_statements(organization: Organization) -> None:
    _, secret = keys.create(organization, name="k", acting_user=None, scopes=["orchestrator"])
    counts = []
    for size in (2, 40):
        batch = [claim(f"o{size}-{number}", secret=secret, session_id=f"s{size}-{number}") for number in range(size)]
        with CaptureQueriesContext(connection) as queries:
            grants = registration.register(batch)
        assert all(isinstance(grant, Grant) for grant in grants)
        counts.append(len(queries))
    assert counts[1] <= counts[0] + 1


def test_two_claims_on_one_id_in_one_batch_are_taken_in_order(organization: Organization) -> None:
    _, secret = keys.create(organization, name="k", acting_user=None, scopes=["orchestrator"])
    grants = registration.register([claim("twin", secret=secret, session_id=f"s{number}") for number in range(4)])
    epochs = [grant.instance.epoch for grant in grants if isinstance(grant, Grant)]
    assert epochs == [1, 2, 3]
    assert isinstance(grants[3], FrameError)
    assert (grants[3].code, grants[3].close) == ("duplicate_instance", protocol.OVERLOAD)
    assert Instance.objects.get(orchestrator_id="twin").session_id == "s2"


# --- the pieces -----------------------------------------------------------------------------------------------------


def test_a_lease_is_held_by_one_and_comes_back_when_it_expires(transactional_db: None) -> None:
    first = leases.take("job", holder="a", seconds=30, now=START)
    assert first is not None
    assert first.ran_at is None
    assert leases.take("job", holder="b", seconds=30, now=START + timedelta(seconds=29)) is None
    second = leases.take("job", holder="b", seconds=30, now=START + timedelta(seconds=30))
    assert second is not None
    leases.finish(first, now=START + timedelta(seconds=31))  # too late: it is b's
    assert leases.take("job", holder="c", seconds=30, now=START + timedelta(seconds=32)) is None
    leases.finish(second, now=START + timedelta(seconds=33))
    assert leases.take("job", holder="c", seconds=30, min_gap_seconds=5, now=START + timedelta(seconds=37)) is None
    third = leases.take("job", holder="c", seconds=30, min_gap_seconds=5, now=START + timedelta(seconds=38))
    assert third is not None
    assert third.ran_at == START + timedelta(seconds=33)


def test_a_cursor_returns_what_was_committed_out_of_order_once(transactional_db: None) -> None:
    cursor = events.Cursor()
    events.record("a")
    last = Event.objects.latest("id").id
    Event.objects.create(id=last + 3, kind="d", created_at=START)
    assert [row.kind for row in cursor.read()] == ["a", "d"]
    place = cursor.place()
    Event.objects.create(id=last + 1, kind="b", created_at=START)
    assert [row.kind for row in cursor.read()] == ["b"]
    cursor.go_back(place)
    Event.objects.create(id=last + 2, kind="c", created_at=START)
    assert [row.kind for row in cursor.read()] == ["b", "c"]
    assert cursor.read() == []


def test_the_limiter_allows_a_burst_and_then_its_rate() -> None:
    limiter = Limiter(rate=20, burst=100)
    now = time.monotonic()
    assert sum(limiter.take(now) for _ in range(300)) == 100
    assert sum(limiter.take(now + 1) for _ in range(300)) == 20
    assert sum(limiter.take(now + 1000) for _ in range(300)) == 100
    assert [limiter.strike(now + second) for second in range(9)] == [False] * 9
    assert limiter.strike(now + 9) is True
    fresh = Limiter(rate=20, burst=100)
    assert not any(fresh.strike(now + 7 * number) for number in range(40))  # nine a minute for ever


async def test_a_batcher_gathers_while_it_runs_and_isolates_poison() -> None:
    batches: list[list[int]] = []

    def work(items: Any) -> list[int | FrameError]:
        batches.append(list(items))
        if 13 in items:
            raise ValueError("poison")
        return [FrameError("odd", "odd") if item == 7 else item * 2 for item in items]

    async def run(job: Any) -> Any:
        await asyncio.sleep(0.01)
        return job()

    batcher = Batcher[int, int](run, work, size=4)
    futures = [batcher.submit(item) for item in (1, 2, 13, 7, 5)]
    await asyncio.wait(futures)
    assert [future.exception() is None for future in futures] == [True, True, False, False, True]
    assert [futures[0].result(), futures[1].result(), futures[4].result()] == [2, 4, 10]
    poison = futures[2].exception()
    assert isinstance(poison, FrameError)
    assert (poison.code, poison.close) == ("internal_error", 1011)
    assert batches[0] == [1, 2, 13, 7]


# --- the cost of a heartbeat ----------------------------------------------------------------------------------------


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """Every statement that the hub's threads run on connections opened from now on."""
    found: list[str] = []

    def count(execute: Any, sql: str, *rest: Any) -> Any:
        if threading.current_thread().name.startswith("hub-"):
            found.append(sql)
        return execute(sql, *rest)

    def watch(*, connection: Any, **_: Any) -> None:
        connection.execute_wrappers.append(count)

    connection_created.connect(watch)
    yield found
    connection_created.disconnect(watch)


async def test_steady_heartbeats_cost_no_sql_of_their_own(
    organization: Organization, orchestrator_key: str, statements: list[str]
) -> None:
    from moolai.asgi import application

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send":
            received.append(json.loads(message["text"])["type"])

    received: list[str] = []
    sockets: list[tuple[asyncio.Queue[dict[str, Any]], asyncio.Task[None]]] = []
    for number in range(5):
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        opening = {"type": "register", "orchestrator_id": f"o{number}", "token": orchestrator_key, "capabilities": []}
        await queue.put({"type": "websocket.connect"})
        await queue.put({"type": "websocket.receive", "text": json.dumps(opening)})
        scope = {"type": "websocket", "path": "/ws", "headers": [], "query_string": b""}
        sockets.append((queue, asyncio.create_task(application(scope, queue.get, send))))
    while received.count("provisioning") < 5:  # noqa: ASYNC110 - counted by the sockets
        await asyncio.sleep(0.01)
    await asyncio.sleep(1.2)
    statements.clear()
    started = time.monotonic()
    for number in range(60):
        for queue, _ in sockets:
            await queue.put({"type": "websocket.receive", "text": json.dumps({"type": "i_am_alive", "seq": number})})
        await asyncio.sleep(0.051)
    seconds = time.monotonic() - started
    assert received.count("heartbeat_ack") == 300
    flushes = [sql for sql in statements if "UPDATE orchestrator_instances" in sql]
    reads = [sql for sql in statements if 'FROM "events"' in sql]
    assert 1 <= len(flushes) <= seconds + 2
    assert 1 <= len(reads) <= seconds + 2
    rest = [sql for sql in statements if sql not in flushes and sql not in reads]
    assert len(rest) <= seconds + 3, rest  # the node's own beat and the delivery sweep, every 5 s
    for queue, task in sockets:
        await queue.put({"type": "websocket.disconnect", "code": 1000})
        await task
    await hubs.shut_down()


@pytest.mark.once
async def test_a_hub_opens_its_books_though_something_broke_at_first(transactional_db: None) -> None:
    broken: list[str] = []

    def fail(**_: Any) -> None:
        if threading.current_thread().name.startswith("hub-clock") and not broken:
            broken.append("once")
            raise RuntimeError("unheard of")

    connection_created.connect(fail)
    try:
        async with asyncio.timeout(8):
            await hubs.current().clock.are_books_open.wait()
    finally:
        connection_created.disconnect(fail)
        await hubs.shut_down()
    assert broken == ["once"]


@pytest.fixture
def orchestrator_key(organization: Organization) -> str:
    return keys.create(organization, name="k", acting_user=None, scopes=["orchestrator"])[1]


def test_nodes_know_their_own_and_forget_killed_ones(organization: Organization) -> None:
    me = nodes.new_id()
    assert nodes.new_id() != me
    Node.objects.create(
        node_id="ghost", hostname=nodes.HOSTNAME, pid=2**22 - 1, started_at=START, beat_at=timezone.now()
    )
    instance(organization, "orphan", is_connected=True, node="ghost", session_id="s1")
    nodes.start(me)
    assert not Node.objects.filter(node_id="ghost").exists()
    assert not Instance.objects.get(orchestrator_id="orphan").is_connected
    assert nodes.alive([me, "ghost"], now=timezone.now()) == {me}
