"""Canonical requests in the words of each provider."""

import copy
from typing import Any

import pytest
from anthropic.types import message_create_params
from pydantic import TypeAdapter

from llm_gateway.dialects import anthropic, google, openai
from llm_gateway.problems import Untranslatable
from llm_gateway.tests.recorded import CONVERSATION, PIXEL, TOOL, WEATHER

pytestmark = pytest.mark.once

HELLO = [{"role": "user", "content": "Hello"}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "city", "schema": WEATHER, "strict": True}}
FULL: dict[str, Any] = {
    "model": "alias",
    "messages": CONVERSATION,
    "max_completion_tokens": 500,
    "temperature": 0.5,
    "top_p": 0.9,
    "stop": "END",
    "tools": [TOOL],
    "tool_choice": "required",
    "user": "u1",
    "seed": 7,
    "stream": True,
    "n": 1,
    "logit_bias": None,
}


def test_anthropic_is_asked_the_whole_conversation() -> None:
    before = copy.deepcopy(FULL)
    outgoing = anthropic.chat(FULL, model="claude-sonnet-4-5", is_stream=True)
    assert before == FULL
    assert outgoing.path == "/v1/messages"
    assert outgoing.body == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 500,
        "system": "Be short.\n\nAnswer in German.",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this? 🐧"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                    {"type": "image", "source": {"type": "url", "url": "https://example.com/a/penguin.jpeg?x=1"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Let me look."},
                    {"type": "tool_use", "id": "call_a", "name": "weather", "input": {"city": "Bonn"}},
                    {"type": "tool_use", "id": "call_b", "name": "weather", "input": {"city": "Köln"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_a", "content": [text('{"degrees": 7}')]},
                    {"type": "tool_result", "tool_use_id": "call_b", "content": [text("cloudy")]},
                    text("And tomorrow?"),
                ],
            },
        ],
        "temperature": 0.5,
        "top_p": 0.9,
        "stop_sequences": ["END"],
        "tools": [{"name": "weather", "description": "The weather.", "input_schema": WEATHER}],
        "tool_choice": {"type": "any"},
        "metadata": {"user_id": "u1"},
        "stream": True,
    }
    TypeAdapter(message_create_params.MessageCreateParamsStreaming).validate_python(outgoing.body)


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def test_google_is_asked_the_whole_conversation() -> None:
    outgoing = google.chat(FULL | {"n": 2}, model="gemini-2.5-pro", is_stream=False)
    assert outgoing.path == "/v1beta/models/gemini-2.5-pro:generateContent"
    assert outgoing.body == {
        "systemInstruction": {"parts": [{"text": "Be short.\n\nAnswer in German."}]},
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "What is this? 🐧"},
                    {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
                    {"fileData": {"fileUri": "https://example.com/a/penguin.jpeg?x=1", "mimeType": "image/jpeg"}},
                ],
            },
            {
                "role": "model",
                "parts": [
                    {"text": "Let me look."},
                    {"functionCall": {"name": "weather", "args": {"city": "Bonn"}}},
                    {"functionCall": {"name": "weather", "args": {"city": "Köln"}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"name": "weather", "response": {"degrees": 7}}},
                    {"functionResponse": {"name": "weather", "response": {"result": "cloudy"}}},
                    {"text": "And tomorrow?"},
                ],
            },
        ],
        "tools": [
            {
                "functionDeclarations": [
                    {"name": "weather", "description": "The weather.", "parametersJsonSchema": WEATHER}
                ]
            }
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
        "generationConfig": {
            "temperature": 0.5,
            "topP": 0.9,
            "candidateCount": 2,
            "seed": 7,
            "maxOutputTokens": 500,
            "stopSequences": ["END"],
        },
    }
    path = google.chat(FULL, model="../../x?key=1#", is_stream=True).path
    assert path == "/v1beta/models/..%2F..%2Fx%3Fkey%3D1%23:streamGenerateContent?alt=sse"


def test_later_gemini_models_get_their_signatures_back_or_the_one_that_stands_in() -> None:
    conversation = copy.deepcopy(CONVERSATION)
    calls = google.chat({"messages": conversation}, model="gemini-3-pro", is_stream=False).body["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in calls] == [None, "skip_thought_signature_validator", None]
    conversation[3]["tool_calls"][0]["extra_content"] = {"google": {"thought_signature": "c2ln"}}
    calls = google.chat({"messages": conversation}, model="gemini-3-pro", is_stream=False).body["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in calls] == [None, "c2ln", None]
    sent = openai.chat({"messages": conversation}, model="x", is_stream=False).body
    assert sent["messages"] == CONVERSATION


def test_openai_is_asked_for_the_usage_of_every_stream() -> None:
    thoughts = {"role": "assistant", "content": "x", "reasoning_content": "y", "thinking_blocks": []}
    body = {"model": "a", "messages": [*HELLO, thoughts], "max_tokens": 5, "stream_options": {"x": 1}, "vendor": 1}
    outgoing = openai.chat(body, model="gpt-5", is_stream=True)
    assert outgoing.path == "/chat/completions"
    assert outgoing.body == {
        "model": "gpt-5",
        "messages": [*HELLO, {"role": "assistant", "content": "x"}],
        "max_completion_tokens": 5,
        "vendor": 1,
        "stream": True,
        "stream_options": {"x": 1, "include_usage": True},
    }
    plain = openai.chat({"messages": HELLO, "max_completion_tokens": 5}, model="llama3.2", is_stream=False).body
    assert plain == {"model": "llama3.2", "messages": HELLO, "max_tokens": 5}


@pytest.mark.parametrize(
    ("asked", "to_anthropic", "to_google"),
    [
        ({"response_format": {"type": "text"}}, {}, {}),
        (
            {"response_format": SCHEMA},
            {"output_config": {"format": {"type": "json_schema", "schema": WEATHER}}},
            {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": WEATHER}},
        ),
        (
            {"reasoning_effort": "minimal"},
            {"output_config": {"effort": "low"}},
            {"generationConfig": {"thinkingConfig": {"thinkingBudget": 1024}}},
        ),
        (
            {"reasoning_effort": "none"},
            {"thinking": {"type": "disabled"}},
            {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}},
        ),
        (
            {"stop": ["a", "b"], "top_k": 3},
            {"stop_sequences": ["a", "b"], "top_k": 3},
            {"generationConfig": {"topK": 3, "stopSequences": ["a", "b"]}},
        ),
        (
            {
                "store": True,
                "metadata": {"a": "b"},
                "frequency_penalty": None,
                "logprobs": False,
                "service_tier": "auto",
            },
            {},
            {},
        ),
    ],
)
def test_options_are_said_in_each_dialect(asked: Any, to_anthropic: Any, to_google: Any) -> None:
    body = {"model": "x", "messages": HELLO} | asked
    said = anthropic.chat(body, model="claude-x", is_stream=False).body
    assert said.pop("max_tokens") == anthropic.DEFAULT_MAX_TOKENS
    assert said == {"model": "claude-x", "messages": [{"role": "user", "content": [text("Hello")]}]} | to_anthropic
    said = google.chat(body, model="gemini-2.5-flash", is_stream=False).body
    assert said == {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]} | to_google


def test_gemini_3_thinks_on_a_level() -> None:
    body = {"messages": HELLO, "reasoning_effort": "xhigh"}
    config = google.chat(body, model="gemini-3-pro", is_stream=False).body["generationConfig"]
    assert config == {"thinkingConfig": {"thinkingLevel": "high"}}


@pytest.mark.parametrize(
    ("choice", "parallel", "to_anthropic", "to_google"),
    [
        (None, None, None, None),
        ("auto", None, {"type": "auto"}, {"mode": "AUTO"}),
        ("none", None, {"type": "none"}, {"mode": "NONE"}),
        (
            {"type": "function", "function": {"name": "weather"}},
            None,
            {"type": "tool", "name": "weather"},
            {"mode": "ANY", "allowedFunctionNames": ["weather"]},
        ),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}, Untranslatable),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}, Untranslatable),
        (
            {"type": "function", "function": {"name": "weather"}},
            False,
            {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
            {"mode": "ANY", "allowedFunctionNames": ["weather"]},
        ),
    ],
)
def test_the_choice_of_tools_is_said_in_each_dialect(
    choice: Any, parallel: bool | None, to_anthropic: Any, to_google: Any
) -> None:
    other = {"type": "function", "function": {"name": "other"}}
    body = {"messages": HELLO, "tools": [TOOL, other], "tool_choice": choice, "parallel_tool_calls": parallel}
    assert anthropic.chat(body, model="x", is_stream=False).body.get("tool_choice") == to_anthropic
    if to_google is Untranslatable:
        with pytest.raises(Untranslatable):
            google.chat(body, model="x", is_stream=False)
        return
    said = google.chat(body, model="x", is_stream=False).body.get("toolConfig")
    assert said == (to_google and {"functionCallingConfig": to_google})


BOTH = (anthropic, google)
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("asked", "param", "dialects"),
    [
        ({"n": 2}, "n", [anthropic]),
        ({"logprobs": True}, "logprobs", BOTH),
        ({"logit_bias": {"1": 2}}, "logit_bias", BOTH),
        ({"frequency_penalty": 0.5}, "frequency_penalty", [anthropic]),
        ({"temperature": 1.5}, "temperature", [anthropic]),
        ({"audio": {"voice": "x"}}, "audio", BOTH),
        ({"modalities": ["text", "audio"]}, "modalities", BOTH),
        ({"web_search_options": {}}, "web_search_options", BOTH),
        ({"functions": [{"name": "f"}]}, "functions", BOTH),
        ({"never_heard_of": 1}, "never_heard_of", BOTH),
        ({"reasoning_effort": "a lot"}, "reasoning_effort", BOTH),
        ({"reasoning_effort": ["low"]}, "reasoning_effort", BOTH),
        ({"response_format": {"type": "json_object"}}, "response_format", [anthropic]),
        ({"response_format": {"type": "json_schema"}}, "response_format", BOTH),
        ({"response_format": "json"}, "response_format", BOTH),
        ({"tools": [{"type": "web_search"}]}, "tools[0]", BOTH),
        ({"tools": "weather"}, "tools", BOTH),
        ({"tools": [TOOL] * 600}, "tools", BOTH),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice", BOTH),
        ({"messages": []}, "messages", BOTH),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages", BOTH),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].role", BOTH),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content", BOTH),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0]", BOTH),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0]", BOTH),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///x"}}]}]},
            "messages[0]",
            BOTH,
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
            "messages[0]",
            BOTH,
        ),
        ({"messages": [*HELLO, {"role": "tool", "content": "x"}]}, "messages[1].tool_call_id", BOTH),
        (
            {"messages": [*HELLO, {"role": "tool", "tool_call_id": "?", "content": "x"}]},
            "messages[1].tool_call_id",
            [google],
        ),
        (
            {
                "messages": [
                    *HELLO,
                    {"role": "assistant", "tool_calls": [CALL | {"function": {"name": "f", "arguments": "{"}}]},
                ]
            },
            "messages[1]",
            BOTH,
        ),
        ({"messages": [*HELLO, {"role": "assistant", "function_call": {"name": "f"}}]}, "messages[1]", BOTH),
    ],
)
def test_what_a_dialect_cannot_say_is_a_400_that_names_the_parameter(asked: Any, param: str, dialects: Any) -> None:
    for dialect in dialects:
        with pytest.raises(Untranslatable) as refusal:
            dialect.chat({"model": "x", "messages": HELLO} | asked, model="m", is_stream=False)
        problem = refusal.value.problem
        assert (problem.status, problem.code, problem.param) == (400, "unsupported_parameter", param)


def test_ids_of_calls_get_letters_that_anthropic_takes_and_still_match() -> None:
    conversation = copy.deepcopy(CONVERSATION)
    conversation[3]["tool_calls"][0]["id"] = conversation[4]["tool_call_id"] = "functions.weather:0"
    messages = anthropic.chat({"messages": conversation}, model="x", is_stream=False).body["messages"]
    assert messages[1]["content"][1]["id"] == messages[2]["content"][0]["tool_use_id"] == "functions_weather_0"


def test_signed_thoughts_go_back_to_anthropic_and_unsigned_ones_do_not() -> None:
    thoughts = [
        {"type": "thinking", "thinking": "a", "signature": ""},
        {"type": "thinking", "thinking": "b", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "x"},
    ]
    messages = [*HELLO, {"role": "assistant", "content": "Hi", "thinking_blocks": thoughts}, *HELLO]
    said = anthropic.chat({"messages": messages}, model="x", is_stream=False).body["messages"][1]["content"]
    assert said == [*thoughts[1:], text("Hi")]


@pytest.mark.parametrize(
    ("dialect", "key", "header"),
    [
        (openai, "sk-1", {"Authorization": "Bearer sk-1"}),
        (openai, "", {}),
        (anthropic, "sk-2", {"anthropic-version": "2023-06-01", "x-api-key": "sk-2"}),
        (google, "sk-3", {"x-goog-api-key": "sk-3"}),
    ],
)
def test_keys_travel_in_headers(dialect: Any, key: str, header: dict[str, str]) -> None:
    assert dialect.headers(key) == header


def test_embeddings_are_asked_for_in_each_dialect() -> None:
    body = {"model": "a", "input": "x", "dimensions": 3, "encoding_format": "base64"}
    assert openai.embeddings(body, model="e").body == body | {"model": "e"}
    one = google.embeddings(body, model="gemini-embedding-001")
    assert one.path == "/v1beta/models/gemini-embedding-001:embedContent"
    request = {
        "model": "models/gemini-embedding-001",
        "content": {"parts": [{"text": "x"}]},
        "outputDimensionality": 3,
    }
    assert one.body == request
    several = google.embeddings(body | {"input": ["x", "y"]}, model="gemini-embedding-001")
    assert several.path == "/v1beta/models/gemini-embedding-001:batchEmbedContents"
    assert [item["content"]["parts"][0]["text"] for item in several.body["requests"]] == ["x", "y"]
    for given in ([1, 2], [[1]], [], 7, None):
        with pytest.raises(Untranslatable):
            google.embeddings(body | {"input": given}, model="x")
    with pytest.raises(Untranslatable):
        anthropic.embeddings(body, model="x")
