"""Relays: bring a provider's answer into the surface's form, whole or as a stream; they also keep what it used.

Where surface and dialect agree the bytes pass as they came. A relay reads up to the first part of a stream before
anything is sent to the client: until then another provider may still be asked.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Final

import orjson

from llm_gateway import saying
from llm_gateway.cache.recording import Recording
from llm_gateway.guardrails.checking import Guarded
from llm_gateway.guardrails.guard import Guard
from llm_gateway.plane import echo, sending
from llm_gateway.plane.catalog import ECHO
from llm_gateway.plane.routing import Target
from llm_gateway.plane.wishes import NONE, Wishes
from llm_gateway.problems import Problem, parse
from llm_gateway.reading import document
from llm_gateway.shapes import Asked, Document, Outgoing
from llm_gateway.usage import Usage

CHARACTERS_PER_TOKEN: Final = 4
EMBEDDINGS: Final = "embeddings"
EMBEDDED: Final = ("prompt_tokens", "total_tokens")  # what embeddings tell of their usage
PENDING: Final = ("queued", "in_progress")  # a response of OpenAI's that is not there yet
_MARK: Final = re.compile(rb"^(data: ?\[DONE\]|event: ?(message_stop|response\.(completed|incomplete)))", re.MULTILINE)


class Order:
    """What a client wants: its body, what was made of it, and how the answer is to look."""

    def __init__(self, surface: Any, body: Document, asked: Asked, *, size: int, call_id: str, created: int) -> None:
        self.surface, self.body, self.asked = surface, body, asked
        self.size, self.call_id, self.created = size, call_id, created
        self.is_embedding = surface.PATH.endswith(EMBEDDINGS)
        self.wishes: Wishes = NONE
        self.headers: dict[str, str] | None = None  # what a provider of the same dialect is sent on
        self.translated: set[str] = set()  # providers that do not have the path
        self._canonical: Document | None = None
        self.recording: Recording | None = None  # where the answer may be kept
        self.stamp = ""  # what else makes it another question
        self.guard: Guard | None = None  # what the answer has to pass

    @property
    def canonical(self) -> Document:
        """The canonical request, read once; raises Refused for what cannot be translated."""
        if self._canonical is None:
            self._canonical = self.surface.read(self.body)
        return self._canonical

    def passes(self, target: Target) -> bool:
        """Whether bytes pass through unchanged."""
        return bool(target.source.dialect == self.surface.SPEAKS) and target.source.key not in self.translated

    def translate(self, target: Target) -> None:
        """Have what would pass through translated into a chat completion: the provider has no other path."""
        self.translated.add(target.source.key)

    def outgoing(self, target: Target) -> Outgoing:
        """Return the request to a provider; raises Refused."""
        if self.passes(target):
            found: Outgoing = self.surface.forward(self.body, model=target.model)
            return replace(found, headers=self.headers) if self.headers else found
        dialect = sending.DIALECTS[target.source.dialect]
        if self.is_embedding:
            return dialect.embeddings(self.canonical, model=target.model)
        return dialect.chat(self.canonical, model=target.model, is_stream=self.asked.is_stream)


class Whole:
    """An answer that is there as a whole: what the client gets, and what it used, as far as anybody knows.

    One that `is_pending` is no more than a promise: the provider goes on, and bills what nobody here will see.
    """

    def __init__(self, content: bytes, usage: Usage, *, is_estimated: bool = False, is_pending: bool = False) -> None:
        self.content, self.usage = content, usage
        self.is_estimated, self.is_pending = is_estimated, is_pending


def whole(order: Order, target: Target, content: bytes) -> Whole | Problem:
    """Return a provider's whole answer in the surface's form."""
    payload = parse(content)
    if isinstance(payload, Problem):
        return payload
    dialect = sending.DIALECTS[target.source.dialect]
    usage = dialect.usage(payload)
    if order.passes(target):
        is_pending = usage is None and document(payload).get("status") in PENDING
        return Whole(content, usage or _estimated(order, payload), is_estimated=usage is None, is_pending=is_pending)
    if order.is_embedding:
        found = dialect.embedded(payload, model=target.model)
    else:
        found = dialect.answer(payload, model=target.model, call_id=order.call_id, created=order.created)
    if isinstance(found, Problem):
        return found
    if usage is not None:
        return Whole(orjson.dumps(_told(order, found)), usage)
    usage = _estimated(order, found)
    told = usage.to_openai() if not order.is_embedding else dict.fromkeys(EMBEDDED, usage.input_tokens)
    return Whole(orjson.dumps(_told(order, found | {"usage": told})), usage, is_estimated=True)


def _estimated(order: Order, answer: object) -> Usage:
    return estimate(order, 0 if order.is_embedding else saying.of_answer(answer))


def echoed(order: Order) -> Whole:
    """Return what the provider in this process answers."""
    if order.is_embedding:
        found = echo.embedded(order.canonical)
        return Whole(orjson.dumps(_told(order, found)), Usage(input_tokens=found["usage"]["prompt_tokens"]))
    found = echo.answer(order.canonical, call_id=order.call_id, created=order.created)
    text = found["choices"][0]["message"]["content"]
    return Whole(orjson.dumps(_told(order, found)), echo.usage(order.canonical, text))


def _told(order: Order, canonical: Document) -> Document:
    told: Document = order.surface.answer(canonical, request=order.body, call_id=order.call_id, created=order.created)
    return told


class Passing:
    """A stream that passes as it came; `usage`, `is_done` and `problem` are read along."""

    def __init__(self, order: Order) -> None:
        self.sniffer = order.surface.sniffer(wants_usage=order.asked.wants_usage)

    def feed(self, data: bytes) -> bytes:
        """Return what to send on."""
        return self.sniffer.feed(data)  # type: ignore[no-any-return]

    def finish(self) -> bytes:
        """Return what is left at the end."""
        return self.sniffer.finish()  # type: ignore[no-any-return]

    def error(self, problem: Problem) -> bytes:
        """Return an error frame."""
        return self.sniffer.error(problem)  # type: ignore[no-any-return]

    @property
    def usage(self) -> Usage | None:
        """What the provider said so far."""
        return self.sniffer.usage  # type: ignore[no-any-return]

    @property
    def problem(self) -> Problem | None:
        """What went wrong, as the provider said."""
        return self.sniffer.problem  # type: ignore[no-any-return]

    @property
    def is_done(self) -> bool:
        """Whether the provider's own end mark was seen: what the connection does after it does not matter."""
        return self.sniffer.is_done  # type: ignore[no-any-return]

    @property
    def output_characters(self) -> int:
        """How much was said so far."""
        return self.sniffer.output_characters  # type: ignore[no-any-return]


class Translating:
    """A stream that is decoded from one dialect and encoded for another surface."""

    def __init__(self, order: Order, target: Target) -> None:
        names = {"call_id": order.call_id, "created": order.created, "model": target.model}
        self.decoder = sending.DIALECTS[target.source.dialect].decoder(**names)  # type: ignore[arg-type]
        self.encoder = order.surface.encoder(request=order.body, **names)
        self.output_characters = 0

    def feed(self, data: bytes) -> bytes:
        """Return what to send on."""
        return self._encode(self.decoder.feed(data))

    def finish(self) -> bytes:
        """Return what is left at the end."""
        rest = self._encode(self.decoder.finish())
        return rest if self.decoder.problem is not None else rest + self.encoder.finish()

    def error(self, problem: Problem) -> bytes:
        """Return an error frame."""
        return self.encoder.error(problem)  # type: ignore[no-any-return]

    @property
    def usage(self) -> Usage | None:
        """What the provider said so far."""
        return self.decoder.usage

    @property
    def problem(self) -> Problem | None:
        """What went wrong, as the provider said."""
        return self.decoder.problem

    @property
    def is_done(self) -> bool:
        """Whether the provider's own end mark was seen."""
        return self.decoder.is_done

    def _encode(self, chunks: list[Document]) -> bytes:
        parts = []
        for chunk in chunks:
            self.output_characters += saying.of_chunk(chunk)
            parts.append(self.encoder.feed(chunk))
        return b"".join(parts)


class Echoing:
    """The stream of the provider in this process."""

    problem = None
    is_done = False

    def __init__(self, order: Order) -> None:
        call_id, created = order.call_id, order.created
        self.encoder = order.surface.encoder(request=order.body, model=echo.MODEL, call_id=call_id, created=created)
        self.chunks = echo.chunks(order.canonical, call_id=call_id, created=created)
        self.output_characters = 0
        self.usage: Usage | None = None
        self._order = order

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield what the client is sent."""
        said = ""
        for chunk in self.chunks:
            for choice in chunk["choices"]:
                said += choice["delta"].get("content", "") if choice["index"] == 0 else ""
            self.output_characters += saying.of_chunk(chunk)
            yield self.encoder.feed(chunk)
        self.usage, self.is_done = echo.usage(self._order.canonical, said), True
        yield self.encoder.finish()

    def error(self, problem: Problem) -> bytes:
        """Return an error frame."""
        return self.encoder.error(problem)  # type: ignore[no-any-return]


def stream(order: Order, target: Target) -> Passing | Translating | Guarded:
    """Return the relay of a provider's stream."""
    found = Passing(order) if order.passes(target) else Translating(order, target)
    return Guarded(order.guard, found) if order.guard else found


def echo_stream(order: Order) -> "Echoing | Guarded":
    """Return the relay of the stream of the provider in this process."""
    return Guarded(order.guard, Echoing(order)) if order.guard else Echoing(order)


def is_echo(target: Target) -> bool:
    """Whether the answer comes from this process."""
    return target.source.dialect == ECHO


def commented(part: bytes, text: str) -> bytes:
    """Return the last part of a stream with a comment before its end mark: clients of event streams skip comments."""
    marks = [match.start() for match in _MARK.finditer(part)]
    place = marks[-1] if marks else len(part)
    return b"%b: %b\n\n%b" % (part[:place], text.encode(), part[place:])


def estimate(order: Order, output_characters: int, *, said: Usage | None = None) -> Usage:
    """Return what a call used whose provider did not say, or said no more than `said`: four characters are a token."""
    output = -(-output_characters // CHARACTERS_PER_TOKEN)
    if said is None:
        return Usage(input_tokens=-(-order.size // CHARACTERS_PER_TOKEN), output_tokens=output)
    return replace(said, output_tokens=max(said.output_tokens, output))
