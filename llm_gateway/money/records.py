"""Records of a journal: how they lie in the file, and what is in them; pure, no Django.

A record is its length (4 bytes), its CRC-32 (4 bytes), and JSON. One that was cut off at any byte, or whose bytes
are not those that were written, is not a record: reading ends before it.
Records have no slots: orjson writes them three times as fast without.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import orjson

MAX_BYTES: Final = 65_536
MOST: Final = 2**53
_HEAD: Final = struct.Struct("<II")
MOST_BYTES: Final = _HEAD.size + MAX_BYTES  # of one record


@dataclass(kw_only=True)
class Begin:
    """A call that is about to be made: who, which model, and what it reserved. Nothing of its content."""

    call_id: str
    organization_id: str
    requested_model: str
    at: float  # Reservation.reserved_at: it decides the windows the call belongs to
    key_id: str = ""
    user: str = ""
    orchestrator_id: str = ""
    surface: str = ""
    is_stream: bool = False
    scope_model: str = ""  # the model that limits are counted for
    scope_key: str = ""  # and the key, where it is not its own
    reserved_usd_micros: int = 0
    leases: list[int] = field(default_factory=list)


@dataclass(kw_only=True)
class Attempt:
    """One request to a provider that is over."""

    call_id: str
    number: int
    provider: str
    model: str
    at: float
    http_status: int | None = None
    error: str = ""
    provider_request_id: str = ""
    latency_ms: float | None = None
    first_token_ms: float | None = None


@dataclass(kw_only=True)
class End:
    """How a call ended, and what it cost at which price."""

    call_id: str
    at: float
    status: str  # Call.Status: completed, failed, cancelled
    provider: str = ""
    model: str = ""
    error: str = ""
    is_cached: bool = False
    is_estimated: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd_micros: int = 0
    saved_usd_micros: int = 0  # what a cached answer had cost
    price: dict[str, str] = field(default_factory=dict)
    latency_ms: float | None = None
    first_token_ms: float | None = None


BEGIN: Final = "b"
ATTEMPT: Final = "a"
END: Final = "e"
Document = dict[str, Any]
Record = Begin | Attempt | End
_KINDS: Final[dict[str, type[Record]]] = {BEGIN: Begin, ATTEMPT: Attempt, END: End}
_LETTERS: Final = {kind: letter for letter, kind in _KINDS.items()}


def pack(record: Record) -> bytes:
    """Return a record as it lies in the file; raises ValueError when it is too large."""
    body = _body(record)
    if len(body) > MAX_BYTES:
        raise ValueError(f"A record of {len(body)} bytes is too large.")
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def _body(record: Record) -> bytes:
    try:
        return orjson.dumps((_LETTERS[type(record)], record))
    except TypeError:  # a number or a text that a client or a provider made up
        return orjson.dumps((_LETTERS[type(record)], {name: _tame(value) for name, value in asdict(record).items()}))


def _tame(value: Any) -> Any:
    """Return a value that JSON takes: numbers within 64 bits, texts without lone surrogates."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return max(-MOST, min(value, MOST)) if type(value) is int else value


def documents(data: bytes) -> Iterator[tuple[str, Document, int]]:
    """Yield each whole record as (letter of its kind, what it holds, where it ends); stops before what is torn."""
    place, size = 0, len(data)
    while size - place >= _HEAD.size:
        length, checksum = _HEAD.unpack_from(data, place)
        begins, place = place + _HEAD.size, place + _HEAD.size + length
        if not 0 < length <= MAX_BYTES or place > size:
            return
        body = data[begins:place]
        if zlib.crc32(body) != checksum:
            return
        letter, values = orjson.loads(body)
        yield letter, values, place


def unpack(data: bytes) -> Iterator[tuple[Record, int]]:
    """Yield each whole record, and where it ends; what this version does not know of it is left out."""
    for letter, values, place in documents(data):
        kind: Any = _KINDS[letter]
        known = kind.__dataclass_fields__
        yield kind(**{name: value for name, value in values.items() if name in known}), place


def document(record: Record) -> tuple[str, Document]:
    """Return the letter of a record's kind and what it holds, as `documents` would."""
    letter, values = orjson.loads(_body(record))
    return letter, values
