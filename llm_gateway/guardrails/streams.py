"""Streams: an answer that is cleaned while it passes, in the surface's own events. Pure.

Texts grow in channels: a choice's content, the arguments of a tool, a block. Each has its own hold-back, which is told
before the event that ends it. Probabilities of tokens are left out, for they tell the text once more.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson

from llm_gateway.guardrails import bodies
from llm_gateway.guardrails.bodies import HeldArguments
from llm_gateway.guardrails.guard import Blocked, Guard, Held
from llm_gateway.reading import Document, document, documents, is_deep, may_be_deep, text
from llm_gateway.sse import Events, frame, read

_AGAIN: Final = frozenset({"message", "reasoning_details"})  # tell a text once more, and are left out
_PARTS: Final = {"function": "arguments", "custom": "input"}  # of a tool's call: what comes in parts
_BLOCK: Final = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
_ARGUMENTS: Final = ("partial_json", "response.function_call_arguments.delta")
Channel = tuple[Any, ...]


class Cleaner:
    """Cleans the events of one stream; raises Blocked for what does not pass."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._held: dict[Channel, Held | HeldArguments] = {}
        self._flushes: dict[Channel, Callable[[str], Document]] = {}
        self._events = Events()
        self._names: dict[Channel, str] = {}
        self._sequence = 0

    def feed(self, data: bytes) -> bytes:
        """Return the events in `data` as they may pass."""
        return b"".join(part for raw in self._events.cut(data) for part in self._parts(raw))

    def finish(self) -> bytes:
        """Return what was held back, where the stream ended without an event that says so."""
        left = self._events.finish()
        parts = list(self._parts(left.raw)) if left else []
        return b"".join([*parts, *self._flushed(())])

    def _parts(self, raw: bytes) -> Iterator[bytes]:
        event = read(raw)
        if not event.data:
            yield raw
        elif event.data.strip() == b"[DONE]":
            yield from self._flushed(())
            yield raw
        else:
            payload = orjson.loads(event.data)
            if may_be_deep(event.data) and is_deep(payload):
                raise bodies.TooLong
            yield from self._told(payload, event.name.decode())

    def _told(self, payload: Document, name: str) -> Iterator[bytes]:
        kind = text(payload.get("type"))
        if "choices" in payload:
            yield from self._chunk(payload)
        elif kind == "content_block_delta":
            yield self._block(payload, name)
        elif kind == "content_block_stop":
            yield from self._flushed((payload.get("index"),))
            yield frame(payload, name=name)
        elif kind.startswith("response."):
            yield from self._response(payload, name)
        else:
            yield frame(bodies.walked(payload, self._guard.clean), name=name or None)

    # --- chat completions and their elders ----------------------------------------------------------------------------

    def _chunk(self, payload: Document) -> Iterator[bytes]:
        choices = []
        for choice in documents(payload.get("choices")):
            index = choice.get("index", 0)
            if choice.get("finish_reason"):
                yield from self._flushed((index,))
            choices.append(self._choice(payload, choice, index))
        yield frame(payload | {"choices": choices})

    def _choice(self, payload: Document, choice: Document, index: Any) -> Document:
        bare = {name: value for name, value in choice.items() if name in ("index", "finish_reason")}

        def flush(more: Document) -> Document:
            return payload | {"choices": [{**bare, "logprobs": None, "finish_reason": None, **more}]}

        is_last, told = bool(choice.get("finish_reason")), dict(bare)
        for name, value in choice.items():
            if name == "delta":
                told[name] = self._delta(document(value), index, flush, is_last=is_last)
            elif name == "text" and isinstance(value, str):
                told[name] = self._grown((index, name), value, lambda rest: flush({"text": rest}), is_last=is_last)
            elif name == "logprobs":
                told[name] = None
            elif name not in bare and name not in _AGAIN:
                told[name] = bodies.walked(value, self._guard.clean)
        return told

    def _delta(self, given: Document, index: Any, flush: Callable[[Document], Document], *, is_last: bool) -> Document:
        delta: Document = {}
        for field, value in given.items():
            if field == "tool_calls":
                delta[field] = [self._call(index, call, flush, is_last=is_last) for call in documents(value)]
            elif field == "function_call":  # what calls of tools were before
                delta[field] = self._function(index, document(value), flush, is_last=is_last)
            elif isinstance(value, str) and field != "role":
                told = _of_field(flush, field)
                delta[field] = self._grown((index, field), value, told, is_last=is_last)
            elif field not in _AGAIN:
                delta[field] = bodies.walked(value, self._guard.clean)
        return delta

    def _call(self, index: Any, call: Document, flush: Callable[[Document], Document], *, is_last: bool) -> Document:
        place, told = call.get("index", 0), Document()
        for field, value in call.items():
            part = _PARTS.get(field, "")
            if not part or not isinstance(words := document(value).get(part), str):
                told |= bodies.walked({field: value}, self._guard.clean)
                continue

            def later(rest: str, field: str = field, part: str = part) -> Document:
                return flush({"delta": {"tool_calls": [{"index": place, field: {part: rest}}]}})

            kind = "tool" if part == "arguments" else field
            told[field] = value | {part: self._grown((index, kind, place), words, later, is_last=is_last)}
        return told

    def _function(
        self, index: Any, function: Document, flush: Callable[[Document], Document], *, is_last: bool
    ) -> Document:
        if not isinstance(words := function.get("arguments"), str):
            return document(bodies.walked(function, self._guard.clean))

        def later(rest: str) -> Document:
            return flush({"delta": {"function_call": {"arguments": rest}}})

        return function | {"arguments": self._grown((index, "tool", None), words, later, is_last=is_last)}

    # --- blocks and items ---------------------------------------------------------------------------------------------

    def _block(self, payload: Document, name: str) -> bytes:
        delta = document(payload.get("delta"))
        field = _BLOCK.get(text(delta.get("type")), "")
        if not field or not isinstance(delta.get(field), str):
            return frame(bodies.walked(payload, self._guard.clean), name=name)

        def told(rest: str) -> Document:
            return payload | {"delta": delta | {field: rest}}

        said = self._grown((payload.get("index"), field), delta[field], told, name=name)
        return frame(told(said), name=name)

    def _response(self, payload: Document, name: str) -> Iterator[bytes]:
        kind = text(payload["type"])
        channel = (payload.get("output_index"), payload.get("content_index"), payload.get("summary_index"))
        if kind.endswith(".delta") and isinstance(payload.get("delta"), str):

            def told(rest: str) -> Document:
                return payload | {"delta": rest} | ({"logprobs": []} if "logprobs" in payload else {})

            yield self._numbered(told(self._grown((*channel, kind), payload["delta"], told, name=name)), name)
            return
        if kind.endswith(".done"):
            for part in self._rest((payload.get("output_index"),)):
                yield self._numbered(*part)
        yield self._numbered(bodies.walked(payload, self._guard.clean), name)

    def _numbered(self, payload: Document, name: str) -> bytes:
        if "sequence_number" in payload:
            payload = payload | {"sequence_number": self._sequence}
            self._sequence += 1
        return frame(payload, name=name or None)

    # --- channels -----------------------------------------------------------------------------------------------------

    def _grown(
        self, channel: Channel, words: str, told: Callable[[str], Document], *, name: str = "", is_last: bool = False
    ) -> str:
        """Return what of a channel may be told now; `told` makes an event of what is told of it later."""
        held = self._held.get(channel)
        if held is None:
            is_json = channel[1] == "tool" or channel[-1] in _ARGUMENTS
            held = HeldArguments(self._guard.clean) if is_json else Held(self._guard)
            self._held[channel] = held
        self._flushes[channel], self._names[channel] = told, name
        said = held.feed(words)
        return said + held.finish() if is_last else said

    def _flushed(self, prefix: Channel) -> Iterator[bytes]:
        for payload, name in self._rest(prefix):
            yield frame(payload, name=name or None)

    def _rest(self, prefix: Channel) -> Iterator[tuple[Document, str]]:
        """Yield the events of what the channels that begin so still hold; they are over."""
        for channel in [channel for channel in self._held if channel[: len(prefix)] == prefix]:
            rest = self._held.pop(channel).finish()
            told, name = self._flushes.pop(channel), self._names.pop(channel)
            if rest:
                yield told(rest), name


def _of_field(flush: Callable[[Document], Document], field: str) -> Callable[[str], Document]:
    return lambda rest: flush({"delta": {field: rest}})


__all__ = ["Blocked", "Cleaner"]
