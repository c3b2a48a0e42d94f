"""Whole answers, embeddings and errors of each provider, in the canonical form."""

import base64
import struct
from typing import Any

import orjson
import pytest
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion

from llm_gateway.dialects import anthropic, google, openai
from llm_gateway.problems import Problem, parse
from llm_gateway.tests import recorded
from llm_gateway.tests.recorded import generated
from llm_gateway.tests.streams import CALL, whole

pytestmark = pytest.mark.once

ANSWERS = [
    (openai, recorded.OPENAI_ANSWER),
    (anthropic, recorded.ANTHROPIC_ANSWER),
    (google, recorded.GOOGLE_ANSWER),
]


@pytest.mark.parametrize(("dialect", "payload"), ANSWERS)
def test_every_providers_answer_is_a_chat_completion(dialect: Any, payload: dict[str, Any]) -> None:
    canonical = whole(dialect.answer(payload, **CALL))
    found = ChatCompletion.model_validate(canonical, strict=True)
    assert found.id == "chatcmpl-c1"
    message = found.choices[0].message
    assert (message.content, found.choices[0].finish_reason) == ("Grüße, 🐧!", "tool_calls")
    assert message.tool_calls is not None
    assert [call.type for call in message.tool_calls] == ["function", "function"]
    arguments = [
        orjson.loads(call["function"]["arguments"]) for call in canonical["choices"][0]["message"]["tool_calls"]
    ]
    assert arguments[0] == {"city": "Bonn"}
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (120, 45)
    assert dialect.usage(payload).total_tokens == 165


def test_thoughts_and_signatures_are_kept() -> None:
    message = whole(anthropic.answer(recorded.ANTHROPIC_ANSWER, **CALL))["choices"][0]["message"]
    assert message["reasoning_content"] == "Hm. "
    assert message["thinking_blocks"] == recorded.ANTHROPIC_ANSWER["content"][:1]
    message = whole(google.answer(recorded.GOOGLE_ANSWER, **CALL))["choices"][0]["message"]
    assert message["reasoning_content"] == "Hm. "
    assert message["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "c2ln"}}
    assert "extra_content" not in message["tool_calls"][1]


def claude(reason: str) -> dict[str, Any]:
    return recorded.ANTHROPIC_ANSWER | {"content": [{"type": "text", "text": "x"}], "stop_reason": reason}


@pytest.mark.parametrize(
    ("dialect", "payload", "finish_reason"),
    [
        (anthropic, claude("end_turn"), "stop"),
        (anthropic, claude("stop_sequence"), "stop"),
        (anthropic, claude("pause_turn"), "stop"),
        (anthropic, claude("max_tokens"), "length"),
        (anthropic, claude("model_context_window_exceeded"), "length"),
        (anthropic, claude("refusal"), "content_filter"),
        (anthropic, claude("made_up_tomorrow"), "stop"),
        (google, generated({"text": "x"}, finish="STOP"), "stop"),
        (google, generated({"text": "x"}, finish="MAX_TOKENS"), "length"),
        (google, generated(finish="MAX_TOKENS"), "length"),
        (google, generated({"text": "x"}, finish="SAFETY"), "content_filter"),
        (google, generated(finish="PROHIBITED_CONTENT"), "content_filter"),
        (google, generated({"text": "x"}, finish="MADE_UP_TOMORROW"), "stop"),
        (
            google,
            {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}},
            "content_filter",
        ),
        (openai, {"choices": [{"message": {"content": "x"}}]}, "stop"),
    ],
)
def test_finish_reasons_are_openais(dialect: Any, payload: dict[str, Any], finish_reason: str) -> None:
    canonical = whole(dialect.answer(payload, **CALL))
    found = ChatCompletion.model_validate(canonical, strict=True)
    assert found.choices[0].finish_reason == finish_reason


def test_a_blocked_prompt_says_why() -> None:
    payload = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}
    canonical = whole(google.answer(payload, **CALL))
    assert canonical["choices"][0]["message"]["refusal"] == "The prompt was blocked: SAFETY."
    assert canonical["usage"]["prompt_tokens"] == 3


def test_a_generation_that_failed_is_a_problem() -> None:
    problem = google.answer(generated(finish="MALFORMED_FUNCTION_CALL"), **CALL)
    assert isinstance(problem, Problem)
    assert (problem.status, problem.code) == (502, "malformed_function_call")


def test_several_candidates_are_several_choices() -> None:
    payload = {"candidates": [generated({"text": word})["candidates"][0] for word in "ab"]}
    choices = whole(google.answer(payload, **CALL))["choices"]
    assert [(choice["index"], choice["message"]["content"]) for choice in choices] == [(0, "a"), (1, "b")]


VECTORS = [[0.5, -1.25, 0.0], [1.0, 2.0, 3.0]]
PACKED = [base64.b64encode(struct.pack("<3f", *vector)).decode() for vector in VECTORS]


@pytest.mark.parametrize(
    ("dialect", "payload"),
    [
        (openai, {"data": [{"embedding": vector} for vector in VECTORS], "model": "e", "usage": {"prompt_tokens": 8}}),
        (openai, {"data": [{"embedding": packed} for packed in PACKED], "model": "e", "usage": {"total_tokens": 8}}),
        (google, {"embeddings": [{"values": vector} for vector in VECTORS]}),
    ],
)
def test_embeddings_are_numbers_however_they_came(dialect: Any, payload: dict[str, Any]) -> None:
    found = whole(dialect.embedded(payload, model="e"))
    CreateEmbeddingResponse.model_validate(found, strict=True)
    assert [item["embedding"] for item in found["data"]] == VECTORS
    assert [item["index"] for item in found["data"]] == [0, 1]


def test_one_embedding_of_google_is_a_list_of_one() -> None:
    assert len(whole(google.embedded({"embedding": {"values": [1.0]}}, model="e"))["data"]) == 1


@pytest.mark.parametrize(
    ("dialect", "status", "body", "expected"),
    [
        (
            openai, 429,
            b'{"error":{"message":"You exceeded","type":"insufficient_quota","code":"insufficient_quota"}}',
            Problem(429, "insufficient_quota", "You exceeded", code="insufficient_quota"),
        ),
        (
            openai, 429,
            b'{"error":{"message":"Slow down","type":"requests","param":null,"code":"rate_limit_exceeded"}}',
            Problem(429, "rate_limit_error", "Slow down", code="rate_limit_exceeded"),
        ),
        (
            openai, 400,
            b'{"error":{"message":"Too long","type":"x","param":"messages","code":"context_length"}}',
            Problem(400, "invalid_request_error", "Too long", code="context_length", param="messages"),
        ),
        (openai, 404, b'{"error":"model \\"x\\" not found"}', Problem(404, "not_found_error", 'model "x" not found')),
        (
            openai, 400,
            b'{"object":"error","message":"bad","type":"BadRequestError","code":400}',
            Problem(400, "invalid_request_error", "bad"),
        ),
        (openai, 422, b'{"detail":"no"}', Problem(422, "invalid_request_error", "no")),
        (openai, 502, b"<html>secret host</html>", Problem(502, "api_error", "The provider answered 502.")),
        (openai, 500, b"", Problem(500, "api_error", "The provider answered 500.")),
        (
            openai, 500, b'{"error":{"message":["x"],"type":{},"code":7}}',
            Problem(500, "api_error", "The provider answered 500."),
        ),
        (
            anthropic, 529,
            b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"r"}',
            Problem(529, "overloaded_error", "Overloaded"),
        ),
        (
            anthropic, 401,
            b'{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}',
            Problem(401, "authentication_error", "invalid x-api-key"),
        ),
        (anthropic, 413, b"[]", Problem(413, "request_too_large", "The provider answered 413.")),
        (
            google, 429,
            b'[{"error":{"code":429,"message":"Quota","status":"RESOURCE_EXHAUSTED","details":'
            b'[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"17.5s"}]}}]',
            Problem(429, "rate_limit_error", "Quota", code="resource_exhausted", retry_after=17.5),
        ),
        (
            google, 400,
            b'{"error":{"code":400,"message":"API key not valid","status":"INVALID_ARGUMENT",'
            b'"details":[{"retryDelay":"\xc2\xb2s"}]}}',
            Problem(400, "invalid_request_error", "API key not valid", code="invalid_argument"),
        ),
        (google, 503, b"\xff\xfe", Problem(503, "overloaded_error", "The provider answered 503.")),
    ],
)  # fmt: skip
def test_errors_are_read_whatever_they_look_like(dialect: Any, status: int, body: bytes, expected: Problem) -> None:
    assert dialect.problem(status, body) == expected


def test_a_message_of_a_megabyte_is_cut() -> None:
    body = orjson.dumps({"error": {"message": "x" * 1_000_000}})
    assert len(openai.problem(500, body).message) < 3_000


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b"7", b"\xff", b"[" * 100_000, b'{"a":' * 2_000])
def test_a_body_that_is_no_object_is_a_problem(body: bytes) -> None:
    problem = parse(body)
    assert isinstance(problem, Problem)
    assert problem.status == 502
