"""How events are written (WHATWG HTML, "Server-sent events"): fields in lines, a blank line after each event."""

from typing import Any, Final

from monitoring.dashboard.topics import Frame
from orchestrators import protocol

RETRY_MS: Final = 3000
KEEP_ALIVE: Final = b": keep-alive\n"
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
CONTENT_TYPE: Final = "text/event-stream"


def body(frame: Frame) -> bytes:
    """Return a frame's `event:` and `data:` lines; JSON has no line break in it."""
    return b"event: %b\ndata: %b\n" % (frame["type"].encode(), protocol.encode(frame))


def event(name: str, data: Any) -> bytes:
    """Return a whole event without an id: it is about the stream, and nothing to go on from."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), protocol.encode(data))


def identified(lines: bytes, event_id: str) -> bytes:
    """End an event by its id; without lines it is only remembered, and dispatches nothing."""
    return b"%bid: %b\n\n" % (lines, event_id.encode())


def retry(wait_ms: int = RETRY_MS) -> bytes:
    """Return how long a client waits before it connects again."""
    return b"retry: %d\n\n" % wait_ms
