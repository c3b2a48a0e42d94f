"""Entries: one answer as it is kept. Pure."""

import struct
from dataclasses import asdict, dataclass
from typing import Final

import orjson

MAX_BYTES: Final = 1024 * 1024  # of an answer, and of the stream it came in
OVERHEAD_BYTES: Final = 1_024  # what an entry takes besides its content, roughly
_HEAD: Final = struct.Struct("<I")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An answer as a whole, in its surface's form: who gave it, and what it had cost.

    `stored_at` is in seconds since 1970; `epoch` counts how often the organization emptied its cache before.
    """

    organization_id: str
    epoch: int
    provider: str
    model: str
    cost_usd_micros: int
    stored_at: float
    ttl_seconds: int
    content: bytes

    @property
    def size(self) -> int:
        """Return how many bytes it counts for."""
        return len(self.content) + OVERHEAD_BYTES

    def is_fresh(self, now: float, *, ttl_seconds: int) -> bool:
        """Say whether it may be served to somebody who takes answers of this age."""
        return now < self.stored_at + min(self.ttl_seconds, ttl_seconds)


def pack(entry: Entry) -> bytes:
    """Return an entry as it lies in Redis: the length of its head, the head as JSON, the content."""
    head = asdict(entry)
    del head["content"]
    told = orjson.dumps(head)
    return _HEAD.pack(len(told)) + told + entry.content


def unpack(data: bytes) -> Entry | None:
    """Return the entry, None when these bytes are none."""
    try:
        (length,) = _HEAD.unpack_from(data)
        end = _HEAD.size + length
        return Entry(**orjson.loads(data[_HEAD.size : end]), content=data[end:])
    except (struct.error, ValueError, TypeError):
        return None
