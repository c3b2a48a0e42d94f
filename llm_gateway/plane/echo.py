"""The provider that answers by itself: it says again what it was told, word by word, and counts words as tokens.

It is there so that a new installation answers without any key; nothing leaves the process. Pure.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import Any, Final

from llm_gateway.usage import Usage

MODEL: Final = "echo"
DIMENSIONS: Final = 8
_WORDS: Final = re.compile(r"\S+\s*")
Document = dict[str, Any]


def answer(request: Document, *, call_id: str, created: int) -> Document:
    """Return the canonical answer to a canonical request: the last user message again."""
    text, reason = _said(request)
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    choices = [choice | {"index": index} for index in range(_count(request))]
    head = _head("chat.completion", call_id, created)
    return {**head, "choices": choices, "usage": usage(request, text).to_openai()}


def chunks(request: Document, *, call_id: str, created: int) -> Iterator[Document]:
    """Yield the canonical chunks of a streamed answer, a word each; the last one has the usage."""
    text, reason = _said(request)
    head = _head("chat.completion.chunk", call_id, created)
    for index in range(_count(request)):
        yield {**head, "choices": [_delta(index, {"role": "assistant", "content": ""})]}
        for word in _WORDS.findall(text):
            yield {**head, "choices": [_delta(index, {"content": word})]}
        yield {**head, "choices": [_delta(index, {}, reason)]}
    yield {**head, "choices": [], "usage": usage(request, text).to_openai()}


def embedded(request: Document) -> Document:
    """Return OpenAI's embeddings answer: vectors that depend on the text alone."""
    given = request.get("input", "")
    texts = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
    data = [{"object": "embedding", "index": index, "embedding": _vector(text)} for index, text in enumerate(texts)]
    tokens = sum(_tokens(str(text)) for text in texts)
    return {
        "object": "list", "data": data, "model": MODEL, "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }  # fmt: skip


def usage(request: Document, text: str) -> Usage:
    """Return the words of the messages and of the answer."""
    told = " ".join(_text(message.get("content")) for message in request.get("messages", ()))
    return Usage(input_tokens=_tokens(told), output_tokens=_tokens(text) * _count(request))


def _said(request: Document) -> tuple[str, str]:
    """Return what is said, and why it ends: at the limit of tokens, or because that was all."""
    texts = [_text(message.get("content")) for message in request.get("messages", ()) if message.get("role") == "user"]
    words = _WORDS.findall(texts[-1] if texts else "")
    limit = request.get("max_completion_tokens") or request.get("max_tokens") or len(words)
    return "".join(words[:limit]), "length" if limit < len(words) else "stop"


def _text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _tokens(text: str) -> int:
    return len(_WORDS.findall(text))


def _count(request: Document) -> int:
    return int(request.get("n") or 1)


def _head(kind: str, call_id: str, created: int) -> Document:
    return {"id": f"chatcmpl-{call_id}", "object": kind, "created": created, "model": MODEL}


def _delta(index: int, delta: Document, reason: str | None = None) -> Document:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}


def _vector(text: Any) -> list[float]:
    digest = hashlib.sha256(str(text).encode("utf-8", "surrogatepass")).digest()
    return [round(byte / 127.5 - 1, 6) for byte in digest[:DIMENSIONS]]
