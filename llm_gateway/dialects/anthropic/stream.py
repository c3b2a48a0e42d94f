"""Anthropic's stream: message_start, content blocks with their deltas, message_delta, message_stop."""

from llm_gateway import usage as tokens
from llm_gateway.dialects.anthropic import answers
from llm_gateway.dialects.decoding import EventDecoder
from llm_gateway.reading import Document, document, encode, text


class AnthropicDecoder(EventDecoder):
    """Turns content blocks into deltas; usage grows from message_start to message_delta."""

    def __init__(self, *, model: str, call_id: str, created: int) -> None:
        super().__init__(model=model, call_id=call_id, created=created)
        self._spent: Document = {}
        self._calls: dict[int, int] = {}  # block index → index among the tool calls
        self._given: dict[int, Document] = {}  # block index → input that came with the block's start
        self._thoughts: dict[int, Document] = {}  # block index → the thinking block as it began
        self._pieces: dict[tuple[int, str], list[str]] = {}  # (block index, field) → what it grew by

    def read(self, payload: Document) -> list[Document]:
        """Return the chunks of one event; pings and what is not known say nothing."""
        index = payload.get("index")
        place = index if type(index) is int else 0
        match payload.get("type"):
            case "message_start":
                return self._start(document(payload.get("message")))
            case "content_block_start":
                return self._open(place, document(payload.get("content_block")))
            case "content_block_delta":
                return self._grow(place, document(payload.get("delta")))
            case "content_block_stop":
                return self._close(place)
            case "message_delta":
                return self._end(payload)
            case "message_stop":
                self.is_done = True
                return [self.frame.usage_chunk(self.usage)] if self.usage else []
            case "error":
                self.problem = answers.told(payload.get("error"))
        return []

    def _start(self, message: Document) -> list[Document]:
        self._spend(message)
        return [self.frame.chunk({"role": "assistant", "content": ""})]

    def _spend(self, payload: Document) -> None:
        found = document(payload.get("usage"))
        self._spent |= {key: value for key, value in found.items() if value is not None}
        self.usage = tokens.of_anthropic(self._spent) or self.usage

    def _open(self, place: int, block: Document) -> list[Document]:
        match block.get("type"):
            case "text" if text(block.get("text")):
                return [self.frame.chunk({"content": block["text"]})]
            case "thinking" | "redacted_thinking":
                self._thoughts[place] = dict(block)
                return self._thought(text(block.get("thinking")))
            case "tool_use":
                self._calls[place] = len(self._calls)
                self._given[place] = document(block.get("input"))
                named = {"name": text(block.get("name")), "arguments": ""}
                return [self._call(place, {"id": text(block.get("id")), "type": "function", "function": named})]
        return []

    def _grow(self, place: int, delta: Document) -> list[Document]:
        match delta.get("type"):
            case "text_delta":
                return [self.frame.chunk({"content": text(delta.get("text"))})]
            case "input_json_delta" if place in self._calls and text(delta.get("partial_json")):
                self._given.pop(place, None)
                return [self._call(place, {"function": {"arguments": delta["partial_json"]}})]
            case "thinking_delta" if place in self._thoughts:
                self._add(place, "thinking", delta)
                return self._thought(text(delta.get("thinking")))
            case "signature_delta" if place in self._thoughts:
                self._add(place, "signature", delta)
        return []

    def _close(self, place: int) -> list[Document]:
        if place in self._given:  # no delta came: the input is what the start held
            return [self._call(place, {"function": {"arguments": encode(self._given.pop(place))}})]
        if place in self._thoughts:
            return [self.frame.chunk({"thinking_blocks": [self._thought_block(place)]})]
        return []

    def _end(self, payload: Document) -> list[Document]:
        self._spend(payload)
        reason = text(document(payload.get("delta")).get("stop_reason"))
        return [self.frame.chunk({}, finish_reason=answers.FINISH_REASONS.get(reason, "stop"))] if reason else []

    def _add(self, place: int, name: str, delta: Document) -> None:
        self._pieces.setdefault((place, name), []).append(text(delta.get(name)))

    def _thought_block(self, place: int) -> Document:
        block = self._thoughts.pop(place)
        grown = {name: "".join(self._pieces.pop((place, name), [])) for name in ("thinking", "signature")}
        return block | {name: text(block.get(name)) + words for name, words in grown.items() if words}

    def _thought(self, words: str) -> list[Document]:
        return [self.frame.chunk({"reasoning_content": words})] if words else []

    def _call(self, place: int, piece: Document) -> Document:
        return self.frame.chunk({"tool_calls": [{"index": self._calls[place]} | piece]})
