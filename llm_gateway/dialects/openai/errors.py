"""What OpenAI and its kin say when they refuse."""

from typing import Final

from llm_gateway.dialects import faults
from llm_gateway.problems import Problem

# OpenAI's `type` or `code` → ours, where it says more than the status does.
_KINDS: Final = {
    "insufficient_quota": "insufficient_quota",
    "authentication_error": "authentication_error",
    "invalid_api_key": "authentication_error",
    "server_error": "api_error",
    "rate_limit_exceeded": "rate_limit_error",
    "model_not_found": "not_found_error",
}


def problem(status: int, body: bytes) -> Problem:
    """Return the problem that an error answer tells of."""
    payload = faults.payload_of(body)
    return told(payload.get("error") or (payload if "message" in payload else payload.get("detail")), status=status)


def told(error: object, *, status: int = 502) -> Problem:
    """Return the problem that an `error` tells of, in an answer or within a stream."""
    return faults.problem(status, error, kinds=_KINDS)
