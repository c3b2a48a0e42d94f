"""OpenAI's Responses, without what lives on OpenAI's side. See `llm_gateway.shapes.Surface`."""

from typing import Final

from llm_gateway.problems import Refused
from llm_gateway.reading import Document
from llm_gateway.shapes import Asked, Outgoing
from llm_gateway.surfaces import limits
from llm_gateway.surfaces.errors import openai as error_body
from llm_gateway.surfaces.responses.answers import answer
from llm_gateway.surfaces.responses.requests import read
from llm_gateway.surfaces.responses.sniffer import ResponsesSniffer
from llm_gateway.surfaces.responses.stream import ResponsesEncoder

__all__ = ["PATH", "SPEAKS", "answer", "check", "encoder", "error_body", "forward", "read", "sniffer"]

SPEAKS: Final = "openai"
PATH: Final = "/responses"


def check(body: object) -> Asked:
    """Return what the request asks for, or raise Refused."""
    found = limits.body(body)
    given = found.get("input")
    if given is None and not (found.get("previous_response_id") or found.get("prompt") or found.get("conversation")):
        limits.required(found, "input")
    if type(given) is list:
        limits.messages(found, "input")
    elif given is not None and type(given) is not str:
        raise Refused("input", "`input` is a text or a list of items.", "invalid_type")
    if limits.flag(found, "background"):
        text = "Nobody would see what it costs: send the request without `background`, as a stream if it takes long."
        raise Refused("background", text, "unsupported_parameter")
    return Asked(
        model=limits.model(found),
        is_stream=limits.flag(found, "stream"),
        max_output_tokens=limits.output_tokens(found, "max_output_tokens"),
        choices=limits.choices(found),
        wants_usage=True,
    )


def forward(body: Document, *, model: str) -> Outgoing:
    """Return the body as it came, but for the model."""
    return Outgoing(PATH, body | {"model": model})


def encoder(*, request: Document, call_id: str, created: int, model: str) -> ResponsesEncoder:
    """Return a new encoder for one stream."""
    return ResponsesEncoder(request=request, call_id=call_id, created=created, model=model)


def sniffer(*, wants_usage: bool) -> ResponsesSniffer:
    """Return a new sniffer for one passed-through stream."""
    return ResponsesSniffer()
