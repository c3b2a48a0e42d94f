"""A canonical answer as OpenAI's response."""

from collections.abc import Sequence
from typing import Final

from llm_gateway import usage as tokens
from llm_gateway.reading import Document, document, documents, text
from llm_gateway.usage import Usage

# What of the request a response repeats, and what it says where the request said nothing.
_ECHOED: Final[Document] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": False,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
# OpenAI's `finish_reason` → why a response is incomplete.
INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}


def response(request: Document, *, call_id: str, created: int, model: str) -> Document:
    """Return a response that has just begun: `request` is the client's body."""
    echoed = {
        name: request[name] if request.get(name) is not None else default
        for name, default in _ECHOED.items()
        if name != "store"
    }
    tools = [
        {"description": None, "parameters": None, "strict": None} | tool for tool in documents(request.get("tools"))
    ]
    head: Document = {"id": f"resp_{call_id}", "object": "response", "created_at": created, "model": model}
    state: Document = {"status": "in_progress", "error": None, "incomplete_details": None, "output": [], "usage": None}
    return head | state | echoed | {"store": False, "tools": tools}


def ended(begun: Document, *, output: Sequence[Document], usage: Usage | None, finish_reason: str) -> Document:
    """Return a response at its end: completed, or incomplete for a reason."""
    reason = INCOMPLETE.get(finish_reason)
    return begun | {
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None,
        "output": list(output),
        "usage": (usage or Usage()).to_responses(),
    }


def answer(canonical: Document, *, request: Document, call_id: str, created: int) -> Document:
    """Return the response of the first choice."""
    choice = documents(canonical["choices"])[0]
    said = document(choice.get("message"))
    output: list[Document] = []
    if reasoning := text(said.get("reasoning_content")):
        output.append(reasoning_item(f"rs_{call_id}_0", reasoning))
    parts = [text_part(text(said.get("content")))] if said.get("content") else []
    if refusal := text(said.get("refusal")):
        parts.append({"type": "refusal", "refusal": refusal})
    calls = documents(said.get("tool_calls"))
    if parts or not calls:
        output.append(message_item(f"msg_{call_id}_{len(output)}", parts))
    for place, call in enumerate(calls):
        function = document(call.get("function"))
        identity = text(call.get("id")) or f"call_{call_id[:24]}_{place}"
        name, given = text(function.get("name")), text(function.get("arguments"))
        output.append(call_item(f"fc_{call_id}_{len(output)}", identity, name, given))
    begun = response(request, call_id=call_id, created=created, model=canonical["model"])
    usage = tokens.of_openai(canonical.get("usage"))
    return ended(begun, output=output, usage=usage, finish_reason=text(choice.get("finish_reason")))


def text_part(words: str) -> Document:
    """Return a part of text."""
    return {"type": "output_text", "text": words, "annotations": [], "logprobs": []}


def message_item(identity: str, parts: Sequence[Document], *, status: str = "completed") -> Document:
    """Return an item that holds a message of the assistant."""
    return {"id": identity, "type": "message", "status": status, "role": "assistant", "content": list(parts)}


def call_item(identity: str, call_id: str, name: str, arguments: str, *, status: str = "completed") -> Document:
    """Return an item that holds the call of a function."""
    head: Document = {"id": identity, "type": "function_call", "status": status}
    return head | {"call_id": call_id, "name": name, "arguments": arguments}


def reasoning_item(identity: str, words: str | None, *, status: str = "completed") -> Document:
    """Return an item that holds what the model thought."""
    content = [] if words is None else [{"type": "reasoning_text", "text": words}]
    return {"id": identity, "type": "reasoning", "status": status, "summary": [], "content": content}
