"""What Anthropic answers: a message of content blocks, or an error."""

from typing import Final

from llm_gateway import usage as tokens
from llm_gateway.canonical import Frame, choice, message, tool_call
from llm_gateway.dialects import faults
from llm_gateway.problems import Problem, bad_answer
from llm_gateway.reading import Document, Unreadable, document, documents, encode, text
from llm_gateway.usage import Usage

# Anthropic's `stop_reason` → OpenAI's `finish_reason`.
FINISH_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_KINDS: Final = {
    "invalid_request_error": "invalid_request_error",
    "authentication_error": "authentication_error",
    "billing_error": "insufficient_quota",
    "permission_error": "permission_error",
    "not_found_error": "not_found_error",
    "request_too_large": "request_too_large",
    "rate_limit_error": "rate_limit_error",
    "timeout_error": "timeout_error",
    "api_error": "api_error",
    "overloaded_error": "overloaded_error",
}
# An error within a stream has no status of its own.
_STATUSES: Final = {"rate_limit_error": 429, "overloaded_error": 529, "timeout_error": 504}


def answer(payload: object, *, model: str, call_id: str, created: int) -> Document | Problem:
    """Return the canonical answer of a message."""
    body = document(payload)
    if type(body.get("content")) is not list:
        return bad_answer("The provider's answer has no content.")
    try:
        said = _message(documents(body["content"]))
    except Unreadable as error:
        return error.problem
    finish = FINISH_REASONS.get(text(body.get("stop_reason")), "stop")
    frame = Frame(call_id=call_id, created=created, model=model)
    chosen = choice(said, finish_reason=finish)
    return frame.completion([chosen], usage=usage(body), model=text(body.get("model")))


def embedded(payload: object, *, model: str) -> Document | Problem:
    """Return a problem: Anthropic has no embeddings."""
    return bad_answer("Anthropic offers no embeddings.")


def usage(payload: object) -> Usage | None:
    """Return what a message says of tokens."""
    return tokens.of_anthropic(document(payload).get("usage"))


def problem(status: int, body: bytes) -> Problem:
    """Return the problem that an error answer tells of."""
    return faults.problem(status, faults.payload_of(body).get("error"), kinds=_KINDS)


def told(error: object) -> Problem:
    """Return the problem that an error event tells of."""
    return faults.problem(_STATUSES.get(text(document(error).get("type")), 502), error, kinds=_KINDS)


def _message(blocks: list[Document]) -> Document:
    texts = [text(block.get("text")) for block in blocks if block.get("type") == "text"]
    thoughts = [block for block in blocks if block.get("type") in ("thinking", "redacted_thinking")]
    calls = [
        tool_call(text(block.get("id")), text(block.get("name")), encode(document(block.get("input"))))
        for block in blocks
        if block.get("type") == "tool_use"
    ]
    reasoning = "".join(text(block.get("thinking")) for block in thoughts)
    return message("".join(texts), tool_calls=calls, reasoning=reasoning, thinking_blocks=thoughts)
