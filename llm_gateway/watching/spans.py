"""Spans: what OpenTelemetry is told of a call, by the conventions for generative AI. Never its content. Pure.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
"""

import re
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from llm_gateway.plane.accounts import Account
    from llm_gateway.plane.catalog import Source
    from llm_gateway.plane.routing import Target

TAIL_BYTES: Final = 16 * 1024
REASONS: Final = (
    "stop", "length", "tool_calls", "content_filter", "function_call", "end_turn", "max_tokens", "stop_sequence",
    "tool_use", "pause_turn", "refusal",
)  # fmt: skip
_REASON: Final = re.compile(rb'(?<!\\)"(?:finish_reason|stop_reason)"\s*:\s*"(' + "|".join(REASONS).encode() + rb')"')
MAKERS: Final = {"openai": "openai", "anthropic": "anthropic", "google": "gcp.gemini", "echo": "echo"}
Attributes = dict[str, Any]


class Tail:
    """The end of what a client was sent, for the reasons why a model stopped that stand there."""

    __slots__ = ("parts", "size")

    def __init__(self) -> None:
        self.parts: deque[bytes] = deque()
        self.size = 0

    def take(self, part: bytes) -> None:
        """Note what the client is sent."""
        self.parts.append(part[-TAIL_BYTES:])  # of a whole answer its end: many wait, and an answer may be long
        self.size += len(self.parts[-1])
        while self.size - len(self.parts[0]) >= TAIL_BYTES:
            self.size -= len(self.parts.popleft())

    def reasons(self) -> list[str]:
        """Return why the model stopped, each choice's reason; words of the field and nothing else."""
        return [reason.decode() for reason in _REASON.findall(b"".join(self.parts)[-4 * TAIL_BYTES :])]


@dataclass(slots=True)
class Span:
    """A call that is over; times are in nanoseconds since 1970, `parent` holds W3C's trace context."""

    name: str
    start_ns: int
    end_ns: int
    attributes: Attributes
    parent: Mapping[str, str]
    error: str = ""
    attempts: list[tuple[int, Attributes]] = field(default_factory=list)
    tail: Tail | None = None


def of(account: "Account", target: "Target | None", *, parent: Mapping[str, str], tail: Tail | None) -> Span:
    """Return the span of a call that is over."""
    order, end_ns = account.order, time.time_ns()
    operation = "embeddings" if order.is_embedding else _OPERATIONS.get(order.surface.PATH, "chat")
    found: Attributes = {
        "gen_ai.operation.name": operation,
        "gen_ai.request.model": order.asked.model,
        "gen_ai.request.stream": order.asked.is_stream,
        "moolai.call_id": order.call_id,
        "moolai.organization_id": account.reservation.scopes.organization_id,
        "moolai.status": account.status,
        "moolai.is_cached": account.saved_usd_micros is not None,
        "moolai.cost_usd": account.cost_usd_micros / 1_000_000,
    }
    if order.asked.max_output_tokens is not None:
        found["gen_ai.request.max_tokens"] = order.asked.max_output_tokens
    if order.asked.choices != 1:
        found["gen_ai.request.choice.count"] = order.asked.choices
    if account.first_token_ms is not None:
        found["gen_ai.response.time_to_first_chunk"] = account.first_token_ms / 1000
    if account.error:
        found["error.type"] = account.error
    if account.over and account.over[-1].http_status is not None:
        found["http.response.status_code"] = account.over[-1].http_status
    found |= _of_target(account, target) if target is not None else {}
    start_ns = end_ns - int(account.elapsed_ms * 1_000_000)
    attempts = (
        [(int(attempt.at * 1e9), _of_attempt(attempt)) for attempt in account.over] if account.attempts > 1 else []
    )
    return Span(f"{operation} {order.asked.model}", start_ns, end_ns, found, parent, account.error, attempts, tail)


_OPERATIONS: Final = {"/completions": "text_completion"}


def _of_target(account: "Account", target: "Target") -> Attributes:
    maker = _maker(target.source)
    found: Attributes = {
        "gen_ai.provider.name": maker,
        "gen_ai.system": maker,  # what it was called until 1.37, and still is in many dashboards
        "moolai.provider": target.source.name,
    }
    if target.source.base_url:
        url = urlsplit(target.source.base_url)
        found["server.address"] = url.hostname or ""
        found["server.port"] = url.port or (80 if url.scheme == "http" else 443)
    if account.target is None:
        return found
    usage = account.usage
    found |= {
        "gen_ai.response.model": target.model,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
    }
    more = {
        "gen_ai.usage.cache_read.input_tokens": usage.cached_input_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }
    return found | {name: value for name, value in more.items() if value}


def _maker(source: "Source") -> str:
    """Return the conventions' name for who answers; what speaks OpenAI's dialect elsewhere has its own name."""
    is_openai = source.name == "openai" or source.base_url.startswith("https://api.openai.com")
    return source.name if source.dialect == "openai" and not is_openai else MAKERS.get(source.dialect, source.dialect)


def _of_attempt(attempt: Any) -> Attributes:
    values = {
        "moolai.provider": attempt.provider,
        "gen_ai.response.model": attempt.model,
        "http.response.status_code": attempt.http_status,
        "error.type": attempt.error or None,
        "moolai.latency_ms": attempt.latency_ms,
    }
    return {name: value for name, value in values.items() if value is not None}
