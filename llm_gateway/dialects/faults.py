"""Faults: read the error answers of providers, none of which may be what its documentation says."""

import orjson

from llm_gateway.problems import Problem, clip, kind_of
from llm_gateway.reading import Document, document, text


def payload_of(body: bytes) -> Document:
    """Return the object in an error answer (or the first of a list of them), an empty one when there is none."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return document(found[0] if type(found) is list and found else found)


def problem(status: int, error: object, *, kinds: dict[str, str], code: str | None = None) -> Problem:
    """Return the problem that a provider's `error` tells of: an object with `message` and `type`, or a text."""
    fields = document(error)
    message = fields.get("message") if fields else error
    told = text(fields.get("code")) or None
    return Problem(
        status=status,
        kind=kinds.get(text(fields.get("type"))) or kinds.get(told or "") or kind_of(status),
        message=clip(message, status=status),
        code=code or told,
        param=text(fields.get("param")) or None,
    )
