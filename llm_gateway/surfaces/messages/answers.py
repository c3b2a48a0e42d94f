"""A canonical answer as Anthropic's message."""

from typing import Final

from llm_gateway import usage as tokens
from llm_gateway.reading import Document, arguments, document, documents, text
from llm_gateway.usage import Usage

# OpenAI's `finish_reason` → Anthropic's `stop_reason`.
_STOP_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def stop_reason(finish_reason: str, *, has_tools: bool, has_refusal: bool) -> str:
    """Return why the message ended; some servers say `stop` after a tool call."""
    if has_refusal:
        return "refusal"
    if has_tools and finish_reason in ("stop", ""):
        return "tool_use"
    return _STOP_REASONS.get(finish_reason, "end_turn")


def answer(canonical: Document, *, request: Document, call_id: str, created: int) -> Document:
    """Return the message of the first choice."""
    choice = documents(canonical["choices"])[0]
    said = document(choice.get("message"))
    calls = documents(said.get("tool_calls"))
    refusal = text(said.get("refusal"))
    blocks: list[Document] = [dict(block) for block in documents(said.get("thinking_blocks"))]
    if not blocks and (reasoning := text(said.get("reasoning_content"))):
        blocks.append({"type": "thinking", "thinking": reasoning, "signature": ""})
    blocks += [{"type": "text", "text": words} for words in (text(said.get("content")), refusal) if words]
    blocks += [_tool_use(call, place, call_id=call_id) for place, call in enumerate(calls)]
    reason = stop_reason(text(choice.get("finish_reason")), has_tools=bool(calls), has_refusal=bool(refusal))
    return {
        "id": f"msg_{call_id}",
        "type": "message",
        "role": "assistant",
        "model": canonical["model"],
        "content": blocks,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": (tokens.of_openai(canonical.get("usage")) or Usage()).to_anthropic(),
    }


def _tool_use(call: Document, place: int, *, call_id: str) -> Document:
    """Return the use of a tool. Arguments that are no object are handed on as text, as Anthropic advises its users."""
    function = document(call.get("function"))
    given = text(function.get("arguments"))
    found = arguments(given)
    return {
        "type": "tool_use",
        "id": text(call.get("id")) or f"call_{call_id[:24]}_{place}",
        "name": text(function.get("name")),
        "input": {"INVALID_JSON": given} if found is None else found,
    }
