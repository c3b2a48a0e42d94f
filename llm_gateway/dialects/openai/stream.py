"""OpenAI's stream: chat completion chunks, then `[DONE]`."""

from llm_gateway import usage as tokens
from llm_gateway.dialects.decoding import EventDecoder
from llm_gateway.dialects.openai import errors
from llm_gateway.reading import Document, document, documents, text


class OpenAIDecoder(EventDecoder):
    """Hands on chunks nearly as they came."""

    def __init__(self, *, model: str, call_id: str, created: int) -> None:
        super().__init__(model=model, call_id=call_id, created=created)
        self._open: set[int] = set()
        self._closed: set[int] = set()

    def is_mark(self, data: bytes) -> bool:
        """Note `[DONE]`."""
        if data.strip() != b"[DONE]":
            return False
        self.is_done = True
        return True

    def is_complete(self) -> bool:
        """Say whether every choice had its finish reason: some compatible servers send no `[DONE]`."""
        return bool(self._closed) and not self._open

    def read(self, payload: Document) -> list[Document]:
        """Return the chunk, with the fields that one may rely on."""
        if payload.get("error"):
            self.problem = errors.told(payload["error"])
            return []
        found = tokens.of_openai(payload.get("usage"))
        self.usage = found or self.usage
        choices = [_choice(item) for item in documents(payload.get("choices"))]
        for item in choices:
            (self._closed.add if item["finish_reason"] else self._open.add)(item["index"])
        self._open -= self._closed
        if not choices:
            return [self.frame.usage_chunk(found)] if found else []
        chunk = self.frame.chunk({}) | {"choices": choices}
        if model := text(payload.get("model")):
            chunk["model"] = model
        return [chunk | {"usage": found.to_openai()} if found else chunk]


def _choice(item: Document) -> Document:
    index = item.get("index")
    return {
        "index": index if type(index) is int and 0 <= index < 1024 else 0,
        "delta": _delta(document(item.get("delta"))),
        "logprobs": document(item.get("logprobs")) or None,
        "finish_reason": text(item.get("finish_reason")) or None,
    }


def _delta(delta: Document) -> Document:
    kept = {key: delta[key] for key in _TEXTS if type(delta.get(key)) is str}
    if "reasoning_content" not in kept and type(delta.get("reasoning")) is str:
        kept["reasoning_content"] = delta["reasoning"]
    if calls := documents(delta.get("tool_calls")):
        kept["tool_calls"] = [_call(call, place) for place, call in enumerate(calls)]
    return kept


_TEXTS = ("role", "content", "refusal", "reasoning_content")


def _call(call: Document, place: int) -> Document:
    """Return a piece of a tool call; servers that send each call whole may leave out the index."""
    index, function = call.get("index"), document(call.get("function"))
    piece: Document = {"index": index if type(index) is int else place}
    if identity := text(call.get("id")):
        piece |= {"id": identity, "type": "function"}
    named = {key: function[key] for key in ("name", "arguments") if type(function.get(key)) is str}
    return piece | {"function": named}
