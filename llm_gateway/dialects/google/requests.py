"""What Google is asked: a canonical request in the words of generateContent."""

from typing import Final
from urllib.parse import quote

from llm_gateway.dialects import translating
from llm_gateway.dialects.google.turns import turns
from llm_gateway.problems import Untranslatable
from llm_gateway.reading import Document, text
from llm_gateway.shapes import Outgoing

_KNOWN: Final = frozenset(
    """max_tokens max_completion_tokens temperature top_p top_k stop tools tool_choice n response_format
    reasoning_effort frequency_penalty presence_penalty parallel_tool_calls""".split()
)
_MODES: Final = {"none": "NONE", "auto": "AUTO", "required": "ANY", "function": "ANY"}
# Gemini 2 thinks within a budget of tokens, later ones on a level.
_BUDGETS: Final = {"none": 0, "minimal": 1_024, "low": 1_024, "medium": 8_192} | dict.fromkeys(
    ("high", "xhigh", "max"), 24_576
)
_LEVELS: Final = {"none": "minimal", "minimal": "minimal", "low": "low", "medium": "medium", "high": "high"}
_NAMES: Final = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "n": "candidateCount",
    "seed": "seed",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
}


def path(model: str, method: str) -> str:
    """Return the path of a model's method; nothing in a model's name leaves its place in it."""
    return f"/v1beta/models/{quote(model.removeprefix('models/'), safe='')}:{method}"


def chat(body: Document, *, model: str, is_stream: bool) -> Outgoing:
    """Return the request for a canonical one, or raise Untranslatable."""
    translating.refuse_unknown(body, known=_KNOWN, dialect="Google")
    system, contents = turns(body, model=model)
    sent: Document = {"contents": contents}
    if system:
        sent["systemInstruction"] = {"parts": [{"text": system}]}
    sent |= _tools(body)
    if config := _config(body, model=model):
        sent["generationConfig"] = config
    return Outgoing(path(model, "streamGenerateContent?alt=sse" if is_stream else "generateContent"), sent)


def _tools(body: Document) -> Document:
    functions = translating.functions(body)
    if not functions:
        return {}
    kind, name = translating.chosen_tool(body)
    if body.get("parallel_tool_calls") is False and len(functions) > 1 and not name:
        raise Untranslatable(
            "parallel_tool_calls", "Google cannot be held to one tool call: offer or choose one function."
        )
    sent: Document = {"tools": [{"functionDeclarations": [_declaration(function) for function in functions]}]}
    if kind:
        allowed = {"allowedFunctionNames": [name]} if name else {}
        sent["toolConfig"] = {"functionCallingConfig": {"mode": _MODES[kind]} | allowed}
    return sent


def _declaration(function: Document) -> Document:
    """Return a function's declaration; its parameters stay the JSON Schema that they are."""
    declaration: Document = {"name": function["name"], "description": text(function.get("description"))}
    if (function.get("parameters") or {}).get("properties"):
        declaration["parametersJsonSchema"] = function["parameters"]
    return declaration


def _config(body: Document, *, model: str) -> Document:
    config: Document = {theirs: body[ours] for ours, theirs in _NAMES.items() if body.get(ours) is not None}
    if limit := translating.output_limit(body):
        config["maxOutputTokens"] = limit
    if stops := translating.stops(body):
        config["stopSequences"] = stops
    schema = translating.schema(body)
    if schema is not None:
        config["responseMimeType"] = "application/json"
    if schema:
        config["responseJsonSchema"] = schema
    if body.get("reasoning_effort") is not None:
        config["thinkingConfig"] = _thinking(body["reasoning_effort"], model=model)
    return config


def _thinking(effort: object, *, model: str) -> Document:
    if type(effort) is not str or effort not in _BUDGETS:
        raise Untranslatable("reasoning_effort", f"Choose one of {', '.join(_BUDGETS)}.")
    if model.removeprefix("models/").startswith("gemini-2"):
        return {"thinkingBudget": _BUDGETS[effort]}
    return {"thinkingLevel": _LEVELS.get(effort, "high")}
