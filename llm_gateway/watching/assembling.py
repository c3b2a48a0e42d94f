"""Assembling: what a stream said, out of the events its client was sent. Pure."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson

DATA: Final = b"data:"


def said(events: bytes) -> str:
    """Return the text, and the arguments of tool calls, of server-sent events of any surface.

    A last event that is cut off is passed over, and so is what is no event.
    """
    return "".join(piece for event in _documents(events) for piece in _pieces(event))


def _documents(events: bytes) -> Iterator[dict[str, Any]]:
    for line in events.split(b"\n"):
        if not line.startswith(DATA):
            continue
        try:
            found = orjson.loads(line[len(DATA) :])
        except orjson.JSONDecodeError:
            continue  # [DONE], or cut off
        if isinstance(found, dict):
            yield found


def _pieces(event: dict[str, Any]) -> Iterator[str]:
    kind = event.get("type")
    read = _KINDS.get(kind) if isinstance(kind, str) else None
    if read is not None:
        yield from read(event)
    for choice in _list(event.get("choices")):
        yield _text(choice.get("text"))
        yield from _delta(_object(choice.get("delta")))


def _delta(delta: dict[str, Any]) -> Iterator[str]:
    yield _text(delta.get("reasoning_content"))
    yield _text(delta.get("content"))
    yield _text(delta.get("refusal"))
    for call in _list(delta.get("tool_calls")):
        function = _object(call.get("function"))
        yield _text(function.get("name"))
        yield _text(function.get("arguments"))


def _of_messages(event: dict[str, Any]) -> Iterator[str]:
    delta = _object(event.get("delta"))
    for name in ("text", "thinking", "partial_json"):
        yield _text(delta.get(name))


def _of_responses(event: dict[str, Any]) -> Iterator[str]:
    yield _text(event.get("delta"))


_KINDS: Final[dict[str, Callable[[dict[str, Any]], Iterator[str]]]] = {
    "content_block_delta": _of_messages,
    "content_block_start": lambda event: iter([_text(_object(event.get("content_block")).get("name"))]),
    "response.output_text.delta": _of_responses,
    "response.refusal.delta": _of_responses,
    "response.reasoning_summary_text.delta": _of_responses,
    "response.function_call_arguments.delta": _of_responses,
}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
