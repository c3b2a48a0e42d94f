"""Requests, answers and streams as clients and providers write them, for the tests of dialects and surfaces."""

from typing import Any

import orjson

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"$ref": "#/$defs/unit"}},
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"unit": {"enum": ["C", "F"]}},
}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "description": "The weather.", "parameters": WEATHER},
}

# A whole conversation in the canonical form: pictures, two parallel calls, their results, another question.
CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "Be short."},
    {"role": "developer", "content": [{"type": "text", "text": "Answer in German."}]},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this? 🐧"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/a/penguin.jpeg?x=1"}},
        ],
    },
    {
        "role": "assistant",
        "content": "Let me look.",
        "tool_calls": [
            {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}},
            {"id": "call_b", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Köln"}'}},
        ],
    },
    {"role": "tool", "tool_call_id": "call_a", "content": '{"degrees": 7}'},
    {"role": "tool", "tool_call_id": "call_b", "content": "cloudy"},
    {"role": "user", "content": "And tomorrow?"},
]


def sse(*payloads: Any, is_named: bool = False) -> bytes:
    """Return a stream of events; `is_named` writes Anthropic's event lines."""
    lines = []
    for payload in payloads:
        name = f"event: {payload['type']}\n".encode() if is_named else b""
        lines.append(name + b"data: " + (payload if isinstance(payload, bytes) else orjson.dumps(payload)) + b"\n\n")
    return b"".join(lines)


def openai_chunk(delta: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    finish = more.pop("finish_reason", None)
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "gpt-5-2026"}
    return head | {"choices": choices, "usage": None} | more


def piece(index: int, arguments: str, **named: str) -> dict[str, Any]:
    call: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if named:
        call |= {"id": named["id"], "type": "function"}
        call["function"]["name"] = named["name"]
    return {"tool_calls": [call]}


OPENAI_USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 45,
    "total_tokens": 165,
    "prompt_tokens_details": {"cached_tokens": 100, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 0},
}
OPENAI_STREAM = sse(
    openai_chunk({"role": "assistant", "content": "", "refusal": None}),
    openai_chunk({"content": "Grüße, "}),
    openai_chunk({"content": "🐧!"}),
    openai_chunk(piece(0, "", id="call_a", name="weather")),
    openai_chunk(piece(0, '{"city": "Bo')),
    openai_chunk(piece(0, 'nn"}')),
    openai_chunk(piece(1, "", id="call_b", name="weather")),
    openai_chunk(piece(1, '{"city": "Köln"}')),
    openai_chunk({}, finish_reason="tool_calls"),
    openai_chunk(None, usage=OPENAI_USAGE),
    b"[DONE]",
)
OPENAI_ANSWER: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "gpt-5-2026",
    "system_fingerprint": "fp_1",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Grüße, 🐧!",
                "refusal": None,
                "annotations": [],
                "tool_calls": [
                    {
                        "id": "call_a",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Bonn"}'},
                    },
                    {
                        "id": "call_b",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Köln"}'},
                    },
                ],
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        }
    ],
    "usage": OPENAI_USAGE,
}

ANTHROPIC_ANSWER: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [
        {"type": "thinking", "thinking": "Hm. ", "signature": "c2ln"},
        {"type": "text", "text": "Grüße, 🐧!"},
        {"type": "tool_use", "id": "toolu_a", "name": "weather", "input": {"city": "Bonn"}},
        {"type": "tool_use", "id": "toolu_b", "name": "weather", "input": {}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 10,
        "cache_creation_input_tokens": 10,
        "cache_read_input_tokens": 100,
        "output_tokens": 45,
        "output_tokens_details": {"thinking_tokens": 20},
    },
}


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def tool_use(identity: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": identity, "name": "weather", "input": {}}


ANTHROPIC_EVENTS: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": ANTHROPIC_ANSWER
        | {
            "content": [],
            "stop_reason": None,
            "usage": {
                "input_tokens": 10,
                "cache_creation_input_tokens": 10,
                "cache_read_input_tokens": 100,
                "output_tokens": 1,
            },
        },
    },
    {"type": "ping"},
    *block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "Hm. "},
        {"type": "signature_delta", "signature": "c2ln"},
    ),
    *block(
        1,
        {"type": "text", "text": ""},
        {"type": "text_delta", "text": "Grüße, "},
        {"type": "text_delta", "text": "🐧!"},
    ),
    *block(
        2,
        tool_use("toolu_a"),
        {"type": "input_json_delta", "partial_json": ""},
        {"type": "input_json_delta", "partial_json": '{"city":'},
        {"type": "input_json_delta", "partial_json": '"Bonn"}'},
    ),
    *block(3, tool_use("toolu_b")),
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 45, "output_tokens_details": {"thinking_tokens": 20}},
    },
    {"type": "message_stop"},
]
ANTHROPIC_STREAM = sse(*ANTHROPIC_EVENTS, is_named=True)

GOOGLE_USAGE = {
    "promptTokenCount": 120,
    "candidatesTokenCount": 25,
    "thoughtsTokenCount": 20,
    "cachedContentTokenCount": 100,
    "totalTokenCount": 165,
}


def generated(*parts: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "gemini-3-pro", "responseId": "r1"} | more


CALL_A = {"functionCall": {"name": "weather", "args": {"city": "Bonn"}}, "thoughtSignature": "c2ln"}
CALL_B = {"functionCall": {"name": "weather", "args": {"city": "Köln"}}}
GOOGLE_ANSWER = generated(
    {"text": "Hm. ", "thought": True},
    {"text": "Grüße, "},
    {"text": "🐧!"},
    CALL_A,
    CALL_B,
    finish="STOP",
    usageMetadata=GOOGLE_USAGE,
)
GOOGLE_STREAM = sse(
    generated({"text": "Hm. ", "thought": True}, usageMetadata={"promptTokenCount": 120, "totalTokenCount": 120}),
    generated({"text": "Grüße, "}),
    generated({"text": "🐧!"}),
    generated(CALL_A),
    generated(CALL_B, finish="STOP", usageMetadata=GOOGLE_USAGE),
).replace(b"\n", b"\r\n")
