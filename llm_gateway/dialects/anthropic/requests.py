"""What Anthropic is asked: a canonical request in the words of the Messages API."""

from typing import Final

from llm_gateway.dialects import translating
from llm_gateway.dialects.anthropic.turns import turns
from llm_gateway.problems import Untranslatable
from llm_gateway.reading import Document, text
from llm_gateway.shapes import Outgoing

PATH: Final = "/v1/messages"
DEFAULT_MAX_TOKENS: Final = 8_192  # Anthropic wants a limit; every model that is still offered can do this much.

_KNOWN: Final = frozenset(
    """max_tokens max_completion_tokens temperature top_p top_k stop tools tool_choice parallel_tool_calls
    response_format reasoning_effort thinking""".split()
)
_EFFORTS: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_CHOICES: Final = {"none": "none", "auto": "auto", "required": "any", "function": "tool"}


def chat(body: Document, *, model: str, is_stream: bool) -> Outgoing:
    """Return the request for a canonical one, or raise Untranslatable."""
    translating.refuse_unknown(body, known=_KNOWN, dialect="Anthropic")
    system, messages = turns(body)
    sent: Document = {
        "model": model,
        "max_tokens": translating.output_limit(body) or DEFAULT_MAX_TOKENS,
        "messages": messages,
    }
    sent |= {"system": system} if system else {}
    sent |= _sampling(body) | _tools(body) | _output(body)
    if user := text(body.get("safety_identifier")) or text(body.get("user")):
        sent["metadata"] = {"user_id": user}
    return Outgoing(PATH, sent | {"stream": True} if is_stream else sent)


def embeddings(body: Document, *, model: str) -> Outgoing:
    """Raise Untranslatable: Anthropic has no embeddings."""
    raise Untranslatable("model", "Anthropic offers no embeddings; choose a model of another provider.")


def _sampling(body: Document) -> Document:
    temperature = body.get("temperature")
    if isinstance(temperature, int | float) and temperature > 1:
        raise Untranslatable("temperature", "Anthropic's temperature goes from 0 to 1.")
    sent = {name: body[name] for name in ("temperature", "top_p", "top_k", "thinking") if body.get(name) is not None}
    if stops := translating.stops(body):
        sent["stop_sequences"] = stops
    return sent


def _tools(body: Document) -> Document:
    functions = translating.functions(body)
    if not functions:
        return {}
    kind, name = translating.chosen_tool(body)
    choice: Document = {"type": _CHOICES.get(kind, "auto")} | ({"name": name} if name else {})
    if body.get("parallel_tool_calls") is False and kind != "none":
        choice["disable_parallel_tool_use"] = True
    sent: Document = {"tools": [_tool(function) for function in functions]}
    return sent | {"tool_choice": choice} if kind or len(choice) > 1 else sent


def _tool(function: Document) -> Document:
    tool: Document = {
        "name": function["name"],
        "input_schema": {"type": "object"} | (function.get("parameters") or {"properties": {}}),
    }
    if description := text(function.get("description")):
        tool["description"] = description
    return tool | {"strict": True} if function.get("strict") is True else tool


def _output(body: Document) -> Document:
    """Return how the answer has to look, and how much effort goes into it."""
    schema, effort = translating.schema(body), body.get("reasoning_effort")
    if schema == {}:
        raise Untranslatable("response_format", "Anthropic has no `json_object`; send a `json_schema`.")
    config: Document = {"format": {"type": "json_schema", "schema": schema}} if schema else {}
    if effort == "none":
        return ({"output_config": config} if config else {}) | {"thinking": {"type": "disabled"}}
    if effort is not None:
        if type(effort) is not str or effort not in _EFFORTS:
            raise Untranslatable("reasoning_effort", f"Choose one of none, {', '.join(_EFFORTS)}.")
        config["effort"] = _EFFORTS[effort]
    return {"output_config": config} if config else {}
