"""Shapes: what dialects (what providers speak) and surfaces (what clients speak) have in common. Pure.

The canonical form between them is OpenAI's chat completion as plain dictionaries, with three additions that others of
the field use too: `reasoning_content` (text) and `thinking_blocks` (Anthropic's, with their signatures) on messages and
deltas, and `extra_content.google.thought_signature` on tool calls.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from llm_gateway.problems import Problem
from llm_gateway.reading import Document
from llm_gateway.usage import Usage

__all__ = ["Asked", "Decoder", "Dialect", "Document", "Encoder", "Outgoing", "Sniffer", "Surface"]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request to a provider: `path` is appended to the provider's base URL (it may hold a query).

    `headers` are those of the client that are sent on; they hold no credential.
    """

    path: str
    body: Document
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What routing and money need to know of a request. `max_output_tokens` is per choice."""

    model: str
    is_stream: bool = False
    max_output_tokens: int | None = None
    choices: int = 1
    wants_usage: bool = False


class Decoder(Protocol):
    """Turns a provider's stream into canonical chunks, however its bytes are cut."""

    usage: Usage | None
    is_done: bool
    problem: Problem | None

    def feed(self, data: bytes) -> list[Document]:
        """Return the chunks that `data` completes; nothing any more after a problem."""

    def finish(self) -> list[Document]:
        """Return what is left at the provider's end of stream; sets `problem` when that came too early."""


class Encoder(Protocol):
    """Turns canonical chunks into the bytes of a surface's stream."""

    def feed(self, chunk: Document) -> bytes:
        """Return what the client is sent for one chunk; may be empty."""

    def finish(self) -> bytes:
        """Return the end of a stream that went well."""

    def error(self, problem: Problem) -> bytes:
        """Return the end of a stream that broke: an error frame, never an end mark."""


class Sniffer(Protocol):
    """Passes a provider's stream through and reads along."""

    usage: Usage | None
    is_done: bool
    problem: Problem | None
    output_characters: int

    def feed(self, data: bytes) -> bytes:
        """Return the complete events in `data` as they came, less what the client did not ask for.

        An error event is not passed on: it becomes `problem`, and the caller sends `error(problem)`.
        """

    def finish(self) -> bytes:
        """Return what is left at the provider's end of stream; sets `problem` when that came too early."""

    def error(self, problem: Problem) -> bytes:
        """Return the end of a stream that broke: an error frame, never an end mark."""


class Dialect(Protocol):
    """What a module of `llm_gateway.dialects` offers."""

    BASE_URL: str

    def headers(self, api_key: str) -> dict[str, str]:
        """Return the headers of a request; an empty key sends no credential."""

    def chat(self, body: Document, *, model: str, is_stream: bool) -> Outgoing:
        """Return the provider's request for a canonical one, or raise Untranslatable."""

    def embeddings(self, body: Document, *, model: str) -> Outgoing:
        """Return the provider's request for an OpenAI embeddings request, or raise Untranslatable."""

    def answer(self, payload: object, *, model: str, call_id: str, created: int) -> Document | Problem:
        """Return the canonical answer of a provider's parsed payload, or the problem that it is none."""

    def embedded(self, payload: object, *, model: str) -> Document | Problem:
        """Return OpenAI's embeddings answer (floats) of a provider's parsed payload, or the problem that it is none."""

    def usage(self, payload: object) -> Usage | None:
        """Return what a provider's parsed answer says of tokens, None when it says nothing."""

    def decoder(self, *, model: str, call_id: str, created: int) -> Decoder:
        """Return a new decoder for one stream."""

    def problem(self, status: int, body: bytes) -> Problem:
        """Return the problem that a provider's error answer tells of."""


class Surface(Protocol):
    """What a module of `llm_gateway.surfaces` offers. `call_id` is plain: a surface prefixes it."""

    SPEAKS: str
    PATH: str

    def check(self, body: object) -> Asked:
        """Return what the request asks for, or raise Refused: denied fields, limits, types (R23, R24)."""

    def read(self, body: Document) -> Document:
        """Return the canonical request of a checked body, or raise Refused for what cannot be translated."""

    def forward(self, body: Document, *, model: str) -> Outgoing:
        """Return the request to a provider that speaks this surface's own dialect: as it came, but for `model`."""

    def answer(self, canonical: Document, *, request: Document, call_id: str, created: int) -> Document:
        """Return the surface's answer of a canonical one. `request` is the client's body."""

    def encoder(self, *, request: Document, call_id: str, created: int, model: str) -> Encoder:
        """Return a new encoder for one stream."""

    def sniffer(self, *, wants_usage: bool) -> Sniffer:
        """Return a new sniffer for one passed-through stream."""

    def error_body(self, problem: Problem) -> Document:
        """Return the error answer in the surface's own shape."""
