"""The conversation in Anthropic's form: a system text, then turns of content blocks."""

import re
from typing import Final

from llm_gateway.dialects import translating
from llm_gateway.problems import Untranslatable
from llm_gateway.reading import Document, document, documents, text

_NOT_IN_IDS: Final = re.compile(r"[^a-zA-Z0-9_-]")


def turns(body: Document) -> tuple[str, list[Document]]:
    """Return (system, messages); messages of one role in a row become one, tool results come first in theirs."""
    system: list[str] = []
    messages: list[Document] = []
    for place, message in enumerate(documents(body.get("messages"))):
        param = f"messages[{place}]"
        role = message.get("role")
        if role in ("system", "developer"):
            system.append(translating.joined(message, param=param))
        elif role in ("user", "tool"):
            _append(messages, "user", _said(message, param=param))
        elif role == "assistant":
            _append(messages, "assistant", _answered(message, param=param))
        else:
            raise Untranslatable(f"{param}.role", "The role is system, developer, user, assistant or tool.")
    if not messages:
        raise Untranslatable("messages", "Anthropic needs a message of the user.")
    return "\n\n".join(part for part in system if part), messages


def _append(messages: list[Document], role: str, blocks: list[Document]) -> None:
    if not blocks:
        return
    if messages and messages[-1]["role"] == role:
        messages[-1]["content"] += blocks
    else:
        messages.append({"role": role, "content": blocks})


def _said(message: Document, *, param: str) -> list[Document]:
    """Return the blocks of what a user said or a tool returned."""
    if message.get("role") == "user":
        return [_block(part, param=param) for part in _worded(message, param=param)]
    identity = text(message.get("tool_call_id"))
    if not identity:
        raise Untranslatable(f"{param}.tool_call_id", "A tool's message names the call that it answers.")
    content = [_block(part, param=param) for part in _worded(message, param=param)]
    return [{"type": "tool_result", "tool_use_id": _identity(identity), "content": content}]


def _answered(message: Document, *, param: str) -> list[Document]:
    """Return the blocks of what the assistant said; its signed thoughts come first, as Anthropic wants them."""
    blocks = [block for block in documents(message.get("thinking_blocks")) if _is_signed(block)]
    blocks += [_block(part, param=param) for part in _worded(message, param=param)]
    if refusal := text(message.get("refusal")):
        blocks.append({"type": "text", "text": refusal})
    for _, identity, name, given in translating.calls(message, param=param):
        blocks.append({"type": "tool_use", "id": _identity(identity), "name": name, "input": given})
    return blocks


def _worded(message: Document, *, param: str) -> list[Document]:
    """Return the parts of a message without empty texts, which Anthropic refuses."""
    found = translating.parts(message, param=f"{param}.content")
    return [part for part in found if part.get("type") != "text" or part.get("text")]


def _is_signed(block: Document) -> bool:
    kind = block.get("type")
    return (kind == "thinking" and bool(text(block.get("signature")))) or kind == "redacted_thinking"


def _identity(identity: str) -> str:
    """Return an id in the letters that Anthropic allows."""
    return _NOT_IN_IDS.sub("_", identity)


def _block(part: Document, *, param: str) -> Document:
    kind = part.get("type")
    if kind == "text":
        return {"type": "text", "text": text(part.get("text"))}
    if kind == "refusal":
        return {"type": "text", "text": text(part.get("refusal"))}
    if kind == "image_url":
        return {"type": "image", "source": _image(translating.image_url(part, param=param), param=param)}
    if kind == "file":
        media_type, data = translating.file_data(part, param=param)
        if media_type != "application/pdf":
            raise Untranslatable(param, "Anthropic reads PDF files only.")
        name = text(document(part.get("file")).get("filename"))
        source = {"type": "base64", "media_type": media_type, "data": data}
        return {"type": "document", "source": source} | ({"title": name} if name else {})
    raise Untranslatable(param, f"Anthropic has no content of type `{text(kind) or '?'}`.")


def _image(url: str, *, param: str) -> Document:
    if found := translating.data_url(url):
        return {"type": "base64", "media_type": found[0], "data": found[1]}
    return {"type": "url", "url": translating.web_url(url, param=param)}
