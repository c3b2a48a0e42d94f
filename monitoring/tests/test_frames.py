"""`monitoring` frames: samples are validated, stored once, and acknowledged when they are durable."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from monitoring.models import NUMBERS, SystemMetric
from moolai.testing.world import World
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
