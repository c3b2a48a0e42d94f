"""Anthropic's turns of content blocks, as canonical messages."""

from typing import Final

from llm_gateway.problems import Refused
from llm_gateway.reading import Document, document, documents, encode, text

# A provider cannot read another's thoughts; leaving them out changes nothing that was said.
_THOUGHTS: Final = ("thinking", "redacted_thinking")


def translate(messages: list[Document]) -> list[Document]:
    """Return the canonical messages; one turn becomes several when it holds tool results."""
    found: list[Document] = []
    for place, message in enumerate(messages):
        param = f"messages[{place}]"
        match message.get("role"):
            case "user":
                found += _said(_blocks(message.get("content"), param=param), param=param)
            case "assistant":
                found.append(_answered(_blocks(message.get("content"), param=param), param=param))
            case "system":
                found.append({"role": "system", "content": words(message.get("content"), param=param)})
            case _:
                raise Refused(f"{param}.role", "The role is `user` or `assistant`.")
    return found


def words(content: object, *, param: str) -> str:
    """Return the text of a content that may hold nothing else."""
    blocks = _blocks(content, param=param)
    if any(block.get("type") != "text" for block in blocks):
        raise Refused(param, "Only blocks of text may stand here.", "unsupported_parameter")
    return "\n\n".join(text(block.get("text")) for block in blocks)


def _blocks(content: object, *, param: str) -> list[Document]:
    if type(content) is str:
        return [{"type": "text", "text": content}]
    if type(content) is not list or not all(type(block) is dict for block in content):
        raise Refused(f"{param}.content", "The content is a text or a list of blocks.", "invalid_type")
    return content


def _said(blocks: list[Document], *, param: str) -> list[Document]:
    """Return the tools' messages of a user's turn, then what the user said; pictures from tools come with that."""
    results: list[Document] = []
    parts: list[Document] = []
    for block in blocks:
        if block.get("type") == "tool_result":
            result, pictures = _result(block, param=param)
            results.append(result)
            parts += pictures
        else:
            parts.append(_part(block, param=param))
    if len(parts) == 1 and parts[0]["type"] == "text":
        return [*results, {"role": "user", "content": parts[0]["text"]}]
    return [*results, {"role": "user", "content": parts}] if parts else results


def _result(block: Document, *, param: str) -> tuple[Document, list[Document]]:
    identity = text(block.get("tool_use_id"))
    if not identity:
        raise Refused(f"{param}.content", "A `tool_result` has a `tool_use_id`.", "missing_required_parameter")
    content = block.get("content")
    parts = [_part(part, param=param) for part in ([] if content is None else _blocks(content, param=param))]
    told = "\n".join(part["text"] for part in parts if part["type"] == "text")
    if block.get("is_error") is True:
        told = f"Error: {told}"
    return {"role": "tool", "tool_call_id": identity, "content": told}, [p for p in parts if p["type"] != "text"]


def _answered(blocks: list[Document], *, param: str) -> Document:
    texts: list[str] = []
    calls: list[Document] = []
    for block in blocks:
        kind = block.get("type")
        if kind == "text":
            texts.append(text(block.get("text")))
        elif kind == "tool_use":
            calls.append(_call(block, param=param))
        elif kind not in _THOUGHTS:
            raise _unknown(block, param=param)
    message: Document = {"role": "assistant", "content": "".join(texts) or (None if calls else "")}
    return message | {"tool_calls": calls} if calls else message


def _call(block: Document, *, param: str) -> Document:
    if not text(block.get("id")) or not text(block.get("name")):
        raise Refused(f"{param}.content", "A `tool_use` has an `id` and a `name`.", "missing_required_parameter")
    function = {"name": block["name"], "arguments": encode(document(block.get("input")))}
    return {"id": block["id"], "type": "function", "function": function}


def _part(block: Document, *, param: str) -> Document:
    source = document(block.get("source"))
    match block.get("type"), source.get("type"):
        case "text", _:
            return {"type": "text", "text": text(block.get("text"))}
        case "image", ("base64" | "url") as kind:
            url = text(source.get("url")) if kind == "url" else _data(source)
            return {"type": "image_url", "image_url": {"url": url}}
        case "document", "base64":
            name = text(block.get("title")) or "document.pdf"
            return {"type": "file", "file": {"filename": name, "file_data": _data(source)}}
        case "document", "text":
            return {"type": "text", "text": text(source.get("data"))}
        case "document", "content":
            inner = [text(part.get("text")) for part in documents(source.get("content"))]
            return {"type": "text", "text": "\n".join(inner)}
    raise _unknown(block, param=param)


def _data(source: Document) -> str:
    return f"data:{text(source.get('media_type'))};base64,{text(source.get('data'))}"


def _unknown(block: Document, *, param: str) -> Refused:
    kind = text(block.get("type")) or "?"
    told = f"Content of type `{kind}`, in this form, is understood by Anthropic's models only."
    return Refused(f"{param}.content", told, "unsupported_parameter")
