"""Canonical: build chat completions and their chunks, the form between dialects and surfaces. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from llm_gateway.reading import Document
from llm_gateway.usage import Usage


@dataclass(frozen=True, slots=True)
class Frame:
    """What every answer of one call repeats. `created` is in seconds since 1970."""

    call_id: str
    created: int
    model: str

    @property
    def _head(self) -> Document:
        return {"id": f"chatcmpl-{self.call_id}", "object": "chat.completion", "created": self.created}

    def completion(self, choices: Sequence[Document], *, usage: Usage | None, model: str = "") -> Document:
        """Return a whole chat completion; `model` is what the provider calls it."""
        body = self._head | {"model": model or self.model, "choices": list(choices)}
        return body | {"usage": usage.to_openai()} if usage else body

    def chunk(self, delta: Document, *, index: int = 0, finish_reason: str | None = None) -> Document:
        """Return one chunk with one choice."""
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._head | {"object": "chat.completion.chunk", "model": self.model, "choices": [choice]}

    def usage_chunk(self, usage: Usage) -> Document:
        """Return the chunk that holds nothing but the usage."""
        head = self._head | {"object": "chat.completion.chunk", "model": self.model}
        return head | {"choices": [], "usage": usage.to_openai()}


def choice(message: Document, *, finish_reason: str, index: int = 0) -> Document:
    """Return one choice of a whole chat completion."""
    return {"index": index, "message": message, "logprobs": None, "finish_reason": finish_reason}


def message(
    content: str,
    *,
    tool_calls: Sequence[Document] = (),
    reasoning: str = "",
    thinking_blocks: Sequence[Document] = (),
    refusal: str | None = None,
) -> Document:
    """Return an assistant's message; without text its content is null."""
    body: Document = {"role": "assistant", "content": content or None, "refusal": refusal}
    if not content and not tool_calls and refusal is None:
        body["content"] = ""
    if tool_calls:
        body["tool_calls"] = list(tool_calls)
    if reasoning:
        body["reasoning_content"] = reasoning
    if thinking_blocks:
        body["thinking_blocks"] = list(thinking_blocks)
    return body


def tool_call(identity: str, name: str, arguments: str) -> Document:
    """Return one call of a function; `arguments` is JSON text."""
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}
