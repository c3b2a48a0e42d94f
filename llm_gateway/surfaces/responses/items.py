"""The input items of OpenAI's Responses, as canonical messages."""

from llm_gateway.problems import Refused
from llm_gateway.reading import Document, document, text

_ROLES = ("user", "assistant", "system", "developer")


def translate(given: str | list[Document]) -> list[Document]:
    """Return the canonical messages; calls of functions join the assistant's message before them."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    messages: list[Document] = []
    for place, item in enumerate(given):
        param = f"input[{place}]"
        match item.get("type"):
            case None | "message":
                messages.append(_message(item, param=param))
            case "function_call":
                _join(messages, _call(item, param=param))
            case "function_call_output":
                messages += _output(item, param=param)
            case "reasoning":
                continue  # sealed for OpenAI's own models; leaving it out changes nothing that was said
            case kind:
                told = f"Items of type `{text(kind) or '?'}` work with a provider of OpenAI's Responses only."
                raise Refused(f"{param}.type", told, "unsupported_parameter")
    return messages


def _message(item: Document, *, param: str) -> Document:
    role = item.get("role")
    if role not in _ROLES:
        raise Refused(f"{param}.role", f"The role is one of {', '.join(_ROLES)}.")
    content = item.get("content")
    if type(content) is str:
        return {"role": role, "content": content}
    parts = [_part(part, param=param) for part in _listed(content, param=param)]
    return {"role": role, "content": parts}


def _listed(content: object, *, param: str) -> list[Document]:
    if type(content) is not list or not all(type(part) is dict for part in content):
        raise Refused(f"{param}.content", "The content is a text or a list of parts.", "invalid_type")
    return content


def _part(part: Document, *, param: str) -> Document:
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return {"type": "text", "text": text(part.get("text"))}
        case "refusal":
            return {"type": "refusal", "refusal": text(part.get("refusal"))}
        case "input_image" if text(part.get("image_url")):
            detail = text(part.get("detail"))
            image = {"url": part["image_url"]} | ({"detail": detail} if detail else {})
            return {"type": "image_url", "image_url": image}
        case "input_file" if text(part.get("file_data")):
            name = text(part.get("filename")) or "file"
            return {"type": "file", "file": {"filename": name, "file_data": part["file_data"]}}
        case "input_audio" if part.get("input_audio"):
            return {"type": "input_audio", "input_audio": document(part["input_audio"])}
    told = f"A part of type `{text(part.get('type')) or '?'}`, in this form, cannot be translated."
    raise Refused(f"{param}.content", told, "unsupported_parameter")


def _call(item: Document, *, param: str) -> Document:
    if not text(item.get("call_id")) or not text(item.get("name")) or type(item.get("arguments")) is not str:
        told = "A `function_call` has a `call_id`, a `name` and `arguments`."
        raise Refused(param, told, "missing_required_parameter")
    function = {"name": item["name"], "arguments": item["arguments"]}
    return {"id": item["call_id"], "type": "function", "function": function}


def _join(messages: list[Document], call: Document) -> None:
    if messages and messages[-1]["role"] == "assistant":
        messages[-1].setdefault("tool_calls", []).append(call)
    else:
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _output(item: Document, *, param: str) -> list[Document]:
    """Return the tool's message, and the pictures it returned as a message of the user."""
    identity = text(item.get("call_id"))
    if not identity:
        raise Refused(f"{param}.call_id", "A `function_call_output` has a `call_id`.", "missing_required_parameter")
    output = item.get("output")
    if type(output) is str:
        return [{"role": "tool", "tool_call_id": identity, "content": output}]
    parts = [_part(part, param=param) for part in _listed(output, param=param)]
    told = "\n".join(part["text"] for part in parts if part["type"] == "text")
    others = [part for part in parts if part["type"] != "text"]
    result = {"role": "tool", "tool_call_id": identity, "content": told}
    return [result, {"role": "user", "content": others}] if others else [result]
