"""What OpenAI is asked: the canonical form is its own, so little changes."""

import re
from typing import Final

from llm_gateway.reading import Document, documents
from llm_gateway.shapes import Outgoing

# Models that know `max_completion_tokens` only. Compatible servers mostly know `max_tokens` only.
_OWN_MODELS: Final = re.compile(r"(gpt-[4-9]|chatgpt|o\d)")
# Additions to the canonical form that other dialects understand.
_FOREIGN: Final = ("reasoning_content", "thinking_blocks")


def chat(body: Document, *, model: str, is_stream: bool) -> Outgoing:
    """Return the request for a canonical one; on a stream the usage is always asked for."""
    sent = {key: value for key, value in body.items() if key not in ("stream", "stream_options")}
    sent |= {"model": model, "messages": [_without_additions(message) for message in documents(body.get("messages"))]}
    _name_limit(sent, model)
    if is_stream:
        options = body.get("stream_options")
        sent |= {"stream": True, "stream_options": (options if type(options) is dict else {}) | {"include_usage": True}}
    return Outgoing("/chat/completions", sent)


def embeddings(body: Document, *, model: str) -> Outgoing:
    """Return the request for embeddings, as it came but for the model."""
    return Outgoing("/embeddings", body | {"model": model})


def _name_limit(sent: Document, model: str) -> None:
    """Call the limit of output tokens what the model calls it."""
    limit = sent.pop("max_completion_tokens", None)
    legacy = sent.pop("max_tokens", None)
    if (limit := limit if limit is not None else legacy) is not None:
        sent["max_completion_tokens" if _OWN_MODELS.match(model) else "max_tokens"] = limit


def _without_additions(message: Document) -> Document:
    if not any(key in message for key in _FOREIGN) and not message.get("tool_calls"):
        return message
    kept = {key: value for key, value in message.items() if key not in _FOREIGN}
    if kept.get("tool_calls"):
        kept["tool_calls"] = [
            {key: value for key, value in call.items() if key != "extra_content"}
            for call in documents(kept["tool_calls"])
        ]
    return kept
