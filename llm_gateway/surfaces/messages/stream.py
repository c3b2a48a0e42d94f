"""Anthropic's stream: written from canonical chunks, or read along."""

from typing import Final

from llm_gateway import usage as tokens
from llm_gateway.dialects.anthropic import told
from llm_gateway.problems import Problem
from llm_gateway.reading import Document, document, text
from llm_gateway.sse import frame
from llm_gateway.surfaces import errors
from llm_gateway.surfaces.blocks import Block, Blocks, Step
from llm_gateway.surfaces.messages.answers import stop_reason
from llm_gateway.surfaces.sniffing import EventSniffer
from llm_gateway.usage import Usage

_DELTAS: Final = {
    "text": ("text_delta", "text"),
    "refusal": ("text_delta", "text"),
    "reasoning": ("thinking_delta", "thinking"),
    "tool": ("input_json_delta", "partial_json"),
}


class MessagesEncoder:
    """Writes message_start, one content block after the other, message_delta and message_stop."""

    def __init__(self, *, call_id: str, model: str) -> None:
        self._call_id, self._model = call_id, model
        self._blocks = Blocks(call_id=call_id)
        self._index = -1
        self._has_started = False
        self._usage: Usage | None = None

    def feed(self, chunk: Document) -> bytes:
        """Return the events that a chunk leads to."""
        self._usage = tokens.of_openai(chunk.get("usage")) or self._usage
        return self._start() + b"".join([self._event(step) for step in self._blocks.feed(chunk)])

    def finish(self) -> bytes:
        """Return the end of the last block and of the message, with its usage."""
        ended = self._start() + b"".join([self._event(step) for step in self._blocks.finish()])
        blocks = self._blocks
        reason = stop_reason(blocks.finish_reason, has_tools=blocks.has_tools, has_refusal=blocks.has_refusal)
        delta = {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": None},
            "usage": (self._usage or Usage()).to_anthropic(),
        }
        return ended + _frame(delta) + _frame({"type": "message_stop"})

    def error(self, problem: Problem) -> bytes:
        """Return the error frame that ends a stream that broke."""
        return _frame(errors.anthropic(problem))

    def _start(self) -> bytes:
        if self._has_started:
            return b""
        self._has_started = True
        message: Document = {
            "id": f"msg_{self._call_id}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": (self._usage or Usage()).to_anthropic(),
        }
        return _frame({"type": "message_start", "message": message})

    def _event(self, step: Step) -> bytes:
        if step.what == "open":
            self._index += 1
            return _frame({"type": "content_block_start", "index": self._index, "content_block": _begun(step.block)})
        if step.what == "close":
            return _frame({"type": "content_block_stop", "index": self._index})
        kind, name = _DELTAS[step.block.kind]
        return _frame({"type": "content_block_delta", "index": self._index, "delta": {"type": kind, name: step.words}})


def _begun(block: Block) -> Document:
    if block.kind == "tool":
        return {"type": "tool_use", "id": block.identity, "name": block.name, "input": {}}
    if block.kind == "reasoning":
        return {"type": "thinking", "thinking": "", "signature": ""}
    return {"type": "text", "text": ""}


def _frame(payload: Document) -> bytes:
    return frame(payload, name=payload["type"])


class MessagesSniffer(EventSniffer):
    """Reads a message along: usage grows from message_start to message_delta."""

    def __init__(self) -> None:
        super().__init__()
        self._spent: Document = {}

    def look(self, payload: Document) -> bool:
        """Read one event along."""
        match payload.get("type"):
            case "content_block_delta":
                delta = document(payload.get("delta"))
                words = (text(delta.get(name)) for name in ("text", "partial_json", "thinking"))
                self.output_characters += sum(map(len, words))
            case "message_start":
                self._spend(document(payload.get("message")))
            case "message_delta":
                self._spend(payload)
            case "message_stop":
                self.is_done = True
            case "error":
                self.problem = told(payload.get("error"))
                return False
        return True

    def plain(self, payload: Document) -> str:
        """Return the text of a delta of text."""
        delta = document(payload.get("delta"))
        is_text = payload.get("type") == "content_block_delta" and delta.get("type") == "text_delta"
        return text(delta.get("text")) if is_text and "usage" not in payload else ""

    def error(self, problem: Problem) -> bytes:
        """Return the error frame that ends a stream that broke."""
        return _frame(errors.anthropic(problem))

    def _spend(self, payload: Document) -> None:
        found = document(payload.get("usage"))
        self._spent |= {key: value for key, value in found.items() if value is not None}
        self.usage = tokens.of_anthropic(self._spent) or self.usage
