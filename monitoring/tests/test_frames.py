"""`monitoring` frames: samples are validated, stored once, and acknowledged when they are durable."""

import threading
import time
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from django.db import connection, connections

from monitoring import frames
from monitoring.models import NUMBERS, SystemMetric
from moolai.testing.world import World
from orchestrators.protocol import FrameError
from orchestrators.tests.live import Live, Peer, eventually, running

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def live(world: World, django_db_blocker: Any) -> Iterator[Live]:
    with running(world, django_db_blocker) as found:
        yield found


@pytest.fixture
def peer(live: Live) -> Iterator[Peer]:
    yield live.register(key=live.key())
    live.hang_up()


def send(peer: Peer, metrics: Any, message_id: str = "m") -> dict[str, Any]:
    return peer.ask({"type": "monitoring", "message_id": message_id, "metrics": metrics}, "ack")


def rows(peer: Peer) -> list[SystemMetric]:
    return list(SystemMetric.objects.filter(orchestrator_id=peer.ack["orchestrator_id"]).order_by("timestamp"))


def test_one_sample_is_stored_under_the_sessions_names_and_acknowledged(peer: Peer) -> None:
    sample = {"cpu_usage_percent": 12.5, "memory_percent": 40, "organization_id": None, "swap_percent": None}
    assert send(peer, sample) == {"type": "ack", "message_id": "m", "success": True, "duplicate": False}
    [row] = rows(peer)
    assert (row.organization_id, row.cpu_usage_percent, row.memory_percent) == ("acme", 12.5, 40.0)
    assert row.swap_percent is None
    assert abs(row.timestamp - datetime.now(UTC)) < timedelta(seconds=10)


def test_every_published_column_is_taken(peer: Peer) -> None:
    send(peer, dict.fromkeys(NUMBERS, 1.5))
    [row] = rows(peer)
    assert {name: float(getattr(row, name)) for name in NUMBERS} == dict.fromkeys(NUMBERS, 1.5) or all(
        getattr(row, name) in (1, 1.5, 2) for name in NUMBERS
    )


def test_unknown_numbers_go_into_the_custom_column(peer: Peer) -> None:
    send(peer, {"cpu_usage_percent": 1, "gpu_temperature": 61.5, "queue": 3})
    [row] = rows(peer)
    assert row.custom == {"gpu_temperature": 61.5, "queue": 3}


def test_a_list_is_stored_with_its_own_timestamps_naive_ones_as_utc(peer: Peer) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    first, second = now - timedelta(minutes=2), now - timedelta(minutes=1)
    samples = [
        {"cpu_usage_percent": 1, "timestamp": first.replace(tzinfo=None).isoformat()},
        {"cpu_usage_percent": 2, "timestamp": second.isoformat()},
    ]
    send(peer, samples)
    assert [(row.timestamp, row.cpu_usage_percent) for row in rows(peer)] == [(first, 1.0), (second, 2.0)]


def test_implausible_timestamps_are_clamped_and_malformed_ones_refused(peer: Peer) -> None:
    send(peer, [{"cpu_usage_percent": 1, "timestamp": "9999-12-31T23:59:59Z"}])
    [row] = rows(peer)
    assert row.timestamp < datetime.now(UTC) + timedelta(days=1, minutes=1)
    error = peer.ask({"type": "monitoring", "metrics": [{"cpu_usage_percent": 1, "timestamp": "soon"}]})
    assert (error["error"], error["path"]) == ("invalid_timestamp", "metrics[0].timestamp")


def test_a_sample_cannot_name_another_organization_or_orchestrator(peer: Peer) -> None:
    error = peer.ask({"type": "monitoring", "metrics": {"cpu_usage_percent": 1, "organization_id": "globex"}})
    assert error["error"] == "invalid_field"
    assert not SystemMetric.objects.filter(organization_id="globex").exists()


def test_the_same_frame_again_is_a_duplicate_and_another_body_a_conflict(peer: Peer) -> None:
    samples = [{"cpu_usage_percent": number} for number in (1, 2)]
    assert send(peer, samples)["duplicate"] is False
    assert send(peer, samples)["duplicate"] is True
    error = peer.ask({"type": "monitoring", "message_id": "m", "metrics": {"cpu_usage_percent": 9}})
    assert (error["error"], error["ref"]) == ("message_id_conflict", "m")
    assert len(rows(peer)) == 2


def test_duplicates_after_a_reconnect_are_stored_once(live: Live) -> None:
    key = live.key()
    for expected in (False, True):
        peer = live.register("orch-again", key=key)
        assert send(peer, {"cpu_usage_percent": 1})["duplicate"] is expected
        peer.close()
    assert len(rows(peer)) == 1


def test_without_an_id_nothing_is_answered_and_everything_stored(peer: Peer) -> None:
    for number in range(5):
        peer.send({"type": "monitoring", "metrics": {"cpu_usage_percent": number}})
    assert eventually(lambda: len(rows(peer)) == 5)
    assert peer.nothing(0.2) == []


@pytest.mark.parametrize(
    ("metrics", "path"),
    [
        ({"cpu_usage_percent": -0.1}, "metrics.cpu_usage_percent"),
        ({"cpu_usage_percent": 1e308}, "metrics.cpu_usage_percent"),
        ({"memory_percent": "12"}, "metrics.memory_percent"),
        ({"memory_percent": True}, "metrics.memory_percent"),
        ({"memory_percent": [1]}, "metrics.memory_percent"),
        ({"user_id": 7}, "user_id"),
        ([{"cpu_usage_percent": 1}, 7], "metrics[1]"),
        ([], "metrics"),
        ("cpu", "metrics"),
        ([{"cpu_usage_percent": 1}] * 501, "metrics"),
    ],
)
def test_a_bad_sample_stores_nothing_of_its_frame_and_names_the_path(peer: Peer, metrics: Any, path: str) -> None:
    error = peer.ask({"type": "monitoring", "message_id": "bad", "metrics": metrics})
    assert (error["error"], error["ref"]) == ("invalid_field", "bad")
    assert error["path"].endswith(path)
    assert rows(peer) == []
    assert send(peer, {"cpu_usage_percent": 1}, "bad")["duplicate"] is False


# --- the cost of a frame --------------------------------------------------------------------------------------------


def batch(orchestrator_id: str, metrics: Any, message_id: str = "m") -> frames.Batch:
    session = SimpleNamespace(organization_id="acme", orchestrator_id=orchestrator_id, session_id="s" * 26)
    return frames.check(session, {"type": "monitoring", "message_id": message_id, "metrics": metrics})


def full(**extra: Any) -> list[dict[str, Any]]:
    return [
        {"cpu_usage_percent": index / 10, "memory_percent": 40.5, "queue": index} | extra
        for index in range(frames.MAX_SAMPLES)
    ]


def test_a_full_frame_waits_in_about_its_own_size_and_weighs_what_it_holds() -> None:
    metrics = full()
    size = len(orjson.dumps(metrics))
    tracemalloc.start()
    try:
        held = batch("orch", metrics)
        grown = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert grown < 1.1 * size + 4096
    assert held.weight >= size
    assert batch("orch", {}).weight > 0


def test_a_full_frame_holds_the_event_loop_up_for_few_milliseconds() -> None:
    metrics = full(timestamp="2026-01-01T00:00:00Z")
    costs = []
    for _ in range(20):
        start = time.thread_time()
        batch("orch", metrics)
        costs.append(time.thread_time() - start)
    assert min(costs) < 0.004


def test_the_weight_of_a_batch_bounds_its_rows() -> None:
    empty = batch("orch", [{}] * frames.MAX_SAMPLES)
    assert (1 << 20) / empty.weight * frames.MAX_SAMPLES <= 2500


# --- through two processes at once ----------------------------------------------------------------------------------


def codes(answers: list[str | None | FrameError]) -> list[Any]:
    return [
        answer.code if isinstance(answer, FrameError) else answer and orjson.loads(answer)["duplicate"]
        for answer in answers
    ]


@pytest.mark.parametrize(("mine", "expected"), [([1, 2, 3], "message_id_conflict"), ([7, 8], True)])
def test_a_frame_stored_elsewhere_in_the_same_moment_is_answered_by_its_body(
    peer: Peer, mine: list[int], expected: Any
) -> None:
    name, rivals = peer.ack["orchestrator_id"], [[{"cpu_usage_percent": number} for number in (7, 8)]]

    def rival_first(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith(("INSERT", "CREATE TEMP")) and rivals:
            assert codes(frames.store([batch(name, rivals.pop())])) == [False]
        return execute(sql, *rest)

    with connection.execute_wrapper(rival_first):
        others = [batch(name, {"cpu_usage_percent": 5}, "other"), batch(name, {"cpu_usage_percent": 6}, "")]
        samples = [{"cpu_usage_percent": number} for number in mine]
        assert codes(frames.store([others[0], batch(name, samples), others[1]])) == [False, expected, None]
    assert sorted(row.cpu_usage_percent or 0 for row in rows(peer)) == [5, 6, 7, 8]


def test_a_frame_that_is_cleaned_up_while_it_is_resent_is_a_duplicate(peer: Peer) -> None:
    name = peer.ack["orchestrator_id"]
    assert codes(frames.store([batch(name, {"cpu_usage_percent": 1})])) == [False]

    def clean_up_first(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith("SELECT"):
            SystemMetric.objects.filter(orchestrator_id=name)._raw_delete(using="default")
        return execute(sql, *rest)

    with connection.execute_wrapper(clean_up_first):
        assert codes(frames.store([batch(name, {"cpu_usage_percent": 1})])) == [True]
    assert rows(peer) == []


def test_two_processes_with_many_of_the_same_ids_agree_on_one_body_each(peer: Peer) -> None:
    name, count = peer.ack["orchestrator_id"], 40
    answers: dict[int, list[Any]] = {}
    gate = threading.Barrier(2)

    def process(size: int) -> None:
        order = range(count) if size == 2 else reversed(range(count))
        batches = [batch(name, [{"cpu_usage_percent": size}] * size, f"m-{index}") for index in order]
        try:
            gate.wait()
            found = codes(frames.store(batches))
        finally:
            connections.close_all()
        answers[size] = found if size == 2 else found[::-1]

    threads = [threading.Thread(target=process, args=(size,)) for size in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all({a, b} == {False, "message_id_conflict"} for a, b in zip(answers[2], answers[3], strict=True))
    won = {size: answers[size].count(False) for size in (2, 3)}
    stored = [row.cpu_usage_percent for row in rows(peer)]
    assert {size: stored.count(float(size)) for size in (2, 3)} == {size: size * won[size] for size in (2, 3)}


def test_one_batch_with_the_same_id_twice_stores_the_first(peer: Peer) -> None:
    name = peer.ack["orchestrator_id"]
    bodies = [{"cpu_usage_percent": 1}, {"cpu_usage_percent": 1}, {"cpu_usage_percent": 2}]
    assert codes(frames.store([batch(name, body) for body in bodies])) == [False, True, "message_id_conflict"]
    assert [row.cpu_usage_percent for row in rows(peer)] == [1.0]


def test_a_full_frame_is_stored_whole_in_statements_of_bounded_size(peer: Peer) -> None:
    name, sizes = peer.ack["orchestrator_id"], []

    def measure(execute: Any, sql: str, params: Any, *rest: Any) -> Any:
        if sql.startswith("INSERT"):  # rows are streamed: by COPY before it, or from a generator
            sizes.append(len(params) if isinstance(params, list | tuple) else 0)
        return execute(sql, params, *rest)

    with connection.execute_wrapper(measure):
        assert codes(frames.store([batch(name, full(), f"m-{number}") for number in range(5)])) == [False] * 5
    assert len(rows(peer)) == 5 * frames.MAX_SAMPLES
    assert 0 < max(sizes) <= 45
    assert rows(peer)[0].custom.keys() == {"queue"}
