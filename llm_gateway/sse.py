"""Server-sent events: cut a stream into events however its bytes arrive (WHATWG HTML §9.2). Pure.

Every event keeps the bytes it came in, so that a stream can be passed through unchanged.
"""

import re
from typing import Final, NamedTuple

import orjson

MAX_EVENT_BYTES: Final = 1024 * 1024  # so no line is longer either

# Two line ends in a row. A carriage return counts alone only when the byte after it is known.
_END: Final = re.compile(rb"(?:\r\n|\n|\r(?=[^\n])){2}")


class Event(NamedTuple):
    """One event: `data` is empty for comments and blank lines; `raw` is all of it, the blank line included."""

    data: bytes
    raw: bytes
    name: bytes = b""


class Events:
    """Cuts bytes into events. Once an event passes MAX_EVENT_BYTES, `is_overflown`, and nothing comes any more."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._looked_at = 0
        self._has_returns = False
        self.is_overflown = False

    @property
    def is_simple(self) -> bool:
        """Whether nothing is left over from before, and lines ended with line feeds only."""
        return not self._pending and not self._has_returns and not self.is_overflown

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that `data` completes."""
        return [read(raw) for raw in self.cut(data)]

    def cut(self, data: bytes) -> list[bytes]:
        """Return the bytes of each event that `data` completes."""
        if self.is_overflown:
            return []
        self._has_returns = self._has_returns or b"\r" in data
        if self.is_simple and len(data) <= MAX_EVENT_BYTES:
            return self._split(data)
        self._pending += data
        events: list[bytes] = []
        start = 0
        while (end := self._end(start)) > 0:
            if end - start > MAX_EVENT_BYTES:
                self.is_overflown = True
                break
            events.append(bytes(self._pending[start:end]))
            start = self._looked_at = end
        self._forget(start)
        return events

    def finish(self) -> Event | None:
        """Return what stands after the last blank line, as an event of its own."""
        left, self._pending = bytes(self._pending), bytearray()
        return read(left) if left and not self.is_overflown else None

    def _split(self, data: bytes) -> list[bytes]:
        """Return the events of the usual case: nothing left over from before, and line feeds only."""
        *whole, rest = data.split(b"\n\n")
        if rest:
            self._pending += rest
            self._looked_at = len(rest)
        return [data] if len(whole) == 1 and not rest else [raw + b"\n\n" for raw in whole]

    def _end(self, start: int) -> int:
        """Return where the event that begins at `start` ends, 0 when that is not known yet."""
        since = max(start, self._looked_at - 3)
        if self._has_returns:
            found = _END.search(self._pending, since)
            return found.end() if found else 0
        at = self._pending.find(b"\n\n", since)
        return at + 2 if at >= 0 else 0

    def _forget(self, start: int) -> None:
        del self._pending[:start]
        self._looked_at = len(self._pending)
        self.is_overflown = self.is_overflown or len(self._pending) > MAX_EVENT_BYTES
        if self.is_overflown:
            self._pending.clear()


def read(raw: bytes) -> Event:
    """Return the event that these bytes are."""
    if raw.startswith(b"data: {") and raw.find(b"\n") == len(raw) - 2:
        return Event(raw[6:-2], raw)
    data: list[bytes] = []
    name = b""
    for line in raw.removeprefix(b"\xef\xbb\xbf").splitlines():
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return Event(b"\n".join(data), raw, name)


def frame(payload: object, *, name: str | None = None) -> bytes:
    """Return one event that holds `payload` as JSON."""
    head = f"event: {name}\ndata: ".encode() if name else b"data: "
    return head + orjson.dumps(payload) + b"\n\n"
