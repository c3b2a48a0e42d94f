"""Faults under messages: killed processes, Redis and PostgreSQL gone or frozen, a client that does not read."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks import ledger as runs
from moolai.testing.ledger import Ledger
from moolai.testing.postgres import Postgres
from moolai.testing.processes import wait_until
from moolai.testing.product import Installation
from moolai.testing.redis import Redis
from orchestrators.tests.raw import TEXT, RawPeer, frame
from tests.fleet import TOKEN, call, organization_key

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]
Install = Callable[..., Installation]
ENVIRONMENT = {
    "DEV_BEARER_TOKEN": TOKEN,
    "HEARTBEAT_TTL_SEC": "30",
    "HEARTBEAT_INTERVAL_SEC": "1",
    "RATE_LIMIT_API": "1000000/minute",
}
WITHIN_SECONDS = 15  # after Redis is back, everything is delivered
CLIENTS = 20


def open_ledger(place: Installation, *, clients: int = CLIENTS, entries: int = 20, seconds: float = 12) -> Ledger:
    """Start a web process and a fleet that is about to exchange entries with it."""
    web = place.serve()
    return Ledger(
        place, urls=[web.ws_url()], api=web.url(), api_token=TOKEN, count=clients, entries=entries, seconds=seconds
    )  # fmt: skip


def assert_nothing_lost(ledger: Ledger, *, entries: int) -> None:
    assert ledger.refusals == []
    for verdict in ledger.compare():
        assert verdict.promised == verdict.stored == len(ledger.books) * entries
        assert verdict.is_clean, verdict


def test_nothing_is_lost_doubled_or_reordered_while_web_and_worker_are_killed(installation: Install) -> None:
    place = installation(env=ENVIRONMENT | {"HEARTBEAT_INTERVAL_SEC": "10"})
    with open_ledger(place, entries=30, seconds=15) as ledger:
        place.worker()
        assert ledger.wait_connected(timeout_seconds=30)
        ledger.open_traffic()
        assert runs.kill(place, ledger, web_kills=3, worker_kills=1) <= 15
        assert ledger.wait_settled(timeout_seconds=60)
        assert_nothing_lost(ledger, entries=30)
        assert ledger.connections >= 4 * CLIENTS


# --- Redis ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def with_redis(postgres: Postgres, redis_server: Redis, tmp_path: Path) -> Iterator[Installation]:
    name = f"redis_{tmp_path.name[-20:].replace('-', '_')}"
    place = Installation(
        data_dir=tmp_path / "data",
        database_url=postgres.create_database(name),
        redis_url=redis_server.url(),
        env=ENVIRONMENT,
    )
    place.manage("migrate", "--verbosity", "0")
    yield place
    place.close()


def stop(server: Redis) -> None:
    server.stop()
    time.sleep(20)
    server.start()


def freeze(server: Redis) -> None:
    server.pause()
    time.sleep(20)
    server.resume()


def flush(server: Redis) -> None:
    for _ in range(5):
        server.flush()
        time.sleep(2)


def fill(server: Redis) -> None:
    server.configure("maxmemory", "1mb")
    time.sleep(10)
    server.configure("maxmemory", "0")


@pytest.mark.parametrize("harm", [stop, freeze, flush, fill])
def test_redis_gone_closes_no_socket_and_delays_messages_at_most(
    with_redis: Installation, redis_server: Redis, harm: Callable[[Redis], None]
) -> None:
    """The API is another process than the one that holds the sockets: wake-ups have to travel."""
    with open_ledger(with_redis) as ledger:
        ledger.api = with_redis.serve().url()
        assert ledger.wait_connected(timeout_seconds=30)
        ledger.open_traffic()
        time.sleep(3)
        harm(redis_server)
        back_at = time.monotonic()
        assert ledger.wait_drained(timeout_seconds=WITHIN_SECONDS)
        print(f"{harm.__name__}: everything delivered {time.monotonic() - back_at:.1f} s after it was back")  # noqa: T201
        assert ledger.wait_settled(timeout_seconds=120)
        assert_nothing_lost(ledger, entries=20)
        assert ledger.connections == CLIENTS, "a socket was closed"


# --- PostgreSQL -----------------------------------------------------------------------------------------------------


def test_a_minute_without_postgresql_delays_heartbeats_of_nobody_and_loses_no_message(
    postgres: Postgres, tmp_path: Path
) -> None:
    place = Installation(
        data_dir=tmp_path / "data", database_url=postgres.create_database("messages_outage"), env=ENVIRONMENT
    )
    try:
        place.manage("migrate", "--verbosity", "0")
        with open_ledger(place) as ledger:
            place.worker()
            place.beat()
            assert ledger.wait_connected(timeout_seconds=30)
            time.sleep(11)  # a sweep has run twice: a pause is noticed from now on
            ledger.open_traffic()
            time.sleep(4)
            postgres.stop()
            times = round_trips(ledger, seconds=60)
            postgres.start()
            back_at = time.monotonic()
            assert ledger.wait_drained(timeout_seconds=10)
            settled = time.monotonic() - back_at
            slowest = sorted(times)[int(len(times) * 0.99)]
            print(  # noqa: T201
                f"{len(times)} heartbeats answered, p99 {slowest * 1000:.1f} ms; drained {settled:.1f} s after"
            )
            assert slowest <= 0.1
            assert ledger.wait_settled(timeout_seconds=120)
            time.sleep(12)  # two more sweeps
            assert_nothing_lost(ledger, entries=20)
            assert ledger.connections == CLIENTS, "a socket was closed"
            script = "from orgs.models import Event; print(*set(Event.objects.values_list('kind', flat=True)))"
            assert "orchestrator.inactive" not in place.manage("shell", "--no-imports", "-c", script).stdout
    finally:
        place.close()


def round_trips(ledger: Ledger, *, seconds: float) -> list[float]:
    """Collect the heartbeats' round-trip times (seconds) that the clients measure meanwhile; each counts once."""
    found: dict[tuple[str, int], float] = {}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for book in ledger.books:
            session: Any = book.client._session
            if session is not None and session.round_trip_seconds is not None:
                found[book.client.orchestrator_id, session._seq] = session.round_trip_seconds
        time.sleep(0.4)
    assert len(found) >= len(ledger.books) * seconds * 0.6, "heartbeats were not answered"
    return list(found.values())


# --- a client that does not read ------------------------------------------------------------------------------------

DEAF = 100
BULKS = 20  # messages of 240 kB to each
LAG_SECONDS = 5
HEARTBEAT = frame(TEXT, b'{"type": "i_am_alive"}')


def test_clients_that_never_read_are_closed_in_time_within_memory_and_lose_nothing(
    installation: Install,
) -> None:
    place = installation(env=ENVIRONMENT | {"WS_LAG_SECONDS": str(LAG_SECONDS), "HEARTBEAT_TTL_SEC": "300"})
    key = organization_key(place)
    web = place.serve()
    peers = [RawPeer(web.port, receive_buffer=4096) for _ in range(DEAF)]
    for number, peer in enumerate(peers):
        assert peer.register(f"deaf-{number:03}", key)["success"] is True
    live = f"{web.url()}api/v1/controller/orchestrators/live?page_size=1000"
    with watching_memory(web.pid) as memory:
        queue_bulk(place)
        until = time.monotonic() + 60
        while (left := call(live)["items"]) and time.monotonic() < until:
            for row in left:
                peers[int(row["orchestrator_id"][-3:])].raw(HEARTBEAT)  # it writes, but it does not read
            time.sleep(0.3)
    assert left == []
    grown = (max(memory) - memory[0]) / 2**20
    reasons, slowest = endings(place)
    print(f"{DEAF} closed, at most {slowest:.1f} s after the last message each could be sent, RSS +{grown:.0f} MiB")  # noqa: T201
    assert reasons == {"slow_consumer": DEAF}
    assert slowest <= LAG_SECONDS + 5
    assert grown <= 150
    for peer in peers:
        peer.close()
    read_all(web.port, key)
    rows = f"{web.url()}api/v1/internal/messages?page_size=1&status=delivered"
    assert wait_until(lambda: call(rows)["total_items"] == DEAF * BULKS, timeout_seconds=10)


def queue_bulk(place: Installation) -> None:
    """Queue to each more than the kernel holds for a socket."""
    script = f"""
from orchestrators.models import Message
from orgs import events
from orgs.models import Event
for number in range({BULKS}):
    content = {{"n": number, "text": ["x" * 60_000] * 4}}
    names = [f"deaf-{{deaf:03}}" for deaf in range({DEAF})]
    Message.objects.bulk_create(
        Message(orchestrator_id=name, message_id=f"{{name}}-{{number}}", message_type="bulk", message_content=content)
        for name in names
    )
    events.record_many(Event(kind="message.queued", organization_id="org-001", orchestrator_id=name) for name in names)
"""
    place.manage("shell", "--no-imports", "-c", script)


def endings(place: Installation) -> tuple[dict[str, int], float]:
    """Count why sessions ended (`slow_consumer` goes with 1013); find the longest time from a last sending to that."""
    script = """
import json
from collections import Counter
from django.db.models import Max
from orchestrators.models import Message
from orgs.models import Event
sent = dict(Message.objects.order_by().values_list("orchestrator__orchestrator_id").annotate(last=Max("sent_at")))
rows = list(Event.objects.filter(kind="orchestrator.disconnected"))
times = [(row.created_at - sent[row.orchestrator_id]).total_seconds() for row in rows]
print("ENDINGS", json.dumps([Counter(row.data["reason"] for row in rows), max(times)]))
"""
    output = place.manage("shell", "--no-imports", "-c", script).stdout
    reasons, slowest = json.loads(output.rpartition("ENDINGS")[2])
    return reasons, slowest


@contextmanager
def watching_memory(pid: int) -> Iterator[list[int]]:
    """Collect the resident bytes of a process, ten times a second, while inside."""
    process, done = psutil.Process(pid), threading.Event()
    found = [process.memory_info().rss]

    def watch() -> None:
        while not done.wait(0.1):
            found.append(process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def read_all(port: int, key: str) -> None:
    """Connect each again, read its messages in order and acknowledge them."""
    for number in range(DEAF):
        with RawPeer(port) as peer:
            assert peer.register(f"deaf-{number:03}", key)["success"] is True
            seen: list[int] = []
            while len(seen) < BULKS:
                got = peer.recv()
                if got["type"] == "bulk":
                    seen.append(got["content"]["n"])
                    peer.send({"type": "ack", "message_id": got["message_id"], "success": True})
            assert seen == list(range(BULKS))
