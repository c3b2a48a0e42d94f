"""What the test's provider says of OpenAI's other two forms: responses and legacy completions, whole and as streams."""

import json
from collections.abc import Iterator
from typing import Any

WORDS = ["Hello", " from", " the", " provider", "."]
TEXT = "".join(WORDS)
USAGE = {
    "input_tokens": 11, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 18,
}  # fmt: skip
LEGACY_USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def response(body: dict[str, Any], *, status: str = "completed") -> dict[str, Any]:
    """Return a response; one that is in progress has said nothing yet."""
    is_done = status == "completed"
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "model": body["model"], "status": status,
        "error": None, "incomplete_details": None, "instructions": None, "metadata": {}, "parallel_tool_calls": True,
        "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0,
        "output": [_item([_part(TEXT)], "completed")] if is_done else [], "usage": USAGE if is_done else None,
    }  # fmt: skip


def response_events(body: dict[str, Any]) -> list[str]:
    """Return the events of a streamed response."""
    told = enumerate(_events(body))
    return [f"event: {event['type']}\ndata: {json.dumps(event | {'sequence_number': n})}\n\n" for n, event in told]


def _events(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    begun = response(body, status="in_progress")
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    yield {"type": "response.output_item.added", "output_index": 0, "item": _item([], "in_progress")}
    yield {"type": "response.content_part.added", **place, "part": _part("")}
    for word in WORDS:
        yield {"type": "response.output_text.delta", **place, "delta": word, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": TEXT, "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": _part(TEXT)}
    yield {"type": "response.output_item.done", "output_index": 0, "item": _item([_part(TEXT)], "completed")}
    yield {"type": "response.completed", "response": response(body)}


def _part(words: str) -> dict[str, Any]:
    return {"type": "output_text", "text": words, "annotations": [], "logprobs": []}


def _item(content: list[dict[str, Any]], status: str) -> dict[str, Any]:
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": status, "content": content}


def completion(body: dict[str, Any]) -> dict[str, Any]:
    """Return a legacy completion."""
    return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": body["model"],
            "choices": [_choice(TEXT, "stop")], "usage": LEGACY_USAGE}  # fmt: skip


def completion_events(body: dict[str, Any]) -> list[str]:
    """Return the chunks of a streamed legacy completion."""
    head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": body["model"]}
    told: list[dict[str, Any]] = [{**head, "choices": [_choice(word, None)]} for word in WORDS]
    told.append({**head, "choices": [_choice("", "stop")]})
    if (body.get("stream_options") or {}).get("include_usage"):
        told.append({**head, "choices": [], "usage": LEGACY_USAGE})
    return [*(f"data: {json.dumps(chunk)}\n\n" for chunk in told), "data: [DONE]\n\n"]


def _choice(words: str, reason: str | None) -> dict[str, Any]:
    return {"text": words, "index": 0, "logprobs": None, "finish_reason": reason}
