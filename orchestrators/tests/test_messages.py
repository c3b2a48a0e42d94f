"""Messages down: queued, sent in order, acknowledged, repeated, given up; and up: stored exactly once."""

import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.utils import timezone

from moolai.errors import AppError, InvalidInput, NotFound
from moolai.testing.world import World
from orchestrators import instances, messages, protocol
from orchestrators.messages import outbox
from orchestrators.messages.outbox import Receipt, Recipient
from orchestrators.models import Instance, Message
from orchestrators.tests.live import Live, Peer, eventually, running
from orgs.models import AuditEntry, Event, Organization


@pytest.fixture(scope="module")
def live(world: World, django_db_blocker: Any) -> Iterator[Live]:
    env = {"MESSAGE_ACK_TIMEOUT_SEC": "1", "MESSAGE_MAX_ATTEMPTS": "2"}
    with running(world, django_db_blocker, env) as found:
        yield found
        found.hang_up()


def queue(orchestrator_id: str, content: Any = None, **fields: Any) -> Message:
    fields = {"message_type": "order", "acting_user": None, **fields}
    return messages.queue(orchestrator_id, content={} if content is None else content, **fields)


def ack(peer: Peer, message_id: str, **fields: Any) -> None:
    peer.send({"type": "ack", "message_id": message_id, "success": True, **fields})


def status_of(row: Message) -> str:
    row.refresh_from_db()
    return row.status


# --- over the wire --------------------------------------------------------------------------------------------------


@pytest.mark.services
def test_a_message_is_pending_then_sent_then_delivered(live: Live) -> None:
    key = live.key()
    live.register("orch-path", key=key).close()
    assert eventually(lambda: not live.row("orch-path").is_connected)
    row = queue("orch-path", {"do": ["this"], "ü": None})
    assert status_of(row) == "pending"
    peer = live.register("orch-path", key=key)
    frame = peer.take("order")
    assert frame == {
        "type": "order",
        "message_id": row.message_id,
        "content": {"do": ["this"], "ü": None},
        "attempt": 1,
    }
    assert status_of(row) == "sent"
    assert row.sent_at is not None
    ack(peer, row.message_id, result={"took_ms": 3})
    assert eventually(lambda: status_of(row) == "delivered")
    assert (row.result, row.error, row.attempts) == ({"took_ms": 3}, "", 1)
    assert row.finished_at is not None


@pytest.mark.services
def test_large_numbers_travel_down_as_they_were(live: Live) -> None:
    peer = live.register("orch-large", key=live.key())
    queue("orch-large", {"numbers": [1e20, -1e308, 2**63 - 1, 0.1]})
    assert peer.take("order")["content"] == {"numbers": [1e20, -1e308, 2**63 - 1, 0.1]}
    instances.update(live.row("orch-large"), acting_user=None, features={"limit": 1e20})
    assert peer.take("config_update")["config"]["features"] == {"limit": 1e20}
    peer.close()
    assert live.register("orch-large", key=live.key()).ack["success"] is True


@pytest.mark.services
def test_a_failed_one_is_failed_with_its_error_and_does_not_block_the_rest(live: Live) -> None:
    peer = live.register("orch-fail", key=live.key())
    first, second = queue("orch-fail"), queue("orch-fail")
    assert peer.take("order")["message_id"] == first.message_id
    ack(peer, first.message_id, success=False, error="no such tool")
    assert eventually(lambda: status_of(first) == "failed")
    assert first.error == "no such tool"
    assert second.message_id in {frame.get("message_id") for frame in [*peer.seen, peer.take("order")]}
    ack(peer, first.message_id)  # a repeat changes nothing
    ack(peer, second.message_id)
    assert eventually(lambda: status_of(second) == "delivered")
    assert status_of(first) == "failed"


@pytest.mark.services
def test_what_was_queued_while_offline_comes_oldest_first_and_32_at_a_time(live: Live) -> None:
    key = live.key()
    live.register("orch-window", key=key).close()
    rows = [queue("orch-window", {"n": number}) for number in range(40)]
    peer = live.register("orch-window", key=key)
    received = [peer.take("order") for _ in range(32)]
    assert [frame["message_id"] for frame in received] == [row.message_id for row in rows[:32]]
    assert peer.nothing(0.4, of="order") == []
    for frame in received[:8]:
        ack(peer, frame["message_id"])
    rest = [peer.take("order", 2) for _ in range(8)]
    fresh = [frame["message_id"] for frame in rest if frame["attempt"] == 1]
    assert fresh == [row.message_id for row in rows[32 : 32 + len(fresh)]]
    for frame in received[8:] + rest:
        ack(peer, frame["message_id"])
    assert eventually(
        lambda: Message.objects.filter(orchestrator__orchestrator_id="orch-window", status="delivered").count() == 40
    )


@pytest.mark.services
def test_what_nobody_acknowledges_is_sent_again_and_given_up(live: Live) -> None:
    peer = live.register("orch-deaf", key=live.key())
    row = queue("orch-deaf")
    attempts = [peer.take("order", 12) for _ in range(2)]
    assert [frame["attempt"] for frame in attempts] == [1, 2]
    assert len({frame["message_id"] for frame in attempts}) == 1
    assert eventually(lambda: status_of(row) == "failed", 12)
    assert "2 attempts" in row.error
    assert Event.objects.filter(orchestrator_id="orch-deaf", kind="message.failed").count() == 1
    later = queue("orch-deaf")
    assert peer.take("order", 3)["message_id"] == later.message_id


@pytest.mark.services
def test_through_the_api_a_message_is_there_at_once(live: Live) -> None:
    peer = live.register("orch-api", key=live.key())
    path = "/api/v1/internal/orchestrators/orch-api/messages"
    started = time.monotonic()
    status, body = live.call("POST", path, {"message_type": "restart", "message_content": {"in": 5}})
    frame = peer.take("restart")
    assert time.monotonic() - started < 0.8
    assert (status, body["data"]["status"]) == (202, "pending")
    assert (frame["message_id"], frame["content"]) == (body["data"]["message_id"], {"in": 5})
    for word in ("register", "ack", "i_am_alive", "provisioning", "task", "subscribe"):
        status, body = live.call("POST", path, {"message_type": word, "message_content": {}})
        assert (status, body["error"]) == (400, "reserved_message_type")


@pytest.mark.services
def test_messages_up_are_stored_once_with_their_content(live: Live) -> None:
    peer = live.register("orch-up", key=live.key())
    hello = {"type": "message", "message_type": "hello", "message_id": "up-1", "content": {"a": [1, {"b": None}]}}
    assert peer.ask(hello, "ack") == {"type": "ack", "message_id": "up-1", "success": True, "duplicate": False}
    assert peer.ask({"type": "recommendation", "message_id": "up-2"}, "ack")["duplicate"] is False
    assert peer.ask(hello, "ack")["duplicate"] is True
    rows = Message.objects.filter(orchestrator__orchestrator_id="orch-up").order_by("id")
    stored = list(rows.values_list("message_id", "direction", "message_type", "message_content", "status"))
    assert stored == [
        ("up-1", "inbound", "hello", {"a": [1, {"b": None}]}, "delivered"),
        ("up-2", "inbound", "recommendation", {}, "delivered"),
    ]


@pytest.mark.services
def test_duplicates_in_one_breath_and_after_a_reconnect_are_stored_once(live: Live) -> None:
    key = live.key()
    peer = live.register("orch-dup", key=key)
    for _ in range(3):
        peer.send({"type": "recommendation", "message_id": "same", "content": {"n": 1}})
    answers = [peer.take("ack")["duplicate"] for _ in range(3)]
    assert answers == [False, True, True]
    peer.close()
    again = live.register("orch-dup", key=key)
    assert again.ask({"type": "recommendation", "message_id": "same", "content": {"n": 1}}, "ack")["duplicate"] is True
    assert Message.objects.filter(orchestrator__orchestrator_id="orch-dup").count() == 1


@pytest.mark.services
def test_one_id_of_two_orchestrators_are_two_messages(live: Live) -> None:
    for name in ("orch-left", "orch-right"):
        peer = live.register(name, key=live.key())
        assert (
            peer.ask({"type": "recommendation", "message_id": "shared", "content": name}, "ack")["duplicate"] is False
        )
    assert Message.objects.filter(message_id="shared").count() == 2


@pytest.mark.services
def test_an_upward_id_equal_to_a_downward_one_settles_nothing(live: Live) -> None:
    peer = live.register("orch-both", key=live.key())
    row = queue("orch-both")
    frame = peer.take("order")
    sent = {"type": "recommendation", "message_id": frame["message_id"], "content": {}}
    assert peer.ask(sent, "ack")["success"] is True
    assert peer.nothing(0.5, of="order") == []
    assert status_of(row) == "sent"
    ack(peer, row.message_id)
    assert eventually(lambda: status_of(row) == "delivered")


@pytest.mark.services
def test_to_a_client_that_acknowledges_nothing_it_is_delivered_once_it_is_written(live: Live) -> None:
    peer = live.peer(Authorization=f"Bearer {live.key()}")
    peer.send({"type": "handshake", "service": "orchestrator", "data": {"orchestrator_id": "orch-legacy"}})
    assert peer.take("handshake_ack")["success"] is True
    rows = [queue("orch-legacy", {"n": number}) for number in range(40)]
    assert [peer.take("order")["content"]["n"] for _ in range(40)] == list(range(40))
    assert eventually(lambda: {status_of(row) for row in rows} == {"delivered"})
    assert {row.attempts for row in rows} == {1}
    assert Event.objects.filter(orchestrator_id="orch-legacy", kind="message.delivered").count() == 40


@pytest.mark.services
def test_an_acknowledgement_counts_when_the_line_is_cut_right_behind_it(live: Live) -> None:
    rows = [queue_for_new(live, f"orch-cut-{number}") for number in range(5)]
    for number, row in enumerate(rows):
        peer = live.register(f"orch-cut-{number}", key=live.key())
        ack(peer, peer.take("order")["message_id"])
        peer.close()
        assert eventually(partial(is_status, row, "delivered")), number


def is_status(row: Message, status: str) -> bool:
    return status_of(row) == status


def queue_for_new(live: Live, name: str) -> Message:
    live.register(name, key=live.key()).close()
    return queue(name)


# --- rows alone -----------------------------------------------------------------------------------------------------


@pytest.fixture
def instance(transactional_db: None) -> Instance:
    organization = Organization.objects.create(organization_id="acme", name="Acme")
    return Instance.objects.create(orchestrator_id="a", organization=organization, is_connected=True, node="n")


def take(*in_flight: str) -> list[int]:
    [taken] = outbox.take([Recipient("a", frozenset(in_flight))])
    return [parcel.pk for parcel in taken.parcels]


def test_queueing_is_audited_and_refuses_what_cannot_be_sent(instance: Instance) -> None:
    queue("a")
    assert AuditEntry.objects.filter(action="message.queue", target_id="a").count() == 1
    with pytest.raises(NotFound):
        queue("nobody")
    for kind in ("", "x" * 51):
        with pytest.raises(InvalidInput):
            queue("a", message_type=kind)
    with pytest.raises(InvalidInput):
        queue("a", "x" * 300_000)
    for kind in sorted(protocol.RESERVED_TYPES):
        with pytest.raises(AppError, match="belongs to the protocol"):
            queue("a", message_type=kind)
    assert Message.objects.count() == 1


def test_a_message_that_expired_is_not_sent_and_says_so(instance: Instance) -> None:
    gone, good = queue("a", expires_in_seconds=0), queue("a", expires_in_seconds=60)
    assert take() == [good.pk]
    assert (status_of(gone), status_of(good)) == ("expired", "sent")
    assert outbox.expire(now=timezone.now()) == 0
    assert outbox.expire(now=timezone.now() + timedelta(seconds=61)) == 1
    assert status_of(good) == "expired"
    assert Event.objects.filter(kind="message.expired").count() == 2
    assert outbox.acknowledge([Receipt("a", "acme", good.message_id, True, "", None)]) == [None]
    assert status_of(good) == "expired"


def test_what_is_in_flight_is_not_taken_again_before_it_is_due(instance: Instance) -> None:
    row = queue("a")
    assert take() == [row.pk]
    assert take(row.message_id) == []
    Message.objects.filter(pk=row.pk).update(next_attempt_at=timezone.now() - timedelta(seconds=1))
    assert take(row.message_id) == [row.pk]
    assert take() == [row.pk]  # on a new session at once
    row.refresh_from_db()
    assert row.attempts == 3


def test_the_pause_between_attempts_doubles(instance: Instance) -> None:
    row = queue("a")
    pauses = []
    for _ in range(4):
        take()
        row.refresh_from_db()
        assert row.next_attempt_at is not None
        assert row.sent_at is not None
        pauses.append(round((row.next_attempt_at - row.sent_at).total_seconds()))
    assert pauses == [15, 30, 60, 120]


def test_a_client_that_comes_back_all_the_time_does_not_put_the_end_off(instance: Instance) -> None:
    row = queue("a")
    for _ in range(8):
        take()
    row.refresh_from_db()
    due_at = row.next_attempt_at
    for _ in range(3):
        assert take() == [row.pk]
    row.refresh_from_db()
    assert (row.attempts, row.next_attempt_at) == (8, due_at)
    assert due_at is not None
    assert due_at > timezone.now() + timedelta(seconds=290)


def test_after_the_last_attempt_it_is_failed(instance: Instance) -> None:
    row = queue("a")
    for _ in range(8):
        assert take() == [row.pk]
    assert take() == [row.pk], "a new session gets it once more: only time uses attempts up"
    Message.objects.filter(pk=row.pk).update(next_attempt_at=timezone.now())
    assert take() == []
    assert status_of(row) == "failed"


def test_only_so_much_is_taken_at_a_time_and_the_rest_in_order(instance: Instance) -> None:
    rows = [queue("a", {"text": "x" * 30_000}) for _ in range(7)]
    taken = [outbox.take([Recipient("a", frozenset())])[0]]
    while taken[-1].has_more:
        held = frozenset(parcel.message_id for part in taken for parcel in part.parcels)
        taken.append(outbox.take([Recipient("a", held)])[0])
    assert [len(part.parcels) for part in taken] == [3, 3, 1]
    assert [parcel.pk for part in taken for parcel in part.parcels] == [row.pk for row in rows]
    assert {row.pk: row.attempts for row in Message.objects.all()} == {row.pk: 1 for row in rows}


def test_all_sessions_together_take_only_so_much(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "BATCH_BYTES", 40_000)
    monkeypatch.setattr(outbox, "SLICE_ROWS", 2)
    Instance.objects.create(orchestrator_id="b", organization=instance.organization, is_connected=True, node="n")
    for name in ("a", "b", "a", "b", "a"):
        queue(name, {"text": "x" * 25_000})
    found = outbox.take([Recipient("a", frozenset()), Recipient("b", frozenset())])
    assert [(len(part.parcels), part.has_more) for part in found] == [(1, True), (1, True)]
    assert Message.objects.filter(status="pending").count() == 3


def test_what_expired_makes_room_at_once_and_is_told(instance: Instance) -> None:
    gone = [queue("a", expires_in_seconds=0) for _ in range(32)]
    good = queue("a")
    [taken] = outbox.take([Recipient("a", frozenset())])
    assert (taken.parcels, taken.has_more) == ([], True)
    assert {status_of(row) for row in gone} == {"expired"}
    assert Event.objects.filter(kind="message.expired", orchestrator_id="a", organization_id="acme").count() == 32
    assert take() == [good.pk]


def test_the_sweep_finds_what_a_lost_wake_up_left_behind(instance: Instance) -> None:
    queue("a")
    assert outbox.awaiting("n", now=timezone.now()) == ["a"]
    assert outbox.awaiting("another", now=timezone.now()) == []
    take()
    assert outbox.awaiting("n", now=timezone.now()) == []
    assert outbox.awaiting("n", now=timezone.now() + timedelta(seconds=16)) == ["a"]
