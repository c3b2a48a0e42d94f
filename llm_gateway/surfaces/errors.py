"""Errors in the words of the two families of surfaces."""

from collections.abc import Mapping
from typing import Final

from llm_gateway.problems import Problem
from llm_gateway.reading import Document

_OPENAI: Final[Mapping[str, str]] = {
    "not_found_error": "invalid_request_error",
    "request_too_large": "invalid_request_error",
    "api_error": "server_error",
    "timeout_error": "server_error",
    "overloaded_error": "server_error",
}
_OPENAI_CODES: Final[Mapping[str, str]] = {
    "insufficient_quota": "insufficient_quota",
    "rate_limit_error": "rate_limit_exceeded",
}
_ANTHROPIC: Final[Mapping[str, str]] = {"insufficient_quota": "billing_error"}


def openai(problem: Problem) -> Document:
    """Return OpenAI's error body."""
    error = {
        "message": problem.message,
        "type": _OPENAI.get(problem.kind, problem.kind),
        "param": problem.param,
        "code": problem.code or _OPENAI_CODES.get(problem.kind),
    }
    return {"error": error}


def anthropic(problem: Problem) -> Document:
    """Return Anthropic's error body, which has no field for code and parameter: the message names them."""
    named = [word for word in (problem.param, problem.code) if word and word not in problem.message]
    message = f"{problem.message} ({', '.join(named)})" if named else problem.message
    return {"type": "error", "error": {"type": _ANTHROPIC.get(problem.kind, problem.kind), "message": message}}
