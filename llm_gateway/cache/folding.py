"""Folding: make the whole answer of a stream that was sent to its end, in the same surface's form. Pure.

None is returned for what has no such form: the answer is not kept then.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from llm_gateway.reading import Document, arguments, document, documents, text
from llm_gateway.sse import read
from llm_gateway.usage import Usage


def fold(surface: str, data: bytes, *, usage: Usage | None) -> bytes | None:
    """Return the whole answer that the events in `data` tell of; `usage` is for streams that do not say it."""
    try:
        found = _FOLDS[surface](_events(data), usage)
        return orjson.dumps(found) if found else None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):  # what is too deep to write: a TypeError
        return None


def _events(data: bytes) -> list[Document]:
    events = (read(raw + b"\n\n").data for raw in data.replace(b"\r\n", b"\n").split(b"\n\n") if raw.strip())
    return [orjson.loads(event) for event in events if event and event.strip() != b"[DONE]"]


# --- chat completions and their elders --------------------------------------------------------------------------------


def _chat(events: list[Document], usage: Usage | None) -> Document | None:
    head, choices = _headed(events, "chat.completion", usage), dict[int, Document]()
    for event in events:
        for choice in documents(event.get("choices")):
            _grow_choice(choices.setdefault(choice["index"], _new_choice(choice["index"])), choice)
    if not choices:
        return None
    for choice in choices.values():
        calls = choice["message"].get("tool_calls")
        if calls is not None:
            choice["message"]["tool_calls"] = [calls[place] for place in sorted(calls)]
    return head | {"choices": [choices[place] for place in sorted(choices)]}


def _new_choice(index: int) -> Document:
    message = {"role": "assistant", "content": None, "refusal": None}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": None}


def _headed(events: list[Document], kind: str, usage: Usage | None) -> Document:
    """Return what a whole answer says besides its choices: what the first chunk says, and the usage."""
    head = {name: value for name, value in events[0].items() if name not in ("choices", "usage", "object")}
    told = next((event["usage"] for event in reversed(events) if event.get("usage")), None)
    told = told or (usage.to_openai() if usage else None)
    return {**head, "object": kind, **({"usage": told} if told else {})}


def _grow_choice(whole: Document, choice: Document) -> None:
    message = whole["message"]
    for name, value in document(choice.get("delta")).items():
        if name == "tool_calls":
            _grow_calls(message.setdefault(name, {}), documents(value))
        elif name != "role":
            message[name] = _grown(message.get(name), value)
    whole["logprobs"] = _grown_logprobs(whole["logprobs"], choice.get("logprobs"))
    whole["finish_reason"] = choice.get("finish_reason") or whole["finish_reason"]


def _grown(known: Any, value: Any) -> Any:
    """Return what a field comes to: texts and lists grow, of the rest the last value counts."""
    if value is None or known is None:
        return known if value is None else value
    if isinstance(known, str) and isinstance(value, str):
        return known + value
    return [*known, *value] if isinstance(known, list) and isinstance(value, list) else value


def _grow_calls(calls: dict[int, Document], parts: list[Document]) -> None:
    for part in parts:
        call = calls.setdefault(part.get("index") or 0, {"type": "function", "function": {"name": "", "arguments": ""}})
        call |= {name: value for name, value in part.items() if name not in ("index", "function") and value is not None}
        given = document(part.get("function"))
        call["function"]["name"] = call["function"]["name"] or text(given.get("name"))
        call["function"]["arguments"] += text(given.get("arguments"))


def _grown_logprobs(known: Document | None, value: Document | None) -> Document | None:
    if not known or not value:
        return value or known
    return {name: _grown(known.get(name), value.get(name)) for name in known.keys() | value.keys()}


def _completion(events: list[Document], usage: Usage | None) -> Document | None:
    choices: dict[int, Document] = {}
    for event in events:
        for choice in documents(event.get("choices")):
            index = choice["index"]
            whole = choices.setdefault(index, {"text": "", "index": index, "logprobs": None, "finish_reason": None})
            whole["text"] += choice.get("text") or ""
            whole["logprobs"] = _grown_logprobs(whole["logprobs"], choice.get("logprobs"))
            whole["finish_reason"] = choice.get("finish_reason") or whole["finish_reason"]
    head = _headed(events, "text_completion", usage)
    return head | {"choices": [choices[place] for place in sorted(choices)]} if choices else None


# --- Anthropic's messages ---------------------------------------------------------------------------------------------

_DELTAS: Final = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}


def _message(events: list[Document], usage: Usage | None) -> Document | None:
    message: Document = {}
    blocks: dict[int, Document] = {}
    inputs: dict[int, str] = {}
    for event in events:
        match event.get("type"):
            case "message_start":
                message = dict(event["message"])
            case "content_block_start":
                blocks[event["index"]] = dict(event["content_block"])
            case "content_block_delta":
                _grow_block(blocks[event["index"]], inputs, event)
            case "message_delta":
                spent = {name: value for name, value in document(event.get("usage")).items() if value is not None}
                message |= document(event.get("delta")) | {"usage": document(message.get("usage")) | spent}
    for index, given in inputs.items():
        blocks[index]["input"] = arguments(given)
    if not message or not message.get("stop_reason") or any(blocks[index]["input"] is None for index in inputs):
        return None
    return message | {"content": [blocks[index] for index in sorted(blocks)]}


def _grow_block(block: Document, inputs: dict[int, str], event: Document) -> None:
    delta = event["delta"]
    kind = delta["type"]
    if kind == "input_json_delta":
        inputs[event["index"]] = inputs.get(event["index"], "") + delta["partial_json"]
    elif kind == "citations_delta":
        block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
    else:
        name = _DELTAS[kind]
        block[name] = block.get(name, "") + delta[name]


# --- OpenAI's responses -----------------------------------------------------------------------------------------------


def _response(events: list[Document], usage: Usage | None) -> Document | None:
    last = events[-1]
    return last["response"] if last["type"] in ("response.completed", "response.incomplete") else None


_FOLDS: Final[Mapping[str, Callable[[list[Document], Usage | None], Document | None]]] = {
    "/chat/completions": _chat,
    "/completions": _completion,
    "/v1/messages": _message,
    "/responses": _response,
}
