"""Frames: the events of a prompt's stream, `start`, `token`, and at the end `done` or `error`."""

from typing import Any, Final

from llm_gateway.models import Prompt
from llm_gateway.plane import refusals
from llm_gateway.prompts import book, rows
from llm_gateway.prompts.outcomes import Outcome
from llm_gateway.sse import frame
from moolai import errors
from orgs import spending

CONTENT_TYPE: Final = "text/event-stream"
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
LEFT: Final = "The client left before the end."


def start(prompt_id: str) -> bytes:
    """Return the first event."""
    return frame({"prompt_id": prompt_id}, name="start")


def token(text: str) -> bytes:
    """Return an event with the next piece of the answer."""
    return frame({"text": text}, name="token")


def end(prompt_id: str, outcome: Outcome, *, request_id: str) -> bytes:
    """Return the last event of a prompt that was just run."""
    numbers = _numbers(prompt_id, outcome, outcome.finish_reason)
    if outcome.problem is None and outcome.status == Prompt.Status.COMPLETED:
        return frame(numbers, name="done")
    code = refusals.own_code(outcome.problem) if outcome.problem else "provider_error"
    detail = outcome.problem.message if outcome.problem else LEFT
    return frame({"error": code, "detail": detail, "request_id": request_id, **numbers}, name="error")


def told(row: Prompt) -> bytes:
    """Return what follows `start` in the stream of a prompt that is over; nothing where it is not."""
    if not row.is_over:
        return b""
    answer = rows.texts(row)[1]
    numbers = {**_numbers(row.prompt_id, row, ""), "content_missing": book.missing(row)}
    if row.status == Prompt.Status.COMPLETED:
        return (token(answer) if answer else b"") + frame(numbers, name="done")
    code = row.error if row.error in errors.CODES else "provider_error"
    detail = LEFT if row.status == Prompt.Status.CANCELLED else errors.CODES[code][1]
    return frame({"error": code, "detail": detail, **numbers}, name="error")


def broken(code: str, *, request_id: str) -> bytes:
    """Return the last event of a stream that cannot go on."""
    return frame({"error": code, "detail": errors.CODES[code][1], "request_id": request_id}, name="error")


def _numbers(prompt_id: str, found: Outcome | Prompt, finish_reason: str) -> dict[str, Any]:
    return {
        "prompt_id": prompt_id, "status": str(found.status), "model": found.model, "provider": found.provider,
        "tokens_used": found.input_tokens + found.output_tokens, "input_tokens": found.input_tokens,
        "output_tokens": found.output_tokens, "cost": spending.usd(found.cost_usd_micros) or 0.0,
        "latency_ms": found.latency_ms, "first_token_ms": found.first_token_ms, "is_cached": found.is_cached,
        "finish_reason": finish_reason or None,
    }  # fmt: skip
