"""What a client of Anthropic's Messages asks, in the canonical form."""

from typing import Final

from llm_gateway.problems import Refused
from llm_gateway.reading import Document, document, text
from llm_gateway.surfaces.messages.turns import translate, words

# Taken over under the same name.
_SAME: Final = ("model", "stream", "max_tokens", "temperature", "top_p", "top_k")
# What says nothing about the answer itself.
_HARMLESS: Final = frozenset({"cache_control", "service_tier", "inference_geo", "diagnostics", "speed"})
_KNOWN: Final = _HARMLESS.union(
    _SAME, ("messages", "system", "stop_sequences", "tools", "tool_choice", "metadata", "thinking", "output_config")
)
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}
_EFFORTS: Final = {"low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "xhigh"}


def read(body: Document) -> Document:
    """Return the canonical request of a checked body, or raise Refused for what cannot be translated."""
    for name, value in body.items():
        if name not in _KNOWN and value is not None:
            raise unsupported(name)
    canonical = {name: body[name] for name in _SAME if body.get(name) is not None}
    canonical["messages"] = _system(body.get("system")) + translate(body["messages"])
    if stops := body.get("stop_sequences"):
        canonical["stop"] = stops
    if user := text(document(body.get("metadata")).get("user_id")):
        canonical["user"] = user
    return canonical | _tools(body) | _effort(body) | _format(body)


def unsupported(param: str, message: str = "") -> Refused:
    """Return the refusal of what only Anthropic's own models understand."""
    told = message or f"`{param}` is understood by Anthropic's models only; leave it out or choose one of them."
    return Refused(param, told, "unsupported_parameter")


def _system(system: object) -> list[Document]:
    if not system:
        return []
    return [{"role": "system", "content": system if type(system) is str else words(system, param="system")}]


def _tools(body: Document) -> Document:
    tools = body.get("tools")
    if not tools:
        return {}
    if type(tools) is not list:
        raise Refused("tools", "`tools` is a list.", "invalid_type")
    sent: Document = {"tools": [_tool(tool, param=f"tools[{place}]") for place, tool in enumerate(tools)]}
    choice = body.get("tool_choice")
    if choice is None:
        return sent
    kind = text(document(choice).get("type"))
    if kind == "tool" and text(choice.get("name")):
        sent["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
    elif kind in _CHOICES:
        sent["tool_choice"] = _CHOICES[kind]
    else:
        raise Refused("tool_choice", "`tool_choice` has the type auto, any, tool or none.")
    return sent | {"parallel_tool_calls": False} if choice.get("disable_parallel_tool_use") is True else sent


def _tool(tool: object, *, param: str) -> Document:
    found = document(tool)
    if found.get("type") not in (None, "custom"):
        raise unsupported(
            f"{param}.type", "Tools that the provider runs or defines are understood by its own models only."
        )
    if not text(found.get("name")) or type(found.get("input_schema")) is not dict:
        raise Refused(param, "A tool has a `name` and an `input_schema`.", "missing_required_parameter")
    function: Document = {"name": found["name"], "parameters": found["input_schema"]}
    if description := text(found.get("description")):
        function["description"] = description
    if found.get("strict") is True:
        function["strict"] = True
    return {"type": "function", "function": function}


def _effort(body: Document) -> Document:
    """Return the effort of `output_config`, else what a budget for thinking comes to."""
    effort, thinking = document(body.get("output_config")).get("effort"), document(body.get("thinking"))
    if effort is not None:
        if type(effort) is not str or effort not in _EFFORTS:
            raise Refused("output_config.effort", f"Choose one of {', '.join(_EFFORTS)}.")
        return {"reasoning_effort": _EFFORTS[effort]}
    if thinking.get("type") != "enabled":
        return {}
    budget = thinking.get("budget_tokens")
    if type(budget) is not int:
        raise Refused("thinking.budget_tokens", "`budget_tokens` is a whole number.", "invalid_type")
    return {"reasoning_effort": "low" if budget <= 2_048 else "medium" if budget <= 8_192 else "high"}


def _format(body: Document) -> Document:
    wanted = document(body.get("output_config")).get("format")
    if wanted is None:
        return {}
    found = document(wanted)
    if found.get("type") != "json_schema" or type(found.get("schema")) is not dict:
        raise Refused("output_config.format", "The format is a `json_schema` with its `schema`.")
    schema = {"name": "answer", "schema": found["schema"], "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}
