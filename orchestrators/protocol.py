"""The wire of `/ws`: parse and validate what a client sent, build what it is sent.

Pure functions over text and dictionaries; imports nothing of Django, so a client, a benchmark or a fuzzer can use it.
Source of every shape, code and limit: docs/protocol.md (PROTOCOL §1, §3).
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Never

import orjson

MAX_FRAME_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 32
MAX_ITEMS: Final = 10_000
MAX_STRING_BYTES: Final = 64 * 1024
MAX_INTEGER: Final = 2**63
MAX_STRIKES: Final = 10
STRIKE_WINDOW_SECONDS: Final = 60.0
PARSED_PER_BYTE: Final = 8  # bytes of memory that a byte of JSON becomes, roughly
ITEM_BYTES: Final = 1000  # of what stands around a value while it waits, roughly
MAX_MESSAGE_ID_LENGTH: Final = 100
MAX_MESSAGE_TYPE_LENGTH: Final = 50

IDENTIFIER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,49}")
# A string ends at its quote or, unterminated, with the text: so each character is looked at once.
_STRUCTURE: Final = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[{\]}]', re.DOTALL)
RESERVED_IDS: Final = frozenset({"live", "register", "heartbeat"})

# Frame types of the protocol itself: nobody may queue a message under one of these names.
RESERVED_TYPES: Final = frozenset(
    """register handshake handshake_ack provisioning config_update config_status i_am_alive heartbeat_ack keepalive_ack
    monitoring recommendation message ack goodbye server_shutdown credential_expiring poke error task task_result
    task_progress task_cancel subscribe subscribed unsubscribe ping pong orchestrator_status system_metrics
    system_health alert fleet""".split()
)

# Close codes (PROTOCOL §3).
NORMAL, UNSUPPORTED, TOO_LARGE, POLICY, INTERNAL = 1000, 1003, 1009, 1008, 1011
RESTART, OVERLOAD, UNAUTHENTICATED, FORBIDDEN, TIMEOUT, SUPERSEDED = 1012, 1013, 4401, 4403, 4408, 4409


class FrameError(Exception):
    """A frame that is refused: `code` and `detail` for the error frame, `close` when the socket goes with it."""

    def __init__(self, code: str, detail: str, *, close: int | None = None, **extra: Any) -> None:
        super().__init__(code, detail)
        self.code, self.detail, self.close, self.extra = code, detail, close, extra


def parse(text: str) -> dict[str, Any]:
    """Return the JSON object in `text` after every check of PROTOCOL §3, or raise FrameError."""
    if len(text) > MAX_FRAME_BYTES or (len(text) > MAX_FRAME_BYTES // 4 and len(text.encode()) > MAX_FRAME_BYTES):
        raise FrameError("message_too_large", f"A frame may hold {MAX_FRAME_BYTES} bytes.", close=TOO_LARGE)
    try:
        frame = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        _explain(text, error)
    if type(frame) is not dict:
        raise FrameError("not_an_object", "Send one JSON object per frame, with a string `type`.")
    for key, value in frame.items():
        kind = type(value)
        is_plain = (kind is str and len(value) <= 1000 and "\x00" not in value) or (
            kind is int and -MAX_INTEGER <= value < MAX_INTEGER
        )
        if not is_plain or len(key) > 1000 or "\x00" in key:
            _walk(frame, text)
            break
    return frame


def weight(value: Any) -> int:
    """Return how many bytes of memory a parsed value takes while it waits to be stored, roughly."""
    return ITEM_BYTES + (PARSED_PER_BYTE * len(orjson.dumps(value)) if value is not None else 0)


def _explain(text: str, error: orjson.JSONDecodeError) -> Never:
    """Classify what orjson refuses with one error class, and raise the FrameError a client can act on."""
    message = str(error)
    if not text.strip():
        raise FrameError("empty_message", "The frame is empty; send one JSON object.") from None
    if "infinity" in message:
        raise FrameError("invalid_number", "A number is too large.") from None
    if "depth limit" in message or _is_deep(text):
        raise FrameError("too_deep", f"Nest at most {MAX_DEPTH} levels.") from None
    if "surrogate" in message:
        raise FrameError("invalid_string", "A string holds a lone surrogate.") from None
    if "\x00" in text:
        raise FrameError("invalid_string", "A string holds the character NUL.") from None
    word = text[error.pos : error.pos + 9].lstrip("-")
    if word.startswith(("NaN", "Infinity")):
        raise FrameError("invalid_number", "NaN and Infinity are not JSON.") from None
    where = f"line {error.lineno} column {error.colno}"
    raise FrameError("invalid_json", f"Malformed JSON at {where}.", line=error.lineno, column=error.colno) from None


def _is_deep(text: str) -> bool:
    depth = 0
    for token in _STRUCTURE.finditer(text, 0, 16 * 1024):
        match token[0]:
            case "[" | "{":
                depth += 1
            case "]" | "}":
                depth -= 1
        if depth > MAX_DEPTH:
            return True
    return False


def _walk(root: Any, text: str) -> None:
    """Check depth, item count, strings and numbers of everything in `root`; the path of an offender is named."""
    items, has_big_float = 0, False
    stack: list[tuple[Any, int, str]] = [(root, 1, "")]
    while stack:
        value, depth, path = stack.pop()
        kind = type(value)
        if kind is dict or kind is list:
            items += len(value)
            if items > MAX_ITEMS:
                raise FrameError("too_many_items", f"A frame may hold {MAX_ITEMS} items.", path=path or "$")
            if depth > MAX_DEPTH:
                raise FrameError("too_deep", f"Nest at most {MAX_DEPTH} levels.")
            if kind is dict:
                for key, child in value.items():
                    _check_string(key, path)
                    stack.append((child, depth + 1, f"{path}.{key[:50]}" if path else key[:50]))
            else:
                stack.extend((child, depth + 1, f"{path}[{index}]") for index, child in enumerate(value))
        elif kind is str:
            _check_string(value, path)
        elif kind is int and not -MAX_INTEGER <= value < MAX_INTEGER:
            raise FrameError("invalid_number", "Integers must lie within ±2^63.", path=path)
        elif kind is float and abs(value) >= MAX_INTEGER:
            has_big_float = True
    if has_big_float:
        _refuse_big_integers(text)


def _check_string(value: str, path: str) -> None:
    if len(value) > MAX_STRING_BYTES // 4 and len(value.encode()) > MAX_STRING_BYTES:
        raise FrameError("string_too_long", f"A string may hold {MAX_STRING_BYTES} bytes.", path=path[:200] or "$")
    if "\x00" in value:
        raise FrameError("invalid_string", "A string holds the character NUL.", path=path[:200] or "$")


def _refuse_big_integers(text: str) -> None:
    """Raise when a large float of orjson's was an integer literal on the wire; 1e308 is a legitimate float."""

    def integer(digits: str) -> int:
        if len(digits) > 20 or not -MAX_INTEGER <= int(digits) < MAX_INTEGER:
            raise FrameError("invalid_number", "Integers must lie within ±2^63.")
        return int(digits)

    json.loads(text, parse_int=integer)


# --- fields ---------------------------------------------------------------------------------------------------------


def frame_type(frame: Mapping[str, Any]) -> str:
    """Return the frame's `type`, or raise `unknown_type` when it is missing or no string."""
    kind = frame.get("type")
    if type(kind) is not str or not kind:
        raise FrameError("unknown_type", "Every frame needs a string `type`.")
    return kind


def unknown_type(kind: str) -> FrameError:
    """Build the refusal of a type nobody handles, with the offending word shortened and made printable."""
    return FrameError("unknown_type", f"There is no frame type {kind[:50]!r}.")


def identifier(value: Any, path: str) -> str:
    """Return `value` when it is a legal public id (PROTOCOL §1), else raise `invalid_field` with close 1008."""
    if type(value) is not str or not IDENTIFIER.fullmatch(value) or value in RESERVED_IDS:
        detail = f"{path} must match [A-Za-z0-9][A-Za-z0-9_.-]{{0,49}} and not be live, register or heartbeat."
        raise FrameError("invalid_field", detail, close=POLICY, path=path)
    return value


def text_field(source: Mapping[str, Any], name: str, *, limit: int, default: str = "") -> str:
    """Return the string `source[name]` (at most `limit` characters), `default` when absent or null."""
    value = source.get(name)
    if value is None:
        return default
    if type(value) is not str or len(value) > limit:
        raise FrameError("invalid_field", f"{name} must be a string of at most {limit} characters.", path=name)
    return value


def object_field(source: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the object `source[name]`, an empty one when absent or null."""
    value = source.get(name)
    if value is None:
        return {}
    if type(value) is not dict:
        raise FrameError("invalid_field", f"{name} must be an object.", path=name)
    return value


def message_id(frame: Mapping[str, Any], *, required: bool = True) -> str:
    """Return the frame's `message_id`; `missing_message_id` when required and absent, `invalid_field` when unusable."""
    value = frame.get("message_id")
    if value is None or value == "":
        if required:
            raise FrameError("missing_message_id", "Send a `message_id`: it is what the acknowledgement names.")
        return ""
    if type(value) is not str or len(value) > MAX_MESSAGE_ID_LENGTH:
        detail = f"message_id must be a string of at most {MAX_MESSAGE_ID_LENGTH} characters."
        raise FrameError("invalid_field", detail, path="message_id")
    return value


def timestamp(value: Any, *, now: datetime, path: str = "timestamp") -> datetime:
    """Return the moment an ISO 8601 string names: naive is UTC, implausible ones are clamped to `now` ± 1 day.

    Raises `invalid_timestamp` for what is no timestamp. Server time is the truth; this is information only.
    """
    if type(value) is not str or len(value) > 64:
        raise FrameError("invalid_timestamp", f"{path} must be an ISO 8601 string.", path=path)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise FrameError("invalid_timestamp", f"{path} must be an ISO 8601 string.", path=path) from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    offset = _seconds_between(moment, now)
    return moment.astimezone(UTC) if abs(offset) <= 86_400 else now


def _seconds_between(moment: datetime, now: datetime) -> float:
    try:
        return (moment - now).total_seconds()
    except OverflowError:
        return float("inf")


# --- what the controller sends --------------------------------------------------------------------------------------


def dump(frame: Mapping[str, Any]) -> str:
    """Serialise a frame to the compact JSON text that goes on the wire; raises TypeError for what is no JSON."""
    return encode(frame).decode()


def encode(value: Any, *, option: int = 0) -> bytes:
    """Return compact JSON. PostgreSQL gives 1e20 back as an integer of 21 digits: such ones are floats again here."""
    try:
        return orjson.dumps(value, option=option)
    except TypeError:
        return orjson.dumps(_with_floats(value), option=option)


def _with_floats(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _with_floats(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_with_floats(child) for child in value]
    if type(value) is int and not -MAX_INTEGER <= value < 2 * MAX_INTEGER:
        return float(value) if abs(value) < 10**309 else value
    return value


def iso(moment: datetime) -> str:
    """Format an aware datetime as ISO 8601 UTC with `Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def error(problem: FrameError, *, ref: str | None = None, fatal: bool = False) -> str:
    """Build an error frame (PROTOCOL §3)."""
    frame = {"type": "error", "success": False, "error": problem.code, "detail": problem.detail, "ref": ref}
    return dump(frame | {"fatal": fatal or problem.close is not None} | problem.extra)


def refusal(problem: FrameError) -> str:
    """Build the `handshake_ack` that refuses a register (PROTOCOL §1)."""
    frame = {"type": "handshake_ack", "success": False, "error": problem.code, "detail": problem.detail}
    return dump(frame | problem.extra)


def ack(reference: str, *, duplicate: bool) -> str:
    """Build the acknowledgement of an upward frame; send it only after the commit (PROTOCOL §4.1)."""
    return dump({"type": "ack", "message_id": reference, "success": True, "duplicate": duplicate})
