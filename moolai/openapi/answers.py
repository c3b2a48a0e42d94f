"""What calls answer, in OpenAPI: the envelope, pages, the one error object, headers."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

from moolai.errors import CODES
from orgs.operations import Operation, Shape

Part = dict[str, Any]

BODY_CODES: Final = (
    "invalid_json", "not_an_object", "invalid_field", "invalid_number", "invalid_string", "too_deep", "unknown_field",
    "payload_too_large", "unsupported_media_type",
)  # fmt: skip
ANY_CODES: Final = ("bad_request", "invalid_parameter", "internal_error", "overloaded", "database_unavailable")
CALLER_CODES: Final = ("unauthenticated", "token_expired", "forbidden", "not_found")
WRITE_CODES: Final = ("csrf_failed", "idempotency_conflict")
_TEXT: Final[Part] = {"type": "string"}
_COUNT: Final[Part] = {"type": "integer", "minimum": 0}

ERROR: Final[Part] = {
    "type": "object",
    "description": "The one error object: `error` is for programs, `detail` says what to do.",
    "required": ["success", "error", "detail", "request_id"],
    "properties": {
        "success": {"type": "boolean", "const": False},
        "error": {"type": "string", "enum": sorted(CODES)},
        "detail": _TEXT,
        "fields": {
            "type": "object",
            "description": "What is wrong, by the path of the field.",
            "additionalProperties": _TEXT,
        },
        "request_id": {"type": "string", "description": "Quote it when you ask for help; also X-Request-ID."},
    },
    "additionalProperties": False,
}
HEADERS: Final[dict[str, Part]] = {
    "X-Request-ID": {"description": "The request's id: the one sent, when it is sane.", "schema": _TEXT},
    "X-RateLimit-Limit": {"description": "Calls allowed in the window.", "schema": _COUNT},
    "X-RateLimit-Remaining": {"description": "Calls left in it.", "schema": _COUNT},
    "X-RateLimit-Reset": {"description": "When the window ends, in seconds since 1970.", "schema": _COUNT},
    "Retry-After": {"description": "Seconds to wait.", "schema": _COUNT},
    "WWW-Authenticate": {"description": "How to present a credential.", "schema": _TEXT},
    "ETag": {"description": "The version of what is answered; If-Match takes it.", "schema": _TEXT},
    "Idempotency-Replayed": {"description": "True when an earlier answer is repeated.", "schema": _TEXT},
}
EVENTS: Final = (
    "orchestrator_status", "message", "alert", "system_metrics", "system_health", "history", "resync", "end",
    "start", "token", "done", "error", "status", "step", "progress",
)  # fmt: skip
STREAM: Final[Part] = {
    "type": "object",
    "description": "One event; what `data` holds by `event` is in docs/streams.md, prompts.md and workflows.md.",
    "required": ["event", "data"],
    "properties": {
        "event": {"type": "string", "enum": list(EVENTS)},
        "data": {"type": "string", "contentMediaType": "application/json"},
        "id": {"type": "string", "description": "Send the last one as Last-Event-ID to go on."},
        "retry": _COUNT,
    },
}
TEXTS: Final[dict[str, Part]] = {"text/event-stream": STREAM}
LIMITS: Final = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
ALWAYS: Final = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}


def codes(operation: Operation, *, is_write: bool, is_public: bool, is_limited: bool) -> set[str]:
    """Return every error code that a call may be answered with."""
    found = {*ANY_CODES, *operation.errors}
    if operation.body is not None:
        found |= set(BODY_CODES)
    if not is_public:
        found |= {*CALLER_CODES, *(WRITE_CODES if is_write else ())}
    return found | ({"rate_limited"} if is_limited else set())


def failures(found: Iterable[str], *, is_limited: bool) -> dict[str, Part]:
    """Return the error answers by status, each with the codes it may hold."""
    by_status: dict[int, list[str]] = {}
    for code in sorted(found):
        by_status.setdefault(CODES[code][0], []).append(code)
    return {str(status): _failure(status, by_status[status], is_limited=is_limited) for status in sorted(by_status)}


def _failure(status: int, words: list[str], *, is_limited: bool) -> Part:
    examples = {
        code: {"value": {"success": False, "error": code, "detail": CODES[code][1], "request_id": "5f0c2d"}}
        for code in words
    }
    narrowed = {"properties": {"error": {"enum": words}}}
    schema = {"allOf": [{"$ref": "#/components/schemas/Error"}, narrowed]}
    return {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(f'`{code}`' for code in words)}.",
        "headers": headers(required=("X-Request-ID", ALWAYS.get(status, "")), allowed=LIMITS if is_limited else ()),
        "content": {"application/json": {"schema": schema, "examples": examples}},
    }


def headers(*, required: Iterable[str], allowed: Iterable[str] = ()) -> Part:
    """Return an answer's headers: those it always has, and those it may have."""
    always = {f"{name}": {**HEADERS[name], "required": True} for name in required if name}
    return always | {name: {"$ref": f"#/components/headers/{name}"} for name in allowed if name not in always}


def success(operation: Operation, data: Part, *, is_write: bool, is_limited: bool) -> Part:
    """Return the answer of a call that succeeds with `data` in it."""
    required = (
        "X-Request-ID",
        *(LIMITS if is_limited else ()),
        *(("ETag",) if getattr(operation.data, "has_etag", False) else ()),
    )
    answer: Part = {
        "description": HTTPStatus(operation.status).phrase,
        "headers": headers(required=required, allowed=("Idempotency-Replayed",) if is_write else ()),
    }
    if operation.content_types:
        answer["content"] = {
            name: {"schema": data if name.endswith("json") and operation.data else TEXTS.get(name, {})}
            for name in operation.content_types
        }
    elif operation.shape is not Shape.EMPTY:
        schema = data if operation.shape is Shape.FLAT else envelope(data)
        answer["content"] = {"application/json": {"schema": schema}}
    return answer


def envelope(data: Part) -> Part:
    """Return the schema of the success envelope around `data`."""
    return {
        "type": "object",
        "required": ["success", "data", "timestamp"],
        "properties": {
            "success": {"type": "boolean", "const": True},
            "data": data,
            "timestamp": {"type": "string", "format": "date-time"},
        },
    }


def page(item: Part) -> Part:
    """Return the schema of one page of a list."""
    return {
        "type": "object",
        "required": ["items", "page", "page_size", "total_items", "total_pages", "has_next", "has_prev"],
        "properties": {
            "items": {"type": "array", "items": item},
            "page": {"type": "integer", "minimum": 1},
            "page_size": {"type": "integer", "minimum": 1, "maximum": 1000},
            "total_items": _COUNT,
            "total_pages": _COUNT,
            "has_next": {"type": "boolean"},
            "has_prev": {"type": "boolean"},
        },
    }
