"""OpenAI's chat completions: the canonical form itself. See `llm_gateway.shapes.Surface`."""

from typing import Final

from llm_gateway.dialects import openai
from llm_gateway.problems import Problem
from llm_gateway.reading import Document
from llm_gateway.shapes import Asked, Outgoing
from llm_gateway.sse import frame
from llm_gateway.surfaces import errors, limits
from llm_gateway.surfaces.errors import openai as error_body
from llm_gateway.surfaces.sniffing import OpenAISniffer

__all__ = ["PATH", "SPEAKS", "answer", "check", "encoder", "error_body", "forward", "read", "sniffer"]

SPEAKS: Final = "openai"
PATH: Final = "/chat/completions"


def check(body: object) -> Asked:
    """Return what the request asks for, or raise Refused."""
    found = limits.body(body)
    asked = Asked(
        model=limits.model(found),
        is_stream=limits.flag(found, "stream"),
        max_output_tokens=limits.output_tokens(found, "max_completion_tokens", "max_tokens"),
        choices=limits.choices(found),
        wants_usage=limits.wants_usage(found),
    )
    limits.roles(limits.messages(found))
    return asked


def read(body: Document) -> Document:
    """Return the body: it is canonical."""
    return body


def forward(body: Document, *, model: str) -> Outgoing:
    """Return the body as it came, but for the model and, on a stream, the usage."""
    sent = body | {"model": model}
    if body.get("stream"):
        sent["stream_options"] = (body.get("stream_options") or {}) | {"include_usage": True}
    return Outgoing(PATH, sent)


def answer(canonical: Document, *, request: Document, call_id: str, created: int) -> Document:
    """Return the canonical answer."""
    return canonical


class ChatEncoder:
    """Writes canonical chunks; the usage only where it was asked for."""

    def __init__(self, *, wants_usage: bool) -> None:
        self._wants_usage = wants_usage

    def feed(self, chunk: Document) -> bytes:
        """Return one event."""
        if self._wants_usage:
            return frame(chunk if "usage" in chunk else chunk | {"usage": None})
        if "usage" not in chunk:
            return frame(chunk)
        return frame({key: value for key, value in chunk.items() if key != "usage"}) if chunk["choices"] else b""

    def finish(self) -> bytes:
        """Return the end mark."""
        return b"data: [DONE]\n\n"

    def error(self, problem: Problem) -> bytes:
        """Return the error frame that ends a stream that broke."""
        return frame(errors.openai(problem))


def encoder(*, request: Document, call_id: str, created: int, model: str) -> ChatEncoder:
    """Return a new encoder for one stream."""
    return ChatEncoder(wants_usage=limits.wants_usage(request))


def sniffer(*, wants_usage: bool) -> OpenAISniffer:
    """Return a new sniffer for one passed-through stream."""
    return OpenAISniffer(wants_usage=wants_usage, told=openai.told)
