"""The conversation in Google's form: a system text, then contents of parts."""

import mimetypes
import re
from typing import Final
from urllib.parse import urlsplit

from llm_gateway.dialects import translating
from llm_gateway.problems import Untranslatable
from llm_gateway.reading import Document, arguments, document, documents, text

# Later models refuse a function call of theirs without its signature, unless this one stands in its place.
# Source: https://ai.google.dev/gemini-api/docs/thought-signatures
NO_SIGNATURE: Final = "skip_thought_signature_validator"
_UNSIGNED: Final = re.compile(r"(models/)?(gemini-[12]\b|gemma|learnlm)")


def turns(body: Document, *, model: str) -> tuple[str, list[Document]]:
    """Return (system, contents); messages of one role in a row become one content."""
    system: list[str] = []
    contents: list[Document] = []
    names: dict[str, str] = {}  # id of a call → the function's name
    for place, message in enumerate(documents(body.get("messages"))):
        param = f"messages[{place}]"
        match message.get("role"):
            case "system" | "developer":
                system.append(translating.joined(message, param=param))
            case "user":
                _append(contents, "user", _said(message, param=param))
            case "assistant":
                _append(contents, "model", _answered(message, names, model=model, param=param))
            case "tool":
                _append(contents, "user", [_returned(message, names, param=param)])
            case _:
                raise Untranslatable(f"{param}.role", "The role is system, developer, user, assistant or tool.")
    if not contents:
        raise Untranslatable("messages", "Google needs a message of the user.")
    return "\n\n".join(part for part in system if part), contents


def _append(contents: list[Document], role: str, parts: list[Document]) -> None:
    if not parts:
        return
    if contents and contents[-1]["role"] == role:
        contents[-1]["parts"] += parts
    else:
        contents.append({"role": role, "parts": parts})


def _said(message: Document, *, param: str) -> list[Document]:
    return [_part(part, param=param) for part in translating.parts(message, param=f"{param}.content")]


def _answered(message: Document, names: dict[str, str], *, model: str, param: str) -> list[Document]:
    parts = _said(message, param=param)
    if refusal := text(message.get("refusal")):
        parts.append({"text": refusal})
    is_first = True
    for call, identity, name, given in translating.calls(message, param=param):
        names[identity] = name
        part: Document = {"functionCall": {"name": name, "args": given}}
        signature = text(document(document(call.get("extra_content")).get("google")).get("thought_signature"))
        if not signature and is_first and not _UNSIGNED.match(model):
            signature = NO_SIGNATURE
        parts.append(part | {"thoughtSignature": signature} if signature else part)
        is_first = False
    return parts


def _returned(message: Document, names: dict[str, str], *, param: str) -> Document:
    identity = text(message.get("tool_call_id"))
    if identity not in names:
        raise Untranslatable(f"{param}.tool_call_id", "A tool's message answers a call of an assistant before it.")
    words = translating.joined(message, param=f"{param}.content")
    response = arguments(words) if words.strip() else None
    return {
        "functionResponse": {"name": names[identity], "response": {"result": words} if response is None else response}
    }


def _part(part: Document, *, param: str) -> Document:
    kind = part.get("type")
    if kind == "text":
        return {"text": text(part.get("text"))}
    if kind == "refusal":
        return {"text": text(part.get("refusal"))}
    if kind == "image_url":
        return _image(translating.image_url(part, param=param), param=param)
    if kind == "file":
        media_type, data = translating.file_data(part, param=param)
        return {"inlineData": {"mimeType": media_type, "data": data}}
    if kind == "input_audio":
        audio = document(part.get("input_audio"))
        if text(audio.get("data")) and audio.get("format") in ("wav", "mp3"):
            return {"inlineData": {"mimeType": f"audio/{audio['format']}", "data": audio["data"]}}
    raise Untranslatable(param, f"Google has no content of type `{text(kind) or '?'}`.")


def _image(url: str, *, param: str) -> Document:
    if found := translating.data_url(url):
        return {"inlineData": {"mimeType": found[0], "data": found[1]}}
    address = translating.web_url(url, param=param)
    try:
        media_type = mimetypes.guess_type(urlsplit(address).path)[0]
    except ValueError:
        raise Untranslatable(param, "The address of the image cannot be read.") from None
    return {"fileData": {"fileUri": address} | ({"mimeType": media_type} if media_type else {})}
