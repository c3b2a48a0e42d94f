"""The three public checks in OpenAPI: plain functions without an `Operation` (moolai/health.py)."""

from typing import Any, Final

from moolai.openapi import answers

Part = dict[str, Any]
REDIS: Final = ["connected", "disconnected", "embedded"]
COUNTS: Final = ["pending_tasks", "processing_tasks", "total_tasks"]
QUEUE: Final[Part] = {
    "type": "object",
    "required": COUNTS,
    "properties": {name: {"type": "integer"} for name in COUNTS},
}


def _flat(properties: dict[str, list[str] | None], *, optional: tuple[str, ...] = (), **more: Part) -> Part:
    fields: Part = {
        name: {"type": "string", **({"enum": words} if words else {})} for name, words in properties.items()
    }
    fields |= more
    return {"type": "object", "required": [name for name in fields if name not in optional], "properties": fields}


def _answer(schema: Part, description: str, *headers: str) -> Part:
    return {
        "description": description,
        "headers": answers.headers(required=("X-Request-ID", *headers)),
        "content": {"application/json": {"schema": schema}},
    }


def _check(operation_id: str, summary: str, good: Part, bad: Part | None) -> Part:
    responses = {"200": _answer(good, "It works")}
    if bad:
        responses["503"] = _answer(bad, "It cannot serve", "Retry-After")
    responses |= answers.failures({"bad_request", "internal_error", "invalid_parameter"}, is_limited=False)
    return {
        "get": {
            "operationId": operation_id,
            "summary": summary,
            "tags": ["Health"],
            "security": [],
            "responses": responses,
        }
    }


PATHS: Final[dict[str, Part]] = {
    "/health": _check(
        "health",
        "Tell whether the controller can serve; Redis is optional",
        _flat({"status": ["healthy"], "redis": REDIS}, queue_stats=QUEUE),
        _flat({"status": ["unhealthy"], "redis": REDIS}),
    ),
    "/healthz": _check("healthz", "Tell that the process serves requests", _flat({"status": ["alive"]}), None),
    "/readyz": _check(
        "readyz",
        "Tell whether the database answers",
        _flat({"status": ["ready"]}),
        _flat({"status": ["not ready"], "reason": None}),
    ),
}
