"""Checking: a request before anybody is asked, an answer before the client has it. Heavy ones in a thread."""

import asyncio
from typing import TYPE_CHECKING, Any, Final

import orjson

from llm_gateway.guardrails import bodies
from llm_gateway.guardrails.guard import Blocked, Guard
from llm_gateway.guardrails.streams import Cleaner
from llm_gateway.problems import Problem, Refused, bad_answer
from llm_gateway.reading import Document, is_deep, may_be_deep
from llm_gateway.usage import Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

HEAVY_BYTES: Final = 64 * 1024
CODE: Final = "content_blocked"
TOO_DEEP: Final = "The answer is nested too deep for the guardrails, or the arguments of a tool are too long."


async def request(guard: Guard, body: Document, *, size: int) -> Document:
    """Return a request's body as it may be sent; raises Blocked, and Refused for what cannot be looked at."""
    try:
        if size <= HEAVY_BYTES:
            return bodies.request(body, guard.clean)
        return await asyncio.to_thread(bodies.request, body, guard.clean)
    except bodies.TooLong:
        raise Refused(None, "The arguments of a tool are nested too deep for the guardrails.") from None


async def answer(guard: Guard, content: bytes) -> bytes | Problem:
    """Return a whole answer in its surface's form as it may be given, or the problem that keeps it back."""
    try:
        if len(content) <= HEAVY_BYTES:
            return _answer(guard, content)
        return await asyncio.to_thread(_answer, guard, content)
    except Blocked as blocked:
        return refusal(blocked.rule, "answer")
    except bodies.TooLong:
        return bad_answer(TOO_DEEP)


def _answer(guard: Guard, content: bytes) -> bytes:
    payload = orjson.loads(content)
    if may_be_deep(content) and is_deep(payload):
        raise bodies.TooLong
    found = bodies.cleaned(payload, guard.clean, names=bodies.ANSWER)
    return content if found is payload else orjson.dumps(found)


def refusal(rule: str, what: str) -> Problem:
    """Return what a client is told: the rule, and nothing of the text."""
    text = f"The guardrail `{rule}` does not let this {what} pass."
    return Problem(400, "invalid_request_error", text, code=CODE)


class Guarded:
    """A relay whose stream is cleaned; for the rest it is the relay that it holds."""

    def __init__(self, guard: Guard, inner: Any) -> None:
        self._inner, self._cleaner = inner, Cleaner(guard)
        self._refusal: Problem | None = None

    def feed(self, data: bytes) -> bytes:
        """Return what to send on."""
        return self._passed(self._inner.feed(data))

    def finish(self) -> bytes:
        """Return what is left at the end."""
        rest = self._passed(self._inner.finish())
        if self._inner.problem is not None or self._refusal is not None:
            return rest
        left = self._guarded(self._cleaner.finish)
        return b"" if self._refusal is not None else rest + left

    async def parts(self) -> "AsyncIterator[bytes]":
        """Yield what the client is sent, of a provider in this process."""
        async for part in self._inner.parts():
            yield self._passed(part)
            if self._refusal is not None:
                return

    def error(self, problem: Problem) -> bytes:
        """Return an error frame."""
        return self._inner.error(problem)  # type: ignore[no-any-return]

    @property
    def problem(self) -> Problem | None:
        """What went wrong: what the guard does not let pass, else what the provider said."""
        return self._refusal or self._inner.problem

    @property
    def is_refused(self) -> bool:
        """Whether the guard ended the stream: the provider has to be paid all the same."""
        return self._refusal is not None

    @property
    def usage(self) -> Usage | None:
        """What the provider said so far."""
        return self._inner.usage  # type: ignore[no-any-return]

    @property
    def is_done(self) -> bool:
        """Whether the provider's own end mark was seen."""
        return bool(self._inner.is_done)

    @property
    def output_characters(self) -> int:
        """How much was said so far, as the provider counts it."""
        return int(self._inner.output_characters)

    def _passed(self, data: bytes) -> bytes:
        if not data or self._refusal is not None:
            return b""
        return self._guarded(lambda: self._cleaner.feed(data))

    def _guarded(self, work: "Callable[[], bytes]") -> bytes:
        try:
            return work()
        except Blocked as blocked:
            self._refusal = refusal(blocked.rule, "answer")
        except bodies.TooLong:
            self._refusal = bad_answer(TOO_DEEP)
        return b""
