"""Contents: prompts and answers that an organization has kept; sealed on their way into the database."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import orjson
from django.db import transaction

from llm_gateway import policies
from llm_gateway.models import CallContent
from llm_gateway.watching import assembling
from orgs import sealed

MAX_BYTES: Final = 64 * 1024  # of a request, and of an answer
MAX_STREAM_BYTES: Final = 512 * 1024  # of the events of a stream, which say less than they are long
MAX_OPEN_BYTES: Final = 64 * 1024 * 1024  # of all calls of a process that are not over


class Room:
    """What the answers of all calls that are not over may take of a process's memory, and what is left of it."""

    def __init__(self, max_bytes: int = MAX_OPEN_BYTES) -> None:
        self.left_bytes = max_bytes

    def take(self, wanted_bytes: int) -> int:
        """Return how many bytes may be kept, and count them."""
        found = max(0, min(wanted_bytes, self.left_bytes))
        self.left_bytes -= found
        return found

    def leave(self, taken_bytes: int) -> None:
        """Give back what a call took that is over."""
        self.left_bytes += taken_bytes


@dataclass(slots=True)
class Heard:
    """A call whose content is to be kept: its request's document, and what its client was sent so far.

    What has no room, of its own or of all calls together, is dropped with all that comes after it; the row says so.
    """

    call_id: str
    organization_id: str
    request: Any = field(repr=False)
    request_bytes: int
    is_stream: bool
    kept_at: datetime
    parts: list[bytes] = field(default_factory=list, repr=False)
    room: Room = field(default_factory=Room, repr=False)
    kept_bytes: int = 0
    is_cut: bool = False
    is_over: bool = False

    @property
    def max_bytes(self) -> int:
        """How many bytes of an answer are kept."""
        return MAX_STREAM_BYTES if self.is_stream else MAX_BYTES

    @property
    def size(self) -> int:
        """How many bytes of memory this takes, more or less."""
        return self.request_bytes + self.kept_bytes

    def take(self, part: bytes) -> None:
        """Note what the client is sent."""
        if self.is_over or self.is_cut or not part:
            return
        found = self.room.take(min(len(part), self.max_bytes - self.kept_bytes))
        if found:
            self.parts.append(part[:found])
        self.kept_bytes += found
        self.is_cut = found < len(part)

    def close(self) -> None:
        """Take nothing more: the call is over, and leaves its room to others."""
        if not self.is_over:
            self.is_over = True
            self.room.leave(self.kept_bytes)


def write(found: Sequence[Heard]) -> int:
    """Keep the contents of calls; return how many of their organizations still want that."""
    rows = [_row(heard) for heard in found]
    with transaction.atomic():
        wanted = policies.keeping({heard.organization_id for heard in found})
        kept = [row for row in rows if row.organization_id in wanted]
        CallContent.objects.bulk_create(kept, batch_size=50, ignore_conflicts=True)
    return len(kept)


def _row(heard: Heard) -> CallContent:
    request, is_request_cut = _cut(_json(heard.request))
    answer, is_answer_cut = _cut(_answer(heard))
    row = CallContent(
        call_id=heard.call_id,
        organization_id=heard.organization_id,
        is_request_truncated=is_request_cut,
        is_answer_truncated=is_answer_cut or heard.is_cut,
        kept_at=heard.kept_at,
    )
    sealed.put(row, "request", request)
    sealed.put(row, "answer", answer)
    return row


def _answer(heard: Heard) -> bytes:
    content = b"".join(heard.parts)
    return assembling.said(content).encode("utf-8", "replace") if heard.is_stream else content


def _json(document: Any) -> bytes:
    try:
        return orjson.dumps(document)
    except TypeError:  # a number or a text that JSON takes and orjson does not
        return json.dumps(document).encode()


def _cut(content: bytes) -> tuple[str, bool]:
    """Return a text of MAX_BYTES at most, and whether it was longer."""
    return content[:MAX_BYTES].decode("utf-8", "ignore"), len(content) > MAX_BYTES


def find(organization_id: str, call_id: str) -> CallContent | None:
    """Return what was kept of a call."""
    return CallContent.objects.filter(organization_id=organization_id, pk=call_id).first()


@dataclass(frozen=True, slots=True, repr=False)
class Opened:
    """A content as its readers see it; without a repr, which templates that miss a variable write into the log."""

    request: str
    answer: str
    is_request_truncated: bool
    is_answer_truncated: bool
    kept_at: datetime


def opened(row: CallContent) -> Opened:
    """Return a content as its readers see it; raises `vault.Unreadable`."""
    return Opened(
        sealed.read(row, "request"),
        sealed.read(row, "answer"),
        row.is_request_truncated,
        row.is_answer_truncated,
        row.kept_at,
    )
