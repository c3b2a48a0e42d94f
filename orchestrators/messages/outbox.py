"""Messages down: the row is the queue; `pending → sent → delivered | failed | expired`."""

import secrets
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from moolai.errors import AppError, Conflict, InvalidInput, NotFound
from orchestrators import protocol
from orchestrators.models import Instance, Message
from orchestrators.protocol import FrameError
from orgs import audit, events
from orgs.models import Event, User

Status = Message.Status
OPEN: Final = Q(direction=Message.Direction.OUTBOUND, status__in=[Status.PENDING, Status.SENT])
MAX_BACKOFF_SECONDS: Final = 300
PARCEL_BYTES: Final = 64 * 1024  # a session takes no further message once it has so much to write
BATCH_BYTES: Final = 4 * 1024 * 1024  # nor does anybody, once all sessions together have so much
SLICE_ROWS: Final = 16  # contents that are read at a time
EXPIRED_AT_ONCE: Final = 2000


def check(message_type: str, content: Any) -> None:
    """Raise `invalid_field` or `reserved_message_type` for what cannot be sent."""
    if not message_type or len(message_type) > protocol.MAX_MESSAGE_TYPE_LENGTH:
        limit = protocol.MAX_MESSAGE_TYPE_LENGTH
        raise InvalidInput(fields={"message_type": f"Give a type of at most {limit} characters."})
    if message_type in protocol.RESERVED_TYPES:
        raise AppError("reserved_message_type", f"{message_type!r} belongs to the protocol; choose another type.")
    if len(protocol.encode({"content": content})) > protocol.MAX_FRAME_BYTES - 1024:
        raise InvalidInput(fields={"message_content": "The content must fit a frame of 256 KiB."})


@transaction.atomic
def queue(
    orchestrator_id: str,
    *,
    message_type: str,
    content: Any,
    acting_user: User | None,
    expires_in_seconds: float | None = None,
) -> Message:
    """Queue a message to an orchestrator and wake the process that holds its session; returns the pending row.

    Raises NotFound, `reserved_message_type`, or `invalid_field`.
    """
    instance = Instance.objects.present().filter(orchestrator_id=orchestrator_id).first()
    if instance is None:
        raise NotFound
    check(message_type, content)
    now = timezone.now()
    message = Message.objects.create(
        orchestrator_id=orchestrator_id,
        message_id=f"msg_{secrets.token_hex(12)}",
        message_type=message_type,
        message_content=content,
        expires_at=now + timedelta(seconds=expires_in_seconds) if expires_in_seconds is not None else None,
        created_by=acting_user,
    )
    target = ("orchestrator", orchestrator_id)
    after = {"message_id": message.message_id, "message_type": message_type}
    organization_id = instance.organization_id
    audit.record("message.queue", acting_user=acting_user, organization_id=organization_id, target=target, after=after)
    events.record("message.queued", organization_id=organization_id, orchestrator_id=orchestrator_id, data=after)
    return message


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message marked `sent` whose frame may go on the wire."""

    pk: int
    orchestrator_id: str
    message_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Recipient:
    """An open session to send to, and what is in flight on it already."""

    orchestrator_id: str
    in_flight: frozenset[str]


@dataclass(frozen=True, slots=True)
class Taken:
    """What goes on the wire now, which of a session's messages are open at all, and whether to take again after it."""

    parcels: list[Parcel]
    open_ids: frozenset[str]
    has_more: bool = False


@transaction.atomic
def take(recipients: Sequence[Recipient]) -> list[Taken]:
    """Mark what may be sent now as `sent` and return it per recipient, oldest first.

    At most MESSAGE_WINDOW are in flight for each. A message already in flight on the session is taken again only when
    its acknowledgement is overdue; one sent on an earlier session is taken at once. Little is taken at a time
    (PARCEL_BYTES, BATCH_BYTES): what a client does not read stays in the database, not in memory.
    """
    now = timezone.now()
    by_id = {recipient.orchestrator_id: recipient for recipient in recipients}
    open_ids: dict[str, set[str]] = defaultdict(set)
    exhausted, expired, sendable = [], [], []
    for message in _window(by_id):
        open_ids[message.orchestrator_id].add(message.message_id)
        is_due = message.next_attempt_at is None or message.next_attempt_at <= now
        if message.message_id in by_id[message.orchestrator_id].in_flight and not is_due:
            continue
        if message.expires_at is not None and message.expires_at <= now:
            expired.append(message)
        # Only time uses attempts up: a flaky link must not fail a message within seconds.
        elif is_due and message.attempts >= settings.MESSAGE_MAX_ATTEMPTS:
            exhausted.append(message)
        else:
            sendable.append(message)
    if exhausted or expired:
        _hold([*exhausted, *expired, *sendable])
    _close(exhausted, Status.FAILED, now=now)
    _close(expired, Status.EXPIRED, now=now)
    parcels, left = _pack(sendable, now=now)
    left |= {message.orchestrator_id for message in (*exhausted, *expired)}  # they made room in the window
    return [Taken(parcels[name], frozenset(open_ids[name]), name in left) for name in map(_name, recipients)]


def _name(recipient: Recipient) -> str:
    return recipient.orchestrator_id


def _window(orchestrator_ids: Collection[str]) -> QuerySet[Message]:
    """Return the oldest MESSAGE_WINDOW open messages of each orchestrator, without their content."""
    place = Window(RowNumber(), partition_by=F("orchestrator_id"), order_by=F("id").asc())
    rows = Message.objects.filter(OPEN, orchestrator__orchestrator_id__in=orchestrator_ids).annotate(place=place)
    return rows.filter(place__lte=settings.MESSAGE_WINDOW).defer("message_content", "result").order_by("id")


def _hold(rows: Sequence[Message]) -> None:
    """Lock messages in the order of their keys, which every writer of several keeps to."""
    held = Message.objects.filter(pk__in=[row.pk for row in rows]).select_for_update(no_key=True).order_by("pk")
    list(held.values_list("pk"))


def _pack(rows: Sequence[Message], *, now: datetime) -> tuple[dict[str, list[Parcel]], set[str]]:
    """Read contents and mark as `sent` until enough is taken; return the parcels, and for whom some were left."""
    parcels: dict[str, list[Parcel]] = defaultdict(list)
    weights: Counter[str] = Counter()
    left: set[str] = set()
    for start in range(0, len(rows), SLICE_ROWS):
        chosen = [row for row in rows[start : start + SLICE_ROWS] if weights[row.orchestrator_id] < PARCEL_BYTES]
        if weights.total() >= BATCH_BYTES:
            chosen = []
        contents = dict(Message.objects.filter(pk__in=[row.pk for row in chosen]).values_list("pk", "message_content"))
        for row in rows[start : start + SLICE_ROWS]:
            name = row.orchestrator_id
            if row.pk not in contents or weights[name] >= PARCEL_BYTES:
                left.add(name)
            elif _mark_sent(row, now=now):
                parcel = _parcel(row, contents.pop(row.pk))
                weights[name] += len(parcel.text)
                parcels[name].append(parcel)
    return parcels, left


def _mark_sent(message: Message, *, now: datetime) -> bool:
    """Note another attempt; behind the last one, new sessions get it at once without putting its end off."""
    changed: dict[str, Any] = {"status": Status.SENT, "sent_at": now, "updated_at": now}
    if message.attempts < settings.MESSAGE_MAX_ATTEMPTS:
        message.attempts += 1
        pause = min(settings.MESSAGE_ACK_TIMEOUT_SEC * 2 ** (message.attempts - 1), MAX_BACKOFF_SECONDS)
        changed |= {"attempts": message.attempts, "next_attempt_at": now + timedelta(seconds=pause)}
    return bool(Message.objects.filter(OPEN, pk=message.pk).update(**changed))


def _parcel(message: Message, content: Any) -> Parcel:
    frame = {
        "type": message.message_type,
        "message_id": message.message_id,
        "content": content,
        "attempt": message.attempts,
    }
    return Parcel(message.pk, message.orchestrator_id, message.message_id, protocol.dump(frame))


def _close(rows: Sequence[Message], status: Status, *, now: datetime) -> int:
    """Mark open messages as failed or expired, with the reason and an event each; return how many."""
    organizations = dict(
        Instance.objects.filter(orchestrator_id__in={row.orchestrator_id for row in rows}).values_list(
            "orchestrator_id", "organization_id"
        )
        if rows
        else []
    )
    told = []
    for row in rows:
        tries = f"{row.attempts} attempt{'s' * (row.attempts != 1)}"
        reason = f"not acknowledged in {tries}" if status == Status.FAILED else "expired before it was delivered"
        changed = {"status": status, "error": reason, "finished_at": now, "updated_at": now, "next_attempt_at": None}
        if Message.objects.filter(OPEN, pk=row.pk).update(**changed):
            told.append(
                Event(
                    kind=f"message.{status}",
                    organization_id=organizations[row.orchestrator_id],
                    orchestrator_id=row.orchestrator_id,
                    data={"message_id": row.message_id, "message_type": row.message_type, "error": reason},
                )
            )
    events.record_many(told)
    return len(told)


def awaiting(node_id: str, *, now: datetime) -> list[str]:
    """Return the orchestrators connected to `node_id` that have a message due: what a lost wake-up left behind."""
    due = Q(next_attempt_at__isnull=True) | Q(next_attempt_at__lte=now)
    rows = Message.objects.filter(OPEN, due, orchestrator__is_connected=True, orchestrator__node=node_id)
    return list(rows.order_by().values_list("orchestrator__orchestrator_id", flat=True).distinct()[:2000])


@dataclass(frozen=True, slots=True)
class Receipt:
    """A validated `ack` frame."""

    orchestrator_id: str
    organization_id: str
    message_id: str
    is_success: bool
    error: str
    result: Any


def check_ack(session: Any, frame: dict[str, Any]) -> Receipt:
    """Validate an `ack` (PROTOCOL §1)."""
    success = frame.get("success", True)
    if type(success) is not bool:
        raise FrameError("invalid_field", "success must be true or false.", path="success")
    reference = protocol.message_id(frame)
    error = protocol.text_field(frame, "error", limit=protocol.MAX_STRING_BYTES)[:1000]
    return Receipt(session.orchestrator_id, session.organization_id, reference, success, error, frame.get("result"))


def written(parcel: Parcel, session: Any) -> Receipt:
    """Return the receipt of a message that was written to a client that acknowledges nothing."""
    return Receipt(parcel.orchestrator_id, session.organization_id, parcel.message_id, True, "", None)


@transaction.atomic
def acknowledge(receipts: Sequence[Receipt]) -> list[None | FrameError]:
    """Settle messages as their receivers say; an ack for what was never sent is `unknown_ref`, a repeat is ignored."""
    now = timezone.now()
    rows = Message.objects.filter(
        orchestrator_id__in={receipt.orchestrator_id for receipt in receipts},
        direction=Message.Direction.OUTBOUND,
        message_id__in={receipt.message_id for receipt in receipts},
    )
    known = {(row.orchestrator_id, row.message_id): row for row in rows.defer("message_content")}
    answers: list[None | FrameError] = []
    settled: list[tuple[Message, Receipt]] = []
    for receipt in receipts:
        message = known.get((receipt.orchestrator_id, receipt.message_id))
        if message is None or not message.attempts:
            answers.append(FrameError("unknown_ref", "No message of this id was sent to this orchestrator."))
            continue
        settled.append((message, receipt))
        answers.append(None)
    settled.sort(key=lambda pair: pair[0].pk)  # locks are taken in the order of keys; of two receipts the first counts
    events.record_many(filter(None, [_settle(message, receipt, now=now) for message, receipt in settled]))
    return answers


def _settle(message: Message, receipt: Receipt, *, now: datetime) -> Event | None:
    status = Status.DELIVERED if receipt.is_success else Status.FAILED
    changed = {
        "status": status,
        "error": receipt.error,
        "result": receipt.result,
        "finished_at": now,
        "updated_at": now,
    }
    if not Message.objects.filter(pk=message.pk, status=Status.SENT).update(**changed, next_attempt_at=None):
        return None
    return Event(
        kind=f"message.{status}",
        organization_id=receipt.organization_id,
        orchestrator_id=receipt.orchestrator_id,
        data={"message_id": message.message_id, "message_type": message.message_type, "error": receipt.error},
    )


BY_HAND: Final = {
    Status.FAILED: (Status.PENDING, Status.SENT),
    Status.EXPIRED: (Status.PENDING, Status.SENT),
    Status.DELIVERED: (Status.SENT,),
    Status.PENDING: (Status.FAILED, Status.EXPIRED),
}


@transaction.atomic
def set_status(message: Message, status: str, *, acting_user: User | None, error: str = "") -> Message:
    """Change a message's status by hand, along the state machine; `conflict` where that does not allow it.

    `pending` queues a failed or expired one anew, with its attempts counted from nothing.
    """
    now = timezone.now()
    changed: dict[str, Any] = {"status": status, "error": error[:1000], "finished_at": now, "updated_at": now}
    changed["next_attempt_at"] = None
    if status == Status.PENDING:
        changed |= {"attempts": 0, "finished_at": None, "expires_at": None, "sent_at": None}
    allowed = BY_HAND.get(Status(status), ())
    rows = Message.objects.filter(pk=message.pk, direction=Message.Direction.OUTBOUND, status=message.status)
    if message.status not in allowed or not rows.update(**changed):
        raise Conflict(detail=f"A message that is {message.status} cannot become {status}.")
    before = {"status": message.status}
    message.refresh_from_db()
    organization_id = message.orchestrator.organization_id
    audit.record(
        "message.status",
        acting_user=acting_user,
        organization_id=organization_id,
        target=("message", message.message_id),
        before=before,
        after={"status": status, "error": error},
    )
    kind = "message.queued" if status == Status.PENDING else f"message.{status}"
    data = {"message_id": message.message_id, "error": error}
    events.record(kind, organization_id=organization_id, orchestrator_id=message.orchestrator_id, data=data)
    return message


@transaction.atomic
def expire(*, now: datetime) -> int:
    """Mark open messages past their expiry as expired, some thousands at a time; return how many."""
    overdue = Message.objects.filter(OPEN, expires_at__lte=now).defer("message_content", "result").order_by("id")
    return _close(list(overdue[:EXPIRED_AT_ONCE]), Status.EXPIRED, now=now)
