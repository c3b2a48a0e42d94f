"""Problems: what went wrong with a call, in one form for every provider and surface. Pure.

`Problem` is a value: what a provider answered, or what we say in its place. `Refused` and `Untranslatable` are raised
while a request is read or translated; both carry the Problem (always 400) that the surface shows in its own shape.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

MAX_MESSAGE_CHARACTERS: Final = 2_000

# The one list of kinds: HTTP status → kind. A surface names each in its own words.
KINDS: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}

# Codes that say nothing of a call's content, whoever says them; a provider may write anything else into one.
_SHAPE: Final = re.compile(r"[a-z]+(_[a-z0-9]+){0,5}")
CODES: Final = frozenset(KINDS.values()) | {
    "bad_provider_answer", "client_left", "content_filter", "content_policy_violation", "context_length",
    "context_length_exceeded", "database_unavailable", "insufficient_quota", "interrupted", "invalid_api_key",
    "invalid_argument", "invalid_request_error", "invalid_value", "model_not_found", "overloaded", "overloaded_error",
    "parameter_not_allowed", "provider_error", "provider_not_configured", "provider_refused_key", "provider_timeout",
    "provider_unavailable", "provider_unreachable", "rate_limit_exceeded", "resource_exhausted", "server_error",
    "stream_interrupted", "unknown_price", "unsupported_parameter",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong: `kind` is one of KINDS' values, `status` an HTTP status, `retry_after` seconds."""

    status: int
    kind: str
    message: str
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None


class Refused(Exception):
    """A request that a surface does not take: always a 400, in the surface's own error shape."""

    def __init__(self, param: str | None, message: str, code: str | None = "invalid_value") -> None:
        super().__init__(param, message, code)
        self.param, self.message, self.code = param, message, code

    @property
    def problem(self) -> Problem:
        """Return what the client is told."""
        return Problem(400, "invalid_request_error", self.message, code=self.code, param=self.param)


class Untranslatable(Refused):
    """A request that the provider's dialect has no words for."""

    def __init__(self, param: str | None, message: str) -> None:
        super().__init__(param, message, "unsupported_parameter")


def kind_of(status: int) -> str:
    """Return the kind that an HTTP status of a provider means."""
    return KINDS.get(status) or ("invalid_request_error" if 400 <= status < 500 else "api_error")


def bad_answer(message: str) -> Problem:
    """Return the problem of a provider whose answer makes no sense (502)."""
    return Problem(502, "api_error", message, code="bad_provider_answer")


def cut_short() -> Problem:
    """Return the problem of a provider that closed its stream before the end."""
    return Problem(502, "api_error", "The provider closed the stream before its end.", code="stream_interrupted")


def parse(body: bytes) -> dict[str, Any] | Problem:
    """Return the JSON object in a provider's `body`, or the problem that it holds none."""
    try:
        payload = orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError):
        return bad_answer("The provider's answer is not JSON, or nested too deep.")
    if type(payload) is not dict:
        return bad_answer("The provider's answer is not a JSON object.")
    return payload


def clip(message: object, *, status: int) -> str:
    """Return a provider's message, cut to a length one can show; a plain sentence where it said nothing."""
    if isinstance(message, str) and message.strip():
        return message if len(message) <= MAX_MESSAGE_CHARACTERS else message[:MAX_MESSAGE_CHARACTERS] + "…"
    return f"The provider answered {status}."


def written(code: str, *, is_private: bool) -> str:
    """Return a code as it may stand in the ledger: one that looks like one; where `is_private`, a well-known one."""
    is_code = not code or code in CODES or (not is_private and len(code) <= 60 and _SHAPE.fullmatch(code) is not None)
    return code if is_code else "provider_error"
