"""Frames: the events of the stream of a run or of a batch, and the ids that they are gone on from. Pure.

`status`, `step`, `progress` and `token` say what changed; `done` or `error` that it is over; `end` that only the stream
is. An id stands behind the last event of what was told together, and names all of it.
"""

from typing import Any, Final

from llm_gateway.sse import frame

CONTENT_TYPE: Final = "text/event-stream"
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
RETRY_MS: Final = 3000
GOOD: Final = ("completed", "partial")


def opening() -> bytes:
    """Return how long a client waits before it connects again."""
    return b"retry: %d\n\n" % RETRY_MS


def identified(events: bytes, event_id: str) -> bytes:
    """Return events whose last one has an id; without events it is only remembered, and dispatches nothing."""
    return b"%bid: %b\n\n" % (events.removesuffix(b"\n"), event_id.encode())


def over(document: dict[str, Any], *, request_id: str) -> bytes:
    """Return the last event of what is over; `document` is what GET …/status says of it."""
    if document["status"] in GOOD:
        return frame(document, name="done")
    said = document["error"] or document["status"]
    told = {"error": _code(document), "detail": said, "request_id": request_id, "workflow": document}
    return frame(told, name="error")


def _code(document: dict[str, Any]) -> str:
    """Return why there is no result: `cancelled`, or the code of the first step (of a batch: run) that failed."""
    if document["status"] == "cancelled":
        return "cancelled"
    first = next((fault["error"] for fault in document["errors"]), "")
    parts = [part.strip() for part in first.split(":")]
    return parts[1 if document["workflows"] is not None and len(parts) > 1 else 0] or "provider_error"


def end(code: str, detail: str, *, retry_ms: int = RETRY_MS) -> bytes:
    """Return the last event of a stream that ends before what it follows: connect again."""
    return b"retry: %d\n\n" % retry_ms + frame({"error": code, "detail": detail}, name="end")
