"""What clients of the other surfaces ask, in the canonical form; and on to every dialect."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.dialects import anthropic, google, openai
from llm_gateway.problems import Refused
from llm_gateway.surfaces import chat, completions, embeddings, messages, responses
from llm_gateway.tests.hostile import JSON, PATHS, mutated
from llm_gateway.tests.recorded import CONVERSATION, PIXEL, TOOL, WEATHER

pytestmark = pytest.mark.once

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello"}]


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


MESSAGES: dict[str, Any] = {
    "model": "m",
    "max_tokens": 500,
    "system": [text("Be short.") | {"cache_control": {"type": "ephemeral"}}, text("Answer in German.")],
    "messages": [
        {
            "role": "user",
            "content": [
                text("What is this? 🐧"),
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/x.png"}},
                {
                    "type": "document",
                    "title": "a.pdf",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
                },
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                text("Let me look."),
                {"type": "tool_use", "id": "toolu_a", "name": "weather", "input": {"city": "Bonn"}},
                {"type": "tool_use", "id": "toolu_b", "name": "weather", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_a", "content": "7 degrees"},
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_b",
                    "is_error": True,
                    "content": [
                        text("no such city"),
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                    ],
                },
                text("And tomorrow?"),
            ],
        },
    ],
    "stop_sequences": ["END"],
    "temperature": 0.5,
    "top_k": 5,
    "metadata": {"user_id": "u1"},
    "tools": [{"name": "weather", "description": "The weather.", "input_schema": WEATHER, "strict": True}],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    "stream": True,
}
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}


def test_messages_become_a_chat() -> None:
    messages.check(MESSAGES)
    call = {"id": "toolu_a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bonn"}'}}
    assert messages.read(MESSAGES) == {
        "model": "m",
        "stream": True,
        "max_tokens": 500,
        "temperature": 0.5,
        "top_k": 5,
        "messages": [
            {"role": "system", "content": "Be short.\n\nAnswer in German."},
            {
                "role": "user",
                "content": [
                    text("What is this? 🐧"),
                    PICTURE,
                    {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}},
                    {
                        "type": "file",
                        "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": "Let me look.",
                "tool_calls": [call, call | {"id": "toolu_b", "function": {"name": "weather", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "toolu_a", "content": "7 degrees"},
            {"role": "tool", "tool_call_id": "toolu_b", "content": "Error: no such city"},
            {"role": "user", "content": [PICTURE, text("And tomorrow?")]},
        ],
        "stop": ["END"],
        "user": "u1",
        "tools": [{"type": "function", "function": TOOL["function"] | {"strict": True}}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
    }


def test_messages_survive_the_way_to_anthropic_and_back() -> None:
    sent = anthropic.chat(messages.read(MESSAGES), model="m", is_stream=True).body
    again = messages.read(sent)
    assert again == messages.read(MESSAGES)
    for dialect in (openai, google):
        asked = messages.read(MESSAGES | {"tool_choice": None})
        assert dialect.chat(asked, model="m", is_stream=True).body


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"reasoning_effort": "low"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, {"reasoning_effort": "medium"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 32_000}}, {"reasoning_effort": "high"}),
        ({"thinking": {"type": "disabled"}}, {}),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, {"reasoning_effort": "xhigh"}),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": WEATHER}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": WEATHER, "strict": True},
                }
            },
        ),
    ],
)
def test_effort_and_format_of_messages(asked: Any, expected: Any) -> None:
    body = {"model": "m", "max_tokens": 9, "messages": HELLO}
    assert messages.read(body | asked) == body | expected


RESPONSES: dict[str, Any] = {
    "model": "m",
    "instructions": "Be short.",
    "input": [
        {"role": "developer", "content": "Answer in German."},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is this? 🐧"},
                {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "low"},
                {"type": "input_image", "image_url": "https://example.com/a/penguin.jpeg?x=1"},
            ],
        },
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Let me look.", "annotations": []}],
        },
        {"type": "function_call", "call_id": "call_a", "name": "weather", "arguments": '{"city": "Bonn"}'},
        {"type": "function_call", "call_id": "call_b", "name": "weather", "arguments": '{"city": "Köln"}'},
        {"type": "function_call_output", "call_id": "call_a", "output": '{"degrees": 7}'},
        {"type": "function_call_output", "call_id": "call_b", "output": [{"type": "input_text", "text": "cloudy"}]},
        {"role": "user", "content": "And tomorrow?"},
    ],
    "max_output_tokens": 500,
    "tools": [{"type": "function"} | TOOL["function"]],
    "tool_choice": {"type": "function", "name": "weather"},
    "text": {"format": {"type": "json_schema", "name": "city", "schema": WEATHER, "strict": True}, "verbosity": "low"},
    "reasoning": {"effort": "high", "summary": "auto"},
    "include": ["reasoning.encrypted_content"],
    "store": True,
    "background": False,
    "truncation": "disabled",
    "metadata": {"a": "b"},
}


def test_responses_become_a_chat() -> None:
    responses.check(RESPONSES)
    expected = [dict(message) for message in CONVERSATION]
    expected[1] |= {"content": "Answer in German."}
    expected[3] |= {"content": [text("Let me look.")]}
    assert responses.read(RESPONSES) == {
        "model": "m",
        "messages": expected,
        "max_completion_tokens": 500,
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "verbosity": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "city", "schema": WEATHER, "strict": True},
        },
        "reasoning_effort": "high",
    }
    assert responses.read({"model": "m", "input": "Hello"}) == {"model": "m", "messages": HELLO}


def test_a_prompt_becomes_a_chat() -> None:
    body = {"model": "m", "prompt": ["Hello"], "max_tokens": 9, "echo": False, "best_of": 1, "stop": "x"}
    completions.check(body)
    assert completions.read(body) == {"model": "m", "messages": HELLO, "max_tokens": 9, "stop": "x"}
    assert chat.read({"model": "m", "messages": HELLO}) == {"model": "m", "messages": HELLO}
    assert embeddings.read({"model": "m", "input": "x"}) == {"model": "m", "input": "x"}


LEAST: dict[Any, dict[str, Any]] = {
    messages: {"messages": HELLO, "max_tokens": 9},
    responses: {"input": "Hello"},
    completions: {"prompt": "Hello"},
}


@pytest.mark.parametrize(
    ("surface", "more", "param"),
    [
        (responses, {"previous_response_id": "resp_1"}, "previous_response_id"),
        (responses, {"conversation": "conv_1"}, "conversation"),
        (responses, {"prompt": {"id": "p"}}, "prompt"),
        (responses, {"truncation": "auto"}, "truncation"),
        (responses, {"include": ["file_search_call.results"]}, "include"),
        (responses, {"tools": [{"type": "web_search"}]}, "tools[0].type"),
        (responses, {"tools": [{"type": "function"}]}, "tools[0].name"),
        (responses, {"tools": [TOOL | TOOL["function"]], "tool_choice": {"type": "file_search"}}, "tool_choice"),
        (responses, {"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        (responses, {"input": [{"type": "computer_call"}]}, "input[0].type"),
        (responses, {"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        (
            responses,
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[0].content",
        ),
        (responses, {"input": [{"type": "function_call", "name": "f"}]}, "input[0]"),
        (responses, {"input": [{"type": "function_call_output"}]}, "input[0].call_id"),
        (responses, {"text": {"format": {"type": "grammar"}}}, "text.format"),
        (responses, {"made_up": 1}, "made_up"),
        (messages, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        (messages, {"tools": [{"name": "x"}]}, "tools[0]"),
        (messages, {"tools": [{"name": "x", "input_schema": {}}], "tool_choice": {"type": "x"}}, "tool_choice"),
        (messages, {"mcp_servers": [{"url": "http://10.0.0.1"}]}, "mcp_servers"),
        (messages, {"container": "c"}, "container"),
        (messages, {"output_config": {"effort": "a lot"}}, "output_config.effort"),
        (messages, {"output_config": {"format": {"type": "xml"}}}, "output_config.format"),
        (messages, {"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        (messages, {"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        (
            messages,
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}
                ]
            },
            "messages[0].content",
        ),
        (
            messages,
            {"messages": [{"role": "assistant", "content": [{"type": "server_tool_use"}]}]},
            "messages[0].content",
        ),
        (messages, {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "messages[0].content"),
        (completions, {"prompt": ["a", "b"]}, "prompt"),
        (completions, {"prompt": [1, 2]}, "prompt"),
        (completions, {"echo": True}, "echo"),
        (completions, {"best_of": 2}, "best_of"),
        (completions, {"logprobs": 1}, "logprobs"),
        (completions, {"suffix": "x"}, "suffix"),
    ],
)
def test_what_cannot_be_translated_is_a_400_that_names_it(surface: Any, more: Any, param: str) -> None:
    body: dict[str, Any] = {"model": "m"} | LEAST[surface] | more
    surface.check(body)
    with pytest.raises(Refused) as refusal:
        surface.read(body)
    assert (refusal.value.problem.status, refusal.value.problem.param) == (400, param)


CHAT = {"model": "m", "messages": CONVERSATION, "tools": [TOOL], "tool_choice": "auto", "stop": ["x"], "n": 1}
REQUESTS: list[tuple[Any, dict[str, Any]]] = [
    (chat, CHAT),
    (messages, MESSAGES),
    (responses, RESPONSES),
    (completions, {"model": "m", "prompt": "x"}),
]


@given(request=st.sampled_from(REQUESTS), path=PATHS, value=JSON)
def test_no_request_is_an_exception_but_a_refusal(request: Any, path: list[int], value: Any) -> None:
    surface, good = request
    body = mutated(good, path, value)
    try:
        surface.check(body)
        canonical = surface.read(body)
    except Refused as refused:
        surface.error_body(refused.problem)
        return
    for dialect in (openai, anthropic, google):
        try:
            dialect.chat(canonical, model="m", is_stream=True)
        except Refused as refused:
            surface.error_body(refused.problem)
    surface.forward(body, model="m")
