"""Sniffing: pass a provider's stream through unchanged, and read along what it costs and how it ends."""

from collections.abc import Callable
from typing import Final

import orjson

from llm_gateway import usage as tokens
from llm_gateway.problems import Problem, bad_answer, cut_short
from llm_gateway.reading import Document, document, documents, text
from llm_gateway.sse import MAX_EVENT_BYTES, Event, Events, frame, read
from llm_gateway.surfaces import errors
from llm_gateway.surfaces.likeness import Likeness
from llm_gateway.usage import Usage

_FIRST_EVENTS: Final = 4  # of what arrives at once, looked at one by one until the rest is like them


class EventSniffer:
    """Passes events on one by one; `look` says of each whether the client gets it."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.is_done = False
        self.problem: Problem | None = None
        self.output_characters = 0
        self._events = Events()
        self._likeness = Likeness()

    def feed(self, data: bytes) -> bytes:
        """Return the complete events as they came, less what the client does not get."""
        passed: list[bytes] = []
        is_simple = self._events.is_simple and len(data) <= MAX_EVENT_BYTES
        start = self._feed_alike(data, passed) if is_simple else 0
        for raw in self._events.cut(data[start:] if start else data):
            self._feed_one(raw, passed)
        if self._events.is_overflown and not self.is_done and not self.problem:
            self.problem = bad_answer(f"The provider sent an event of more than {MAX_EVENT_BYTES} bytes.")
        return passed[0] if len(passed) == 1 else b"".join(passed)

    def finish(self) -> bytes:
        """Return what is left at the end of the stream; sets `problem` when it came too early."""
        left = self._events.finish()
        passed = left.raw if left and self._passes(left) else b""
        if self.problem and self.problem.code == "bad_provider_answer":
            self.problem = cut_short()
        if not self.problem and not self.is_done:
            self.is_done = self.is_complete()
        if not self.problem and not self.is_done:
            self.problem = cut_short()
        return passed

    def is_complete(self) -> bool:
        """Say whether all was there when the provider closed without its end mark."""
        return False

    def look(self, payload: Document) -> bool:
        """Read one event along; return whether the client gets it."""
        raise NotImplementedError

    def plain(self, payload: Document) -> str:
        """Return the text of an event that holds nothing else to be read, else the empty string."""
        return ""

    def error(self, problem: Problem) -> bytes:
        """Return the error frame that ends a stream that broke."""
        raise NotImplementedError

    def _feed_alike(self, data: bytes, passed: list[bytes]) -> int:
        """Take the first events, and in one go those that are like them; return how many bytes that were."""
        place = 0
        for _ in range(_FIRST_EVENTS):
            if self.is_done or self.problem:
                return place
            size, characters = self._likeness.run(data, place)
            if size:
                self.output_characters += characters
                passed.append(data[place : place + size])
                return place + size
            end = data.find(b"\n\n", place) + 2
            if end < 2 or data.find(b"\r", place, end) >= 0:
                return place
            self._feed_one(data[place:end], passed)
            place = end
        return place

    def _feed_one(self, raw: bytes, passed: list[bytes]) -> None:
        if self._skims(raw) or self._passes(read(raw)):
            passed.append(raw)

    def _skims(self, raw: bytes) -> bool:
        """Say whether an event is like the one before it, and count its text."""
        if self.is_done or self.problem:
            return False
        size, characters = self._likeness.run(raw)
        if size != len(raw):
            return False
        self.output_characters += characters
        return True

    def _passes(self, event: Event) -> bool:
        if self.problem or self.is_done:
            return self.is_done and not self.problem and not event.data
        if not event.data:
            return True
        if event.data.strip() == b"[DONE]":
            self.is_done = True
            return True
        try:
            payload = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            payload = None
        if type(payload) is not dict:
            self.problem = bad_answer("The provider sent an event that is not a JSON object.")
            return False
        is_passed = self.look(payload)
        if words := self.plain(payload):
            self._likeness.learn(event.raw, words)
        return is_passed


class OpenAISniffer(EventSniffer):
    """Reads chat completions and legacy completions along; hides the usage that only we asked for."""

    def __init__(self, *, wants_usage: bool, told: Callable[[object], Problem]) -> None:
        super().__init__()
        self._wants_usage, self._told = wants_usage, told
        self._open: set[object] = set()
        self._has_ended = False

    def is_complete(self) -> bool:
        """Say whether every choice had its finish reason: some compatible servers send no `[DONE]`."""
        return self._has_ended and not self._open

    def look(self, payload: Document) -> bool:
        """Read one chunk along."""
        if payload.get("error"):
            self.problem = self._told(payload["error"])
            return False
        choices = documents(payload.get("choices"))
        for choice in choices:
            self._count(choice)
        if payload.get("usage"):
            self.usage = tokens.of_openai(payload["usage"]) or self.usage
            return self._wants_usage or bool(choices)
        return True

    def plain(self, payload: Document) -> str:
        """Return the text of a chunk with one choice that goes on, and nothing but text in it."""
        choices = payload.get("choices")
        if payload.get("usage") or type(choices) is not list or len(choices) != 1:
            return ""
        choice = document(choices[0])
        delta = document(choice.get("delta"))
        if choice.get("finish_reason") or not delta.keys() <= {"content", "role"}:
            return ""
        return text(delta.get("content") or choice.get("text"))

    def error(self, problem: Problem) -> bytes:
        """Return the error frame that ends a stream that broke."""
        return frame(errors.openai(problem))

    def _count(self, choice: Document) -> None:
        delta = document(choice.get("delta"))
        for words in (choice.get("text"), delta.get("content"), delta.get("reasoning_content"), delta.get("refusal")):
            if type(words) is str:
                self.output_characters += len(words)
        for call in documents(delta.get("tool_calls")) if "tool_calls" in delta else ():
            words = document(call.get("function")).get("arguments")
            self.output_characters += len(words) if type(words) is str else 0
        index = choice.get("index")
        if choice.get("finish_reason"):
            self._has_ended = True
            self._open.discard(index if type(index) is int else 0)
        elif type(index) is int and 0 <= index < 1024:
            self._open.add(index)
