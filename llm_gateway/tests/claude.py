"""What the test's provider says in Anthropic's words: messages, and streams of them."""

import json
import re
from collections.abc import Iterator
from typing import Any

from llm_gateway.tests.leaking import words

WORDS = ["Hello", " from", " the", " provider", "."]
TEXT = "".join(WORDS)
CITIES = ["Paris", "Oslo"]
MESSAGE_USAGE = {"input_tokens": 11, "output_tokens": 7}


def message(body: dict[str, Any]) -> dict[str, Any]:
    """Return a whole message."""
    is_structured = "format" in (body.get("output_config") or {})
    content: list[dict[str, Any]] = [
        {"type": "text", "text": '{"city": "Paris", "population": 2}' if is_structured else "".join(words(body, WORDS))}
    ]
    if body.get("tools"):
        content = [
            {"type": "tool_use", "id": f"toolu_{number}", "name": "weather", "input": {"city": city}}
            for number, city in enumerate(CITIES)
        ]
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": content,
        "stop_reason": "tool_use" if body.get("tools") else "end_turn", "stop_sequence": None, "usage": MESSAGE_USAGE,
    }  # fmt: skip


def message_events(body: dict[str, Any], *, said: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the events of a streamed message; `said` are the pieces of its text, None for the usual."""
    whole = message(body)
    start = {**whole, "content": [], "stop_reason": None, "usage": {"input_tokens": 11, "output_tokens": 1}}
    yield {"type": "message_start", "message": start}
    for index, block in enumerate(whole["content"]):
        if block["type"] == "text":
            yield {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}}
            pieces = words(body, WORDS) if said is None else said
            deltas = [{"type": "text_delta", "text": word} for word in pieces]
        else:
            yield {"type": "content_block_start", "index": index, "content_block": {**block, "input": {}}}
            parts = re.findall(r".{1,6}", json.dumps(block["input"]))
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in parts]
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ending = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": ending, "usage": {"output_tokens": 7}}
    yield {"type": "message_stop"}
