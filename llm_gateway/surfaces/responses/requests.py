"""What a client of OpenAI's Responses asks, in the canonical form."""

from collections.abc import Mapping
from typing import Final

from llm_gateway.problems import Refused
from llm_gateway.reading import Document, document, text
from llm_gateway.surfaces.responses.items import translate

_SAME: Final = (
    "model",
    "stream",
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "user",
    "safety_identifier",
    "prompt_cache_key",
)
# What says nothing about the answer itself.
_HARMLESS: Final = frozenset(
    """store metadata service_tier stream_options prompt_cache_retention prompt_cache_options""".split()
)
_KNOWN: Final = _HARMLESS.union(
    _SAME, ("input", "instructions", "max_output_tokens", "tools", "tool_choice", "text", "reasoning", "include")
)
# Values that mean the same as leaving the parameter out.
_NEUTRAL: Final[Mapping[str, object]] = {"background": False, "truncation": "disabled", "top_logprobs": 0}
_INCLUDABLE: Final = frozenset({"reasoning.encrypted_content"})


def read(body: Document) -> Document:
    """Return the canonical request of a checked body, or raise Refused for what cannot be translated."""
    for name, value in body.items():
        if name not in _KNOWN and value is not None and not (name in _NEUTRAL and value == _NEUTRAL[name]):
            raise unsupported(name, f"`{name}` works with a provider of OpenAI's Responses only; leave it out.")
    canonical = {name: body[name] for name in _SAME if body.get(name) is not None}
    instructions = body.get("instructions")
    if instructions is not None and type(instructions) is not str:
        raise Refused("instructions", "`instructions` is a text.", "invalid_type")
    system = [{"role": "system", "content": instructions}] if instructions else []
    canonical["messages"] = system + translate(body["input"])
    if body.get("max_output_tokens") is not None:
        canonical["max_completion_tokens"] = body["max_output_tokens"]
    _check_include(body.get("include"))
    return canonical | _tools(body) | _text(document(body.get("text"))) | _reasoning(document(body.get("reasoning")))


def unsupported(param: str, message: str) -> Refused:
    """Return the refusal of what the canonical form cannot say."""
    return Refused(param, message, "unsupported_parameter")


def _check_include(include: object) -> None:
    for item in include if type(include) is list else []:
        if type(item) is not str or item not in _INCLUDABLE:
            raise unsupported("include", "Of `include`, only `reasoning.encrypted_content` may be sent here.")


def _tools(body: Document) -> Document:
    tools = body.get("tools")
    if not tools:
        return {}
    if type(tools) is not list:
        raise Refused("tools", "`tools` is a list.", "invalid_type")
    sent: Document = {"tools": [_tool(tool, param=f"tools[{place}]") for place, tool in enumerate(tools)]}
    choice = body.get("tool_choice")
    if choice in ("none", "auto", "required"):
        sent["tool_choice"] = choice
    elif choice is not None:
        found = document(choice)
        if found.get("type") != "function" or not text(found.get("name")):
            raise unsupported("tool_choice", "Choose `none`, `auto`, `required` or one function.")
        sent["tool_choice"] = {"type": "function", "function": {"name": found["name"]}}
    return sent


def _tool(tool: object, *, param: str) -> Document:
    found = document(tool)
    if found.get("type") != "function":
        raise unsupported(
            f"{param}.type", "Only tools of type `function` work here, not those that OpenAI runs itself."
        )
    if not text(found.get("name")):
        raise Refused(f"{param}.name", "A function has a name.", "missing_required_parameter")
    kept = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": {key: found[key] for key in kept if found.get(key) is not None}}


def _text(options: Document) -> Document:
    sent: Document = {"verbosity": options["verbosity"]} if options.get("verbosity") is not None else {}
    wanted = document(options.get("format"))
    match wanted.get("type"):
        case None | "text":
            return sent
        case "json_object":
            return sent | {"response_format": {"type": "json_object"}}
        case "json_schema" if type(wanted.get("schema")) is dict:
            kept = ("name", "description", "schema", "strict")
            schema = {key: wanted[key] for key in kept if wanted.get(key) is not None}
            return sent | {"response_format": {"type": "json_schema", "json_schema": schema}}
    raise Refused("text.format", "The format is `text`, `json_object` or `json_schema` with its `schema`.")


def _reasoning(options: Document) -> Document:
    effort = options.get("effort")
    return {"reasoning_effort": effort} if effort is not None else {}
