"""A client that repeats three frames in ten and shuffles windows of ten leaves what one in order leaves (F25)."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from monitoring.models import SystemMetric
from moolai.testing.world import World
from orchestrators import instances, messages
from orchestrators.models import Instance, Message
from orchestrators.tests.live import Live, Peer, eventually, running
from orgs.models import Event

pytestmark = pytest.mark.services
Frame = dict[str, Any]
COUNT = 120
WINDOW = 10


@pytest.fixture(scope="module")
def live(world: World, django_db_blocker: Any) -> Iterator[Live]:
    env = {"WS_FRAMES_PER_SECOND": "100000", "WS_FRAMES_BURST": "100000", "MESSAGE_ACK_TIMEOUT_SEC": "60"}
    with running(world, django_db_blocker, env) as found:
        yield found


def frames_up() -> list[Frame]:
    """Messages, recommendations and metrics in turn, each under its own id."""
    found: list[Frame] = []
    for number in range(COUNT):
        head = {"message_id": f"up-{number:03}"}
        match number % 3:
            case 0:
                found.append({"type": "message", "message_type": "note", "content": {"n": number}, **head})
            case 1:
                found.append({"type": "recommendation", "content": {"n": [number]}, **head})
            case 2:
                metrics = [{"cpu_usage_percent": number / 2, "custom_gauge": number}, {"memory_percent": 7}]
                found.append({"type": "monitoring", "metrics": metrics, **head})
    return found


def disturb(frames: list[Frame], *, seed: int) -> list[Frame]:
    """Repeat three in ten, up to thirty places later, and shuffle windows of ten."""
    chance = random.Random(seed)
    found = list(frames)
    for frame in chance.sample(frames, len(frames) * 3 // 10):
        found.insert(min(len(found), found.index(frame) + chance.randint(1, 30)), frame)
    for start in range(0, len(found), WINDOW):
        window = found[start : start + WINDOW]
        chance.shuffle(window)
        found[start : start + WINDOW] = window
    return found


def stored(name: str) -> tuple[list[Any], list[Any]]:
    """Return everything that was stored of an orchestrator, but for keys and times."""
    rows = Message.objects.filter(orchestrator__orchestrator_id=name).order_by("direction", "message_id")
    columns = (
        "direction",
        "message_id",
        "message_type",
        "message_content",
        "content_hash",
        "status",
        "error",
        "result",
    )
    metrics = SystemMetric.objects.filter(orchestrator_id=name).values_list(
        "cpu_usage_percent", "memory_percent", "custom"
    )
    return list(rows.values_list(*columns)), sorted(map(repr, metrics))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_replayed_and_shuffled_frames_leave_what_the_run_in_order_leaves(live: Live, seed: int) -> None:
    orderly, wild = f"orderly-{seed}", f"wild-{seed}"
    for name, frames in ((orderly, frames_up()), (wild, disturb(frames_up(), seed=seed))):
        peer = live.register(name, key=live.key())
        for frame in frames:
            peer.send(frame)
        answers = [peer.take("ack", 30) for _ in frames]
        assert sum(not answer["duplicate"] for answer in answers) == COUNT
        assert all(answer["success"] for answer in answers)
        peer.close()
    assert stored(wild) == stored(orderly)
    assert len(stored(wild)[0]) == COUNT * 2 // 3


def settle(live: Live, name: str, *, seed: int | None) -> None:
    """Queue messages to `name` and acknowledge them, every fifth as failed; with a seed, as `disturb` does."""
    live.register(name, key=live.key()).close()
    assert eventually(lambda: not live.row(name).is_connected)
    for number in range(30):
        messages.queue(name, message_type="order", content={"n": number}, acting_user=None)
    peer = live.register(name, key=live.key())
    answers: list[Frame] = []
    for number in range(30):
        frame = peer.take("order")
        answer = {"type": "ack", "message_id": frame["message_id"], "success": number % 5 > 0, "result": {"n": number}}
        answers.append(answer | ({"error": f"not {number}"} if number % 5 == 0 else {}))
    for answer in answers if seed is None else disturb(answers, seed=seed):
        peer.send(answer)
    rows = Message.objects.filter(orchestrator__orchestrator_id=name)
    assert eventually(lambda: not rows.filter(status__in=["pending", "sent"]).exists())
    assert peer.nothing(0.5, of="error") == []
    peer.close()


def test_replayed_and_shuffled_acknowledgements_settle_as_those_in_order(live: Live) -> None:
    for name, seed in (("calm", None), ("restless", 4)):
        settle(live, name, seed=seed)
    outcomes = []
    for name in ("calm", "restless"):
        rows = Message.objects.filter(orchestrator__orchestrator_id=name).order_by("id")
        outcomes.append(list(rows.values_list("message_content", "status", "error", "result", "attempts")))
    assert outcomes[0] == outcomes[1]
    assert [status for _, status, *_ in outcomes[0]].count("failed") == 6


def reports(peer: Peer, name: str, *, is_broken: bool) -> list[Frame]:
    """Change what `name` should run eleven times; return what it has to say of all twelve, in order."""
    hashes = [peer.seen[-1]["config_hash"]]
    for number in range(11):
        row = Instance.objects.get(orchestrator_id=name)
        hashes.append(instances.update(row, acting_user=None, features={"n": number}).config_hash)
    found: list[Frame] = []
    for place, config_hash in enumerate(hashes):
        head = {"type": "config_status", "config_hash": config_hash}
        outcome = (
            {"status": "failed", "error": f"not {place}"} if is_broken == (place % 3 > 0) else {"status": "applied"}
        )
        found += [{**head, "status": "applying"}, {**head, **outcome}]
    return found


def configured(live: Live, name: str) -> tuple[Any, ...]:
    """Return what is stored of its configuration and of what it said, but for times."""
    row = live.row(name)
    told = Event.objects.filter(orchestrator_id=name, kind__in=["config.applied", "config.failed"])
    is_reported = row.config_reported_hash == row.config_hash
    return row.config_version, row.config_status, row.config_error, is_reported, list(told.values_list("kind", "data"))


@pytest.mark.parametrize(("is_broken", "end"), [(False, ("applied", "")), (True, ("failed", "not 11"))])
def test_replayed_and_shuffled_config_statuses_end_as_those_in_order(
    live: Live, is_broken: bool, end: tuple[str, str]
) -> None:
    seeds = {f"config-{is_broken}-{seed}": seed for seed in (None, *range(1, 7))}
    peers = {name: live.register(name, key=live.key()) for name in seeds}
    frames = {name: reports(peer, name, is_broken=is_broken) for name, peer in peers.items()}
    for name, peer in peers.items():
        while peer.take("config_update")["version"] < 12:
            pass
        seed = seeds[name]
        for frame in frames[name] if seed is None else disturb(frames[name], seed=seed):
            peer.send(frame)
    for name, peer in peers.items():
        assert eventually(lambda name=name: live.row(name).config_status in ("applied", "failed"))  # type: ignore[misc]
        peer.ask({"type": "i_am_alive", "seq": 1}, "heartbeat_ack")
        assert [frame for frame in peer.seen if frame["type"] == "error"] == []
    found = {name: configured(live, name) for name in seeds}
    kind, data = f"config.{end[0]}", {"status": end[0], "error": end[1]}
    assert found == dict.fromkeys(seeds, (12, *end, True, [(kind, data)]))
