"""The topic `messages` on `/ws`: a snapshot of the newest, then every change of state, inside one's organization."""

from collections.abc import Iterator
from typing import Any

import pytest

from monitoring.dashboard.mail import Mail
from moolai.testing.world import World
from orchestrators import messages
from orchestrators.messages import outbox
from orchestrators.messages.outbox import Receipt, Recipient
from orchestrators.models import Instance, Message
from orchestrators.tests.live import DEV_TOKEN, Live, Peer, running
from orgs.models import Event, Organization


@pytest.fixture(scope="module")
def live(world: World, django_db_blocker: Any) -> Iterator[Live]:
    with running(world, django_db_blocker) as found:
        yield found
        found.hang_up()


def watch(live: Live, token: str, **fields: Any) -> Peer:
    peer = live.peer()
    peer.send({"type": "subscribe", "topics": ["messages"], "token": token, **fields})
    assert peer.take("subscribed")["topics"] == ["messages"]
    return peer


def queue(name: str, kind: str = "order") -> Message:
    return messages.queue(name, message_type=kind, content={"secret": "of the content"}, acting_user=None)


def states(peer: Peer, message_id: str, *, last: str) -> list[str]:
    """Return the states that were shown of a message, up to `last`."""
    found: list[str] = []
    while not found or found[-1] != last:
        frame = peer.take("message")
        if frame["message_id"] == message_id and frame["status"] not in found[-1:]:
            found.append(frame["status"])
    return found


@pytest.mark.services
def test_a_message_is_followed_from_queued_to_delivered(live: Live) -> None:
    client = live.register("orch-seen", key=live.key())
    watcher = watch(live, DEV_TOKEN)
    row = queue("orch-seen")
    assert client.take("order")["message_id"] == row.message_id
    assert states(watcher, row.message_id, last="sent")[-1] == "sent"
    client.send({"type": "ack", "message_id": row.message_id, "success": True})
    assert states(watcher, row.message_id, last="delivered") == ["delivered"]
    frame = watcher.seen[-1]
    row.refresh_from_db()
    assert (frame["id"], frame["attempts"], frame["error"], frame["direction"]) == (row.pk, 1, "", "outbound")
    assert (frame["orchestrator_id"], frame["organization_id"]) == ("orch-seen", "acme")
    assert None not in (frame["created_at"], frame["sent_at"], frame["finished_at"])
    assert "secret" not in str(watcher.seen)


@pytest.mark.services
def test_what_comes_up_is_pushed_and_the_snapshot_has_it_later(live: Live) -> None:
    client = live.register("orch-up", key=live.key())
    watcher = watch(live, DEV_TOKEN)
    client.ask({"type": "recommendation", "message_id": "r-1", "content": {}}, "ack")
    assert states(watcher, "r-1", last="delivered") == ["delivered"]
    assert watcher.seen[-1]["direction"] == "inbound"
    assert states(watch(live, DEV_TOKEN), "r-1", last="delivered") == ["delivered"]


@pytest.mark.services
def test_a_key_sees_messages_of_its_own_organization_only(live: Live) -> None:
    for organization in ("acme", "zeta"):
        live.register(f"orch-{organization}", key=live.key(organization)).close()
    queue("orch-acme", "mine"), queue("orch-zeta", "foreign")
    watcher = watch(live, live.key("acme", role="viewer"))
    late = queue("orch-zeta", "foreign")
    mine = queue("orch-acme", "mine")
    states(watcher, mine.message_id, last="pending")
    assert {frame.get("organization_id", "acme") for frame in watcher.seen} == {"acme"}
    assert late.message_id not in str(watcher.seen)
    narrowed = watch(live, DEV_TOKEN, organization_id="zeta")
    states(narrowed, late.message_id, last="pending")
    assert {frame.get("organization_id", "zeta") for frame in narrowed.seen} == {"zeta"}


@pytest.fixture
def instance(transactional_db: None) -> Instance:
    organization = Organization.objects.create(organization_id="acme", name="Acme")
    return Instance.objects.create(orchestrator_id="a", organization=organization)


def test_a_look_at_open_messages_that_stand_still_shows_nothing(
    instance: Instance, django_assert_num_queries: Any
) -> None:
    rows = [queue("a") for _ in range(60)]
    mail = Mail()
    assert [frame["id"] for frame in mail.read([])] == [row.pk for row in rows[10:]]
    with django_assert_num_queries(1):
        assert mail.read([]) == []
    outbox.take([Recipient("a", frozenset())])
    assert {(frame["status"], frame["attempts"]) for frame in mail.read([])} == {("sent", 1)}
    outbox.acknowledge([Receipt("a", "acme", rows[0].message_id, False, "no", None)])
    told = list(Event.objects.filter(kind="message.failed"))
    [frame] = mail.read(told)
    assert (frame["id"], frame["status"], frame["error"]) == (rows[0].pk, "failed", "no")
    assert mail.read([]) == []


def test_only_so_many_are_followed(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.dashboard.mail.MAX_FOLLOWED", 5)
    mail = Mail()
    mail.read([])
    rows = [queue("a") for _ in range(8)]
    assert len(mail.read(list(Event.objects.filter(kind="message.queued")))) == 8
    outbox.take([Recipient("a", frozenset())])
    assert {frame["id"] for frame in mail.read([])} == {row.pk for row in rows[3:]}
