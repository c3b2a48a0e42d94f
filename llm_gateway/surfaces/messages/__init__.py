"""Anthropic's Messages. See `llm_gateway.shapes.Surface`."""

from typing import Final

from llm_gateway.problems import Refused
from llm_gateway.reading import Document, document
from llm_gateway.shapes import Asked, Outgoing
from llm_gateway.surfaces import limits
from llm_gateway.surfaces.errors import anthropic as error_body
from llm_gateway.surfaces.messages.answers import answer
from llm_gateway.surfaces.messages.requests import read
from llm_gateway.surfaces.messages.stream import MessagesEncoder, MessagesSniffer

__all__ = ["PATH", "SPEAKS", "answer", "check", "encoder", "error_body", "forward", "read", "sniffer"]

SPEAKS: Final = "anthropic"
PATH: Final = "/v1/messages"


def check(body: object) -> Asked:
    """Return what the request asks for, or raise Refused."""
    found = limits.body(body)
    limits.required(found, "max_tokens")
    asked = Asked(
        model=limits.model(found),
        is_stream=limits.flag(found, "stream"),
        max_output_tokens=_output_tokens(found),
        choices=limits.choices(found),
        wants_usage=True,
    )
    messages = limits.messages(found)
    limits.roles(messages)
    for place, message in enumerate(messages):
        if not isinstance(message.get("content"), str | list):
            raise Refused(f"messages[{place}].content", "The content is a text or a list of blocks.", "invalid_type")
    return asked


def _output_tokens(found: Document) -> int | None:
    """Return how long the answer may become: thoughts between tools may take their whole budget beyond `max_tokens`."""
    budget = limits.integer(document(found.get("thinking")), "budget_tokens", most=limits.MAX_OUTPUT_TOKENS, least=0)
    return max(limits.output_tokens(found, "max_tokens") or 0, budget or 0)


def forward(body: Document, *, model: str) -> Outgoing:
    """Return the body as it came, but for the model."""
    return Outgoing(PATH, body | {"model": model})


def encoder(*, request: Document, call_id: str, created: int, model: str) -> MessagesEncoder:
    """Return a new encoder for one stream."""
    return MessagesEncoder(call_id=call_id, model=model)


def sniffer(*, wants_usage: bool) -> MessagesSniffer:
    """Return a new sniffer for one passed-through stream."""
    return MessagesSniffer()
