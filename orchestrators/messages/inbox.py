"""Messages up: stored exactly once by `message_id`, acknowledged only after the commit."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from django.db import IntegrityError, transaction
from django.utils import timezone

from orchestrators import protocol
from orchestrators.models import Message
from orchestrators.protocol import FrameError
from orgs import events
from orgs.models import Event


@dataclass(frozen=True, slots=True)
class Inbound:
    """A validated `message` or `recommendation` frame."""

    orchestrator_id: str
    organization_id: str
    message_id: str
    message_type: str
    content: Any
    content_hash: str
    weight: int


def check(session: Any, frame: dict[str, Any]) -> Inbound:
    """Validate a `recommendation`, or a `message` with its `message_type` (PROTOCOL §1)."""
    kind = "recommendation"
    if frame["type"] == "message":
        kind = protocol.text_field(frame, "message_type", limit=protocol.MAX_MESSAGE_TYPE_LENGTH)
        if not kind:
            raise FrameError("invalid_field", "Name the message's message_type.", path="message_type")
    content = frame.get("content")
    fingerprint = orjson.dumps([kind, content], option=orjson.OPT_SORT_KEYS)
    return Inbound(
        session.orchestrator_id,
        session.organization_id,
        protocol.message_id(frame),
        kind,
        {} if content is None else content,
        hashlib.sha256(fingerprint).hexdigest(),
        protocol.PARSED_PER_BYTE * len(fingerprint),
    )


def store(items: Sequence[Inbound]) -> list[str | FrameError]:
    """Store new messages in one statement; answer each with its `ack`, or `message_id_conflict`."""
    try:
        return _store(items)
    except IntegrityError:  # another process stored one of them at the same moment: it is known now
        return _store(items)


@transaction.atomic
def _store(items: Sequence[Inbound]) -> list[str | FrameError]:
    known = _known(items)
    fresh: dict[tuple[str, str], Message] = {}
    answers: list[str | FrameError] = []
    now = timezone.now()
    for item in items:
        key = (item.orchestrator_id, item.message_id)
        before = known.get(key)
        if before is None:
            known[key] = item.content_hash
            fresh[key] = _row(item, now=now)
        answers.append(_answer(item, before))
    inserted = Message.objects.bulk_create(fresh.values())
    events.record_many(
        Event(
            kind="message.received",
            organization_id=item.organization_id,
            orchestrator_id=item.orchestrator_id,
            data={"message_id": item.message_id, "message_type": item.message_type},
        )
        for item in {(entry.orchestrator_id, entry.message_id): entry for entry in items}.values()
        if (item.orchestrator_id, item.message_id) in fresh
    )
    assert len(inserted) == len(fresh)
    return answers


def _known(items: Sequence[Inbound]) -> dict[tuple[str, str], str]:
    rows = Message.objects.filter(
        orchestrator_id__in={item.orchestrator_id for item in items},
        direction=Message.Direction.INBOUND,
        message_id__in={item.message_id for item in items},
    )
    return {(a, b): c for a, b, c in rows.values_list("orchestrator__orchestrator_id", "message_id", "content_hash")}


def _row(item: Inbound, *, now: Any) -> Message:
    return Message(
        orchestrator_id=item.orchestrator_id,
        message_id=item.message_id,
        direction=Message.Direction.INBOUND,
        message_type=item.message_type,
        message_content=item.content,
        content_hash=item.content_hash,
        status=Message.Status.DELIVERED,
        finished_at=now,
    )


def _answer(item: Inbound, before: str | None) -> str | FrameError:
    if before is not None and before != item.content_hash:
        detail = "This message_id was used for another content; choose a new one."
        return FrameError("message_id_conflict", detail)
    return protocol.ack(item.message_id, duplicate=before is not None)
