"""Replaying: tell a whole answer as a stream, in the same surface's form. Pure."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import orjson

from llm_gateway.reading import Document, document, documents, encode, is_deep, may_be_deep, text
from llm_gateway.sse import frame

DONE: Final = b"data: [DONE]\n\n"
PIECE: Final = 200  # characters of a text that come in one event


def replay(surface: str, content: bytes, *, wants_usage: bool) -> bytes:
    """Return the stream of an answer that this surface gave as a whole, or that was folded to one."""
    return b"".join(_REPLAYS[surface](orjson.loads(content), wants_usage))


def may_replay(content: bytes) -> bool:
    """Say whether an answer can be told as a stream: one that is nested too deep can be read, but not written."""
    try:
        return not may_be_deep(content) or not is_deep(orjson.loads(content))
    except orjson.JSONDecodeError:
        return False


def _pieces(words: str) -> Iterator[str]:
    for place in range(0, len(words), PIECE):
        yield words[place : place + PIECE]


# --- chat completions and their elders --------------------------------------------------------------------------------


def _chat(answer: Document, wants_usage: bool) -> Iterator[bytes]:
    def chunk(index: int, delta: Document, reason: Any = None, logprobs: Any = None) -> Document:
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}

    def choices() -> Iterator[Document]:
        for choice in documents(answer.get("choices")):
            index, logprobs = choice.get("index", 0), choice.get("logprobs")
            for delta in _deltas(document(choice.get("message"))):
                yield chunk(index, delta, logprobs=logprobs if delta.get("content") else None)
                logprobs = None if delta.get("content") else logprobs
            yield chunk(index, {}, choice.get("finish_reason"), logprobs)

    yield from _chunks(answer, choices(), "chat.completion.chunk", wants_usage)


def _deltas(message: Document) -> Iterator[Document]:
    """Yield what a message says, piece by piece; fields of which nothing is known come whole."""
    yield {"role": "assistant", "content": "" if message.get("content") is not None else None}
    for name, value in message.items():
        if name in ("content", "reasoning_content", "refusal") and isinstance(value, str):
            yield from ({name: piece} for piece in _pieces(value))
        elif name not in ("role", "tool_calls") and value:
            yield {name: value}
    for place, call in enumerate(documents(message.get("tool_calls"))):
        yield {"tool_calls": [{"index": place, **call}]}


def _chunks(answer: Document, choices: Iterator[Document], kind: str, wants_usage: bool) -> Iterator[bytes]:
    head = {name: value for name, value in answer.items() if name not in ("choices", "usage")} | {"object": kind}
    usage = {"usage": None} if wants_usage else {}
    for choice in choices:
        yield frame(head | {"choices": [choice]} | usage)
    if wants_usage:
        yield frame(head | {"choices": [], "usage": answer.get("usage")})
    yield DONE


def _completion(answer: Document, wants_usage: bool) -> Iterator[bytes]:
    choices = iter(documents(answer.get("choices")))
    yield from _chunks(answer, choices, "text_completion", wants_usage)


# --- Anthropic's messages ---------------------------------------------------------------------------------------------


def _event(payload: Document) -> bytes:
    return frame(payload, name=payload["type"])


def _message(answer: Document, wants_usage: bool) -> Iterator[bytes]:
    usage = document(answer.get("usage"))
    begun = answer | {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage | {"output_tokens": 0}}
    yield _event({"type": "message_start", "message": begun})
    for index, block in enumerate(documents(answer.get("content"))):
        empty, deltas = _block(block)
        yield _event({"type": "content_block_start", "index": index, "content_block": empty})
        for delta in deltas:
            yield _event({"type": "content_block_delta", "index": index, "delta": delta})
        yield _event({"type": "content_block_stop", "index": index})
    reasons = {"stop_reason": answer.get("stop_reason"), "stop_sequence": answer.get("stop_sequence")}
    yield _event({"type": "message_delta", "delta": reasons, "usage": usage})
    yield _event({"type": "message_stop"})


def _block(block: Document) -> tuple[Document, list[Document]]:
    """Return a block as it begins, and what it grows by; one of a kind that does not grow comes whole."""
    match block.get("type"):
        case "text":
            deltas: list[Document] = [
                {"type": "text_delta", "text": piece} for piece in _pieces(text(block.get("text")))
            ]
            cited = [{"type": "citations_delta", "citation": one} for one in documents(block.get("citations"))]
            return {**block, "text": "", **({"citations": []} if cited else {})}, cited + deltas
        case "thinking":
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in _pieces(text(block.get("thinking")))]
            deltas.append({"type": "signature_delta", "signature": text(block.get("signature"))})
            return {**block, "thinking": "", "signature": ""}, deltas
        case "tool_use" | "server_tool_use":
            given = encode(block.get("input"))
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": p} for p in _pieces(given)]
    return block, []


# --- OpenAI's responses -----------------------------------------------------------------------------------------------


def _response(answer: Document, wants_usage: bool) -> Iterator[bytes]:
    begun = answer | {"status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    payloads = _told(answer, begun)
    for number, payload in enumerate(payloads):
        yield _event(payload | {"sequence_number": number})


def _told(answer: Document, begun: Document) -> Iterator[Document]:
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(documents(answer.get("output"))):
        place = {"item_id": item.get("id"), "output_index": index}
        yield {"type": "response.output_item.added", "output_index": index, "item": _emptied(item)}
        if item.get("type") == "message":
            for number, part in enumerate(documents(item.get("content"))):
                yield from _part(part, place | {"content_index": number})
        elif item.get("type") == "function_call":
            yield from _call(item, place)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": f"response.{answer.get('status', 'completed')}", "response": answer}


_EMPTY: Final[Mapping[str, Document]] = {"message": {"content": []}, "function_call": {"arguments": ""}}


def _emptied(item: Document) -> Document:
    """Return an item as it begins."""
    empty = _EMPTY.get(text(item.get("type")), {})
    return item | empty | ({"status": "in_progress"} if "status" in item and empty else {})


def _part(part: Document, place: Document) -> Iterator[Document]:
    kind, name = ("response.refusal", "refusal") if part.get("type") == "refusal" else ("response.output_text", "text")
    words = text(part.get(name))
    more: Document = {} if name == "refusal" else {"logprobs": []}
    empty = part | {name: ""} | ({"annotations": []} if "annotations" in part else {})
    yield place | {"type": "response.content_part.added", "part": empty}
    for piece in _pieces(words):
        yield place | {"type": f"{kind}.delta", "delta": piece} | more
    yield place | {"type": f"{kind}.done", name: words} | more
    yield place | {"type": "response.content_part.done", "part": part}


def _call(item: Document, place: Document) -> Iterator[Document]:
    given = text(item.get("arguments"))
    for piece in _pieces(given):
        yield place | {"type": "response.function_call_arguments.delta", "delta": piece}
    yield place | {"type": "response.function_call_arguments.done", "name": item.get("name"), "arguments": given}


_REPLAYS: Final[Mapping[str, Callable[[Document, bool], Iterator[bytes]]]] = {
    "/chat/completions": _chat,
    "/completions": _completion,
    "/v1/messages": _message,
    "/responses": _response,
}
