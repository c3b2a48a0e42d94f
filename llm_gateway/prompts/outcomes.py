"""Outcomes: what a prompt came to, as its call's account has it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llm_gateway.models import Prompt
from llm_gateway.plane.clients import Figures
from llm_gateway.problems import Problem

if TYPE_CHECKING:
    from llm_gateway.plane.accounts import Account


@dataclass(slots=True)
class Outcome(Figures):
    """How a prompt ended: what was said, what it took, and the problem where there was one."""

    status: str = Prompt.Status.FAILED.value
    error: str = ""
    text: str = field(default="", repr=False)
    finish_reason: str = ""
    asked_model: str = ""  # as it was asked for, once it is known to be the name of a model
    call_id: str = ""
    latency_ms: float | None = None
    first_token_ms: float | None = None
    problem: Problem | None = field(default=None, repr=False)
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    is_final: bool = False  # trying again does not help

    @property
    def tokens_used(self) -> int:
        """Tokens in and out."""
        return self.input_tokens + self.output_tokens

    def take(self, account: "Account") -> None:
        """Take over what a call came to; its account is closed."""
        self.count(account)
        self.status, self.error = account.status, account.error
        self.asked_model = account.order.asked.model[:200]
        self.latency_ms, self.first_token_ms = account.latency_ms, account.first_token_ms

    def columns(self) -> dict[str, Any]:
        """Return what a prompt's row is told."""
        return {
            "status": self.status, "error": self.error, "model": self.model[:200], "provider": self.provider,
            "input_tokens": self.input_tokens, "output_tokens": self.output_tokens,
            "cost_usd_micros": self.cost_usd_micros, "latency_ms": self.latency_ms,
            "first_token_ms": self.first_token_ms, "is_cached": self.is_cached,
        }  # fmt: skip
