"""Reading: take what one expects out of documents that others wrote, whatever they hold. Pure."""

from typing import Any, Final

import orjson

from llm_gateway.problems import Problem, bad_answer

Document = dict[str, Any]

MAX_DEPTH: Final = 200  # orjson reads 1,024 levels, but writes only 254.


class Unreadable(Exception):
    """A provider's answer that makes no sense; carries its Problem."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.problem: Problem = bad_answer(message)


def text(value: object) -> str:
    """Return `value` when it is text, else the empty string."""
    return value if type(value) is str else ""


def document(value: object) -> Document:
    """Return `value` when it is an object, else an empty one."""
    return value if type(value) is dict else {}


def documents(value: object) -> list[Document]:
    """Return the objects in `value` when it is a list, else none."""
    return [item for item in value if type(item) is dict] if type(value) is list else []


def encode(value: object) -> str:
    """Return `value` as JSON text, or raise Unreadable when it is nested too deep."""
    try:
        return orjson.dumps(value).decode()
    except (TypeError, RecursionError):  # orjson.JSONEncodeError is a TypeError
        raise Unreadable("The provider's answer is nested too deep.") from None


def arguments(value: object) -> Document | None:
    """Return the arguments of a tool call, which are JSON text of an object (none at all: empty), else None."""
    if not isinstance(value, str):
        return None
    if not value.strip():
        return {}
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    return found if type(found) is dict and not is_deep(found) else None


def may_be_deep(written: str | bytes, *, limit: int = MAX_DEPTH) -> bool:
    """Say whether JSON text has brackets enough to be nested deeper than `limit`: a count is all that most need."""
    if isinstance(written, str):
        return written.count("{") + written.count("[") > limit
    return written.count(b"{") + written.count(b"[") > limit


def is_deep(value: object, *, limit: int = MAX_DEPTH) -> bool:
    """Say whether `value` is nested deeper than `limit`, looking at each level once."""
    level = [value]
    for _ in range(limit + 1):
        level = [
            item
            for holder in level
            for item in (holder.values() if type(holder) is dict else holder if type(holder) is list else ())
            if type(item) is dict or type(item) is list
        ]
        if not level:
            return False
    return True
