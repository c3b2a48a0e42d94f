"""Writers of several messages take their locks in the order of keys: none of them is a deadlock's victim."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections, transaction
from django.utils import timezone

from orchestrators import instances, messages
from orchestrators.messages import outbox
from orchestrators.messages.outbox import Receipt, Recipient
from orchestrators.models import Message
from orgs import organizations
from orgs.models import Event

pytestmark = pytest.mark.once("postgres")  # SQLite has one writer at a time
PATIENCE_SECONDS = 0.3


@pytest.fixture
def orchestrator(transactional_db: None) -> str:
    home = organizations.create("acme", name="Acme", acting_user=None)
    return instances.create("a", organization=home, acting_user=None).orchestrator_id


@pytest.fixture
def elsewhere(transactional_db: None) -> Iterator[ThreadPoolExecutor]:
    """A thread with a connection of its own."""
    with ThreadPoolExecutor(1) as pool:
        yield pool
        pool.submit(connections.close_all).result()


def waiting(**changed: Any) -> Message:
    row = messages.queue("a", message_type="order", content={}, acting_user=None)
    Message.objects.filter(pk=row.pk).update(**changed)
    return row


def sent() -> Message:
    return waiting(status="sent", attempts=1)


def expired() -> Message:
    return waiting(expires_at=timezone.now())


def exhausted() -> Message:
    return waiting(status="sent", attempts=8, next_attempt_at=timezone.now() - timedelta(seconds=1))


def acknowledge_backwards(rows: Sequence[Message]) -> None:
    receipts = [Receipt("a", "acme", row.message_id, True, "", None) for row in reversed(rows)]
    assert outbox.acknowledge(receipts) == [None] * len(rows)


def take(_rows: Sequence[Message]) -> None:
    outbox.take([Recipient("a", frozenset())])


@pytest.mark.parametrize(
    ("first", "second", "work", "end"),
    [
        (sent, sent, acknowledge_backwards, ["delivered", "delivered"]),
        (expired, exhausted, take, ["expired", "failed"]),
        (waiting, expired, take, ["sent", "expired"]),
        (waiting, exhausted, take, ["sent", "failed"]),
    ],
)
def test_who_waits_for_a_message_holds_none_above_it(
    orchestrator: str,
    elsewhere: ThreadPoolExecutor,
    first: Callable[[], Message],
    second: Callable[[], Message],
    work: Callable[[Sequence[Message]], None],
    end: list[str],
) -> None:
    rows = [first(), second()]
    with transaction.atomic():
        Message.objects.select_for_update().get(pk=rows[0].pk)
        answer = elsewhere.submit(work, rows)
        time.sleep(PATIENCE_SECONDS)
        assert not answer.done(), "it waits for the first one"
        Message.objects.select_for_update(nowait=True).get(pk=rows[1].pk)
    answer.result(10)
    assert list(Message.objects.order_by("pk").values_list("status", flat=True)) == end


def test_of_two_answers_to_one_message_the_first_counts(orchestrator: str) -> None:
    rows = [sent() for _ in range(3)]
    receipts = [Receipt("a", "acme", row.message_id, True, "", None) for row in rows]
    refusals = [Receipt("a", "acme", row.message_id, False, "no", None) for row in rows]
    assert outbox.acknowledge([refusals[2], receipts[0], refusals[0], receipts[2], receipts[1]]) == [None] * 5
    ends = list(Message.objects.order_by("pk").values_list("status", "error"))
    assert ends == [("delivered", ""), ("delivered", ""), ("failed", "no")]
    told = Event.objects.filter(kind__in=["message.delivered", "message.failed"])
    assert sorted(told.values_list("data__message_id", flat=True)) == sorted(row.message_id for row in rows)
