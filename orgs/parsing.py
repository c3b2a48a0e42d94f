"""Bodies of the HTTP API: JSON objects, and nothing that a database column or a client's own parser would choke on."""

import json
import math
from typing import Any, Final

from django.http import HttpRequest

from moolai.errors import AppError, InvalidInput

MAX_BODY_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 32
MAX_INTEGER: Final = 2**63
MAX_DIGITS: Final = 19  # of an integer below 2^63


def read(request: HttpRequest, *, may_be_empty: bool = False) -> dict[str, Any]:
    """Return the JSON object in the request's body, also in one without a length (chunked).

    With `may_be_empty`, no body at all is an empty object, whatever its Content-Type.

    Raises `unsupported_media_type` for another Content-Type than application/json (its parameters are not looked at),
    `payload_too_large` beyond 1 MiB, and all that `parse` raises.
    """
    is_json = request.content_type == "application/json"
    if not is_json and request.META.get("CONTENT_LENGTH") not in (None, "", "0"):
        raise AppError("unsupported_media_type")
    content = request.read(MAX_BODY_BYTES + 1)
    if len(content) > MAX_BODY_BYTES:
        raise AppError("payload_too_large")
    if content and not is_json:
        raise AppError("unsupported_media_type")
    if may_be_empty and not content:
        return {}
    return parse(content)


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are the same as JSON: for Python `True` is 1, and it would miss that change."""
    return bool(one == other) and _text(one) == _text(other)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def parse(content: bytes, *, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Return the JSON object in `content`, else raise AppError.

    `invalid_json`, `not_an_object`, `invalid_number` (NaN, Infinity, beyond a double), `invalid_string` (NUL or a lone
    surrogate), `too_deep` (more than `max_depth` levels), `invalid_field` (an integer beyond ±2^63); the path is named.
    """
    if not content.strip():
        raise AppError("not_an_object")
    try:
        document = json.loads(content.decode(), parse_int=_integer)
    except RecursionError:
        raise _too_deep(max_depth) from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise AppError("invalid_json", f"Malformed JSON at {where}.") from None
    except UnicodeDecodeError:
        raise AppError("invalid_json") from None
    if not isinstance(document, dict):
        raise AppError("not_an_object")
    _walk(document, max_depth)
    return document


def _too_deep(most: int) -> AppError:
    return AppError("too_deep", f"Nest at most {most} levels.")


def _integer(digits: str) -> int:
    """Convert an integer literal; an endless one only to something `_walk` refuses by its path."""
    return int(digits) if len(digits.lstrip("-")) <= MAX_DIGITS else MAX_INTEGER


def _walk(root: dict[str, Any], max_depth: int) -> None:
    stack: list[tuple[Any, int, str]] = [(root, 1, "")]
    while stack:
        value, depth, path = stack.pop()
        if isinstance(value, dict | list) and depth > max_depth:
            raise _too_deep(max_depth)
        if isinstance(value, dict):
            for key, child in value.items():
                _check_string(key, path or "body")
                stack.append((child, depth + 1, f"{path}.{key[:50]}" if path else key[:50]))
        elif isinstance(value, list):
            stack.extend((child, depth + 1, f"{path}[{index}]") for index, child in enumerate(value))
        else:
            _check_scalar(value, path)


def _check_scalar(value: Any, path: str) -> None:
    if isinstance(value, str):
        _check_string(value, path)
    elif isinstance(value, float) and not math.isfinite(value):
        raise AppError("invalid_number", fields={path: "This is no finite number."})
    elif isinstance(value, int) and not -MAX_INTEGER <= value < MAX_INTEGER:
        raise InvalidInput(fields={path: "Integers must lie within ±2^63."})


def _check_string(value: str, path: str) -> None:
    if "\x00" in value:
        raise AppError("invalid_string", fields={path: "The character NUL is not taken."})
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise AppError("invalid_string", fields={path: "A lone surrogate is not a character."})
