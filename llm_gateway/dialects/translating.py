"""Translating: what the dialects that are not OpenAI's own share when they read a canonical request."""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from llm_gateway.problems import Untranslatable
from llm_gateway.reading import Document, arguments, documents, text

# What says nothing about the answer itself: bookkeeping, hints about speed, and best efforts.
HARMLESS: Final = frozenset(
    """model messages stream stream_options user metadata store service_tier seed safety_identifier prediction
    prompt_cache_key prompt_cache_retention prompt_cache_options""".split()
)
# Values that mean the same as leaving the parameter out.
NEUTRAL: Final[Mapping[str, object]] = {
    "n": 1,
    "logprobs": False,
    "top_logprobs": 0,
    "logit_bias": {},
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "modalities": ["text"],
    "verbosity": "medium",
    "parallel_tool_calls": True,
    "tools": [],
}
_DATA_URL: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w.+-]+=[\w.+-]+)*;base64,", re.ASCII)
MAX_FUNCTIONS: Final = 512


def refuse_unknown(body: Document, *, known: Iterable[str], dialect: str) -> None:
    """Raise Untranslatable for what the dialect cannot say, unless leaving it out means the same."""
    allowed = HARMLESS.union(known)
    for name, value in body.items():
        if name in allowed or value is None or (name in NEUTRAL and value == NEUTRAL[name]):
            continue
        raise Untranslatable(name, f"{dialect} has no equivalent of `{name}`; leave it out or choose another model.")


def output_limit(body: Document) -> int | None:
    """Return the limit of output tokens, under either of its names."""
    limit = body.get("max_completion_tokens")
    found = limit if limit is not None else body.get("max_tokens")
    return found if type(found) is int else None


def stops(body: Document) -> list[str]:
    """Return the stop sequences, of which there may be one or several."""
    stop = body.get("stop")
    return [stop] if type(stop) is str else [item for item in stop if type(item) is str] if type(stop) is list else []


def parts(message: Document, *, param: str) -> list[Document]:
    """Return a message's content as parts, each with its `type`; text becomes one part, nothing none."""
    content = message.get("content")
    if content is None:
        return []
    if type(content) is str:
        return [{"type": "text", "text": content}] if content else []
    if type(content) is not list or not all(type(part) is dict for part in content):
        raise Untranslatable(param, "The content of a message is text or a list of parts.")
    return content


def joined(message: Document, *, param: str) -> str:
    """Return the text of a message that may hold nothing else."""
    found = parts(message, param=param)
    for part in found:
        if part.get("type") not in ("text", "refusal"):
            raise Untranslatable(param, f"A {message.get('role')} message may hold text only.")
    return "\n".join(text(part.get("text")) or text(part.get("refusal")) for part in found)


def data_url(url: str) -> tuple[str, str] | None:
    """Return (media type, base64) of a data URL, None when `url` is none."""
    match = _DATA_URL.match(url)
    return (match[1], url[match.end() :]) if match else None


def web_url(url: str, *, param: str) -> str:
    """Return an address that a provider may fetch; we never do."""
    if not url.startswith(("https://", "http://")) or len(url) > 8_192:
        raise Untranslatable(param, "Send an http(s) address or a base64 data URL.")
    return url


def image_url(part: Document, *, param: str) -> str:
    """Return the address in an image part."""
    image = part.get("image_url")
    url = text(image.get("url")) if type(image) is dict else text(image)
    if not url:
        raise Untranslatable(param, "An image part has an `image_url` with a `url`.")
    return url


def file_data(part: Document, *, param: str) -> tuple[str, str]:
    """Return (media type, base64) of a file part, which has to carry its data."""
    file = part.get("file")
    data = text(file.get("file_data")) if type(file) is dict else ""
    if not data:
        raise Untranslatable(param, "A file has to be sent as `file_data`: files of another provider cannot be read.")
    if found := data_url(data):
        return found
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise Untranslatable(param, "The `file_data` of a file is a base64 data URL.") from None
    return "application/pdf", data


def functions(body: Document) -> list[Document]:
    """Return the functions among the tools, each with its `name`; other tools cannot be translated."""
    tools = body.get("tools") or []
    if type(tools) is not list or len(tools) > MAX_FUNCTIONS:
        raise Untranslatable("tools", f"Send a list of at most {MAX_FUNCTIONS} tools.")
    found = []
    for place, tool in enumerate(tools):
        function = tool.get("function") if type(tool) is dict and tool.get("type") == "function" else None
        if type(function) is not dict or not text(function.get("name")):
            raise Untranslatable(f"tools[{place}]", "Only tools of type `function` with a name can be translated.")
        if function.get("parameters") is not None and type(function["parameters"]) is not dict:
            raise Untranslatable(f"tools[{place}].function.parameters", "The parameters are a JSON Schema object.")
        found.append(function)
    return found


def chosen_tool(body: Document) -> tuple[str, str]:
    """Return (`none`, `auto`, `required` or `function`, name) of the tool choice; the first is empty without one."""
    choice: Any = body.get("tool_choice")
    if choice is None:
        return "", ""
    if choice in ("none", "auto", "required"):
        return str(choice), ""
    function = choice.get("function") if type(choice) is dict and choice.get("type") == "function" else None
    if type(function) is not dict or not text(function.get("name")):
        raise Untranslatable("tool_choice", "Choose `none`, `auto`, `required` or one function.")
    return "function", text(function["name"])


def calls(message: Document, *, param: str) -> list[tuple[Document, str, str, Document]]:
    """Return (call, id, name, arguments) of the function calls an assistant's message made."""
    found = []
    if message.get("function_call"):
        raise Untranslatable(param, "`function_call` is out of date: use `tool_calls`.")
    for call in documents(message.get("tool_calls")):
        function = call.get("function")
        if type(function) is not dict or not text(function.get("name")) or not text(call.get("id")):
            raise Untranslatable(param, "Only calls of functions, with an id and a name, can be translated.")
        given = arguments(function.get("arguments"))
        if given is None:
            raise Untranslatable(param, "The arguments of a tool call are JSON text of an object.")
        found.append((call, text(call["id"]), text(function["name"]), given))
    return found


def schema(body: Document) -> Document | None:
    """Return the JSON Schema that the answer has to follow, an empty one for any object, None without a format."""
    wanted = body.get("response_format")
    kind = wanted.get("type") if type(wanted) is dict else None
    if wanted is None or kind == "text":
        return None
    if kind == "json_object":
        return {}
    found = wanted.get("json_schema") if type(wanted) is dict and kind == "json_schema" else None
    if type(found) is not dict or type(found.get("schema")) is not dict:
        raise Untranslatable("response_format", "Choose `text`, `json_object` or `json_schema` with its `schema`.")
    return dict(found["schema"])
