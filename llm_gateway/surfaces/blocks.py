"""Blocks: put the deltas of a stream into blocks that begin and end one after the other.

A chat completion may mix its deltas (text, then two tool calls by turns); Messages and Responses tell of one block at a
time. A block is told of as it grows while it is the first in line; another waits until the first is known to be over:
a text as soon as something else begins, a tool call when its arguments are whole JSON, everything at the end.
"""

from dataclasses import dataclass, field
from typing import Literal

from llm_gateway.reading import Document, arguments, document, documents, text

Kind = Literal["text", "refusal", "reasoning", "tool"]


@dataclass(slots=True)
class Block:
    """One block: `pieces` is all of its text so far, `waiting` what was not told yet."""

    kind: Kind
    identity: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    is_open: bool = False
    is_held: bool = False

    @property
    def words(self) -> str:
        """Return all of the text so far."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to a block next; `words` is what it grows by."""

    what: Literal["open", "grow", "close"]
    block: Block
    words: str = ""


class Blocks:
    """Turns the chunks of the first choice into steps."""

    def __init__(self, *, call_id: str) -> None:
        self._call_id = call_id
        self._line: list[Block] = []
        self._tools: dict[int, Block] = {}
        self.finish_reason = ""
        self.has_refusal = False

    @property
    def has_tools(self) -> bool:
        """Say whether a tool was called."""
        return bool(self._tools)

    def feed(self, chunk: Document) -> list[Step]:
        """Return the steps that a canonical chunk leads to."""
        for choice in documents(chunk.get("choices")):
            if choice.get("index") in (0, None):
                self._read(document(choice.get("delta")))
                self.finish_reason = text(choice.get("finish_reason")) or self.finish_reason
        return self._advance()

    def finish(self) -> list[Step]:
        """Return the steps that are left at the end."""
        steps = self._advance()
        while self._line:
            steps += self._tell(self._line[0])
            steps.append(Step("close", self._line.pop(0)))
        return steps

    def _read(self, delta: Document) -> None:
        self._grow("reasoning", text(delta.get("reasoning_content")))
        self._grow("text", text(delta.get("content")))
        self._grow("refusal", text(delta.get("refusal")))
        for call in documents(delta.get("tool_calls")):
            self._call(call)

    def _grow(self, kind: Kind, words: str) -> None:
        if not words:
            return
        self.has_refusal = self.has_refusal or kind == "refusal"
        if not self._line or self._line[-1].kind != kind:
            self._line.append(Block(kind))
        self._line[-1].pieces.append(words)
        self._line[-1].waiting.append(words)

    def _call(self, call: Document) -> None:
        index = call.get("index")
        place = index if type(index) is int else 0
        function = document(call.get("function"))
        if place not in self._tools:
            self._tools[place] = Block("tool", identity=text(call.get("id")) or f"call_{self._call_id[:24]}_{place}")
            self._line.append(self._tools[place])
        block = self._tools[place]
        block.name = block.name or text(function.get("name"))
        if words := text(function.get("arguments")):
            block.pieces.append(words)
            block.waiting.append(words)

    def _advance(self) -> list[Step]:
        """Tell of the first in line, and of the next ones as far as each before them is over."""
        steps: list[Step] = []
        while self._line:
            steps += self._tell(self._line[0])
            if len(self._line) == 1 or not self._is_over(self._line[0]):
                break
            steps.append(Step("close", self._line.pop(0)))
        return steps

    def _tell(self, block: Block) -> list[Step]:
        steps = [] if block.is_open else [Step("open", block)]
        block.is_open = True
        if block.waiting:
            steps.append(Step("grow", block, "".join(block.waiting)))
            block.waiting.clear()
        return steps

    def _is_over(self, block: Block) -> bool:
        """Say whether a block can grow no more. A tool call is asked once: if it is not over, it is held to the end."""
        if block.kind != "tool":
            return True
        if not block.is_held:
            block.is_held = not block.pieces or arguments(block.words) is None
        return not block.is_held
