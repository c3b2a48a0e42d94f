"""Every surface over every dialect, whole and streamed: the official types and clients take what we send."""

from typing import Any

import anthropic as anthropic_sdk
import httpx2
import openai as openai_sdk
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from llm_gateway.dialects import anthropic, google, openai
from llm_gateway.problems import Problem
from llm_gateway.surfaces import chat, completions, embeddings, messages, responses
from llm_gateway.tests import recorded
from llm_gateway.tests.hostile import JSON, PATHS, mutated
from llm_gateway.tests.recorded import openai_chunk, piece, sse
from llm_gateway.tests.streams import CALL, decode, encode, events, whole

pytestmark = pytest.mark.once

WHOLE: dict[Any, Any] = {chat: ChatCompletion, completions: Completion, messages: Message, responses: Response}
STREAMED: dict[Any, TypeAdapter[Any]] = {
    chat: TypeAdapter(ChatCompletionChunk),
    completions: TypeAdapter(Completion),
    messages: TypeAdapter(RawMessageStreamEvent),
    responses: TypeAdapter(ResponseStreamEvent),
}
REQUESTS: dict[Any, dict[str, Any]] = {
    chat: {"stream_options": {"include_usage": True}},
    completions: {"stream_options": {"include_usage": True}},
    messages: {},
    responses: {
        "instructions": "Be short.",
        "tools": [{"type": "function", "name": "weather", "parameters": recorded.WEATHER}],
        "tool_choice": {"type": "function", "name": "weather"},
        "temperature": 0.5,
        "metadata": {"a": "b"},
    },
}
DIALECTS = {
    openai: (recorded.OPENAI_ANSWER, recorded.OPENAI_STREAM),
    anthropic: (recorded.ANTHROPIC_ANSWER, recorded.ANTHROPIC_STREAM),
    google: (recorded.GOOGLE_ANSWER, recorded.GOOGLE_STREAM),
}
EVERY = [
    pytest.param(surface, dialect, id=f"{surface.__name__.rpartition('.')[2]}-{dialect.__name__.rpartition('.')[2]}")
    for surface in WHOLE
    for dialect in DIALECTS
]


def answered(surface: Any, dialect: Any, **more: Any) -> dict[str, Any]:
    canonical = whole(dialect.answer(DIALECTS[dialect][0], **CALL))
    found: dict[str, Any] = surface.answer(canonical, request=REQUESTS[surface] | more, call_id="c1", created=1)
    return found


def streamed(surface: Any, data: bytes, *, dialect: Any = openai, **more: Any) -> bytes:
    chunks = decode(dialect.decoder(**CALL), data)
    return encode(surface.encoder(request=REQUESTS[surface] | more, **CALL), chunks)


@pytest.mark.parametrize(("surface", "dialect"), EVERY)
def test_official_types_take_every_answer_and_every_event(surface: Any, dialect: Any) -> None:
    WHOLE[surface].model_validate(answered(surface, dialect))
    found = events(streamed(surface, DIALECTS[dialect][1], dialect=dialect))
    assert len(found) > 3
    for event in found:
        for choice in event["choices"] if surface is completions else ():
            choice["finish_reason"] = choice["finish_reason"] or "stop"  # null until the end, but the type forgets that
        STREAMED[surface].validate_python(event)
    if surface is responses:
        assert [event["sequence_number"] for event in found] == list(range(len(found)))


HEAD = {"content-type": "text/event-stream"}


def openai_client(data: bytes) -> openai_sdk.OpenAI:
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, headers=HEAD, content=data))
    return openai_sdk.OpenAI(api_key="k", base_url="http://x/v1", http_client=httpx2.Client(transport=transport))


def anthropic_client(data: bytes) -> anthropic_sdk.Anthropic:
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, headers=HEAD, content=data))
    return anthropic_sdk.Anthropic(api_key="k", base_url="http://x", http_client=httpx2.Client(transport=transport))


QUESTION: Any = [{"role": "user", "content": "?"}]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_anthropics_client_reads_the_same_message_streamed_and_whole(dialect: Any) -> None:
    data = streamed(messages, DIALECTS[dialect][1], dialect=dialect)
    with anthropic_client(data).messages.stream(model="m", max_tokens=9, messages=QUESTION) as stream:
        message = stream.get_final_message()
    expected = Message.model_validate(answered(messages, dialect))
    blocks = [block for block in expected.content if block.type != "thinking"]
    assert [b.to_dict() for b in message.content if b.type != "thinking"] == [b.to_dict() for b in blocks]
    assert [b.type for b in message.content] == [b.type for b in expected.content]
    assert message.stop_reason == expected.stop_reason == "tool_use"
    counts = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    assert [getattr(message.usage, name) for name in counts] == [getattr(expected.usage, name) for name in counts]
    assert message.usage.output_tokens == 45


@pytest.mark.parametrize("dialect", DIALECTS)
def test_openais_client_reads_the_same_response_streamed_and_whole(dialect: Any) -> None:
    data = streamed(responses, DIALECTS[dialect][1], dialect=dialect)
    with openai_client(data).responses.stream(model="m", input="?") as stream:
        response = stream.get_final_response()
    expected = Response.model_validate(answered(responses, dialect))
    assert response.output_text == expected.output_text == "Grüße, 🐧!"
    assert [item.type for item in response.output] == [item.type for item in expected.output]
    calls = [item.to_dict() for item in expected.output if item.type == "function_call"]
    kept = ("id", "call_id", "name", "arguments", "status", "type")
    found = [item.to_dict() for item in response.output if item.type == "function_call"]
    assert [{key: call[key] for key in kept} for call in found] == [{key: call[key] for key in kept} for call in calls]
    assert response.usage is not None
    assert response.usage == expected.usage
    assert (response.status, response.usage.total_tokens) == ("completed", 165)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_openais_client_reads_the_same_chat_streamed_and_whole(dialect: Any) -> None:
    data = streamed(chat, DIALECTS[dialect][1], dialect=dialect)
    with openai_client(data).chat.completions.stream(model="m", messages=QUESTION) as stream:
        completion = stream.get_final_completion()
    expected = ChatCompletion.model_validate(answered(chat, dialect)).choices[0]
    choice = completion.choices[0]
    assert (choice.message.content, choice.finish_reason) == (expected.message.content, expected.finish_reason)
    assert choice.message.tool_calls is not None
    assert expected.message.tool_calls is not None
    arguments = [call.function.arguments for call in choice.message.tool_calls]
    assert arguments == [call.function.arguments for call in expected.message.tool_calls if call.type == "function"]
    assert completion.usage is not None
    assert completion.usage.total_tokens == 165


def test_usage_is_in_a_stream_only_when_it_was_asked_for() -> None:
    for surface in (chat, completions):
        data = streamed(surface, recorded.OPENAI_STREAM, stream_options=None)
        assert b"usage" not in data
        assert data.endswith(b"data: [DONE]\n\n")
        found = events(streamed(surface, recorded.OPENAI_STREAM))
        assert [event["usage"] for event in found[:-1]] == [None] * (len(found) - 1)
        assert (found[-1]["choices"], found[-1]["usage"]["total_tokens"]) == ([], 165)


def test_a_legacy_completion_is_the_text_alone() -> None:
    found = answered(completions, google)
    assert (found["object"], found["id"], found["choices"][0]["text"]) == ("text_completion", "cmpl-c1", "Grüße, 🐧!")
    found_events = events(streamed(completions, recorded.GOOGLE_STREAM, dialect=google))
    texts = [event["choices"][0]["text"] for event in found_events if event["choices"]]
    assert "".join(texts) == "Grüße, 🐧!"
    assert found_events[-2]["choices"][0]["finish_reason"] == "stop"


BY_TURNS = sse(
    openai_chunk({"content": "a"}),
    openai_chunk(piece(0, "", id="x", name="f")),
    openai_chunk(piece(1, "", id="y", name="g")),
    openai_chunk(piece(0, '{"x"')),
    openai_chunk(piece(1, '{"y":2}')),
    openai_chunk({"content": "b"}),
    openai_chunk(piece(0, ":1}")),
    openai_chunk({}, finish_reason="tool_calls"),
    openai_chunk(None, usage=recorded.OPENAI_USAGE),
    b"[DONE]",
)


def test_calls_streamed_by_turns_come_out_one_after_the_other_and_whole() -> None:
    data = streamed(messages, BY_TURNS)
    with anthropic_client(data).messages.stream(model="m", max_tokens=9, messages=QUESTION) as stream:
        blocks = [block.to_dict() for block in stream.get_final_message().content]
    assert [(block["type"], block.get("text") or block.get("input")) for block in blocks] == [
        ("text", "a"), ("tool_use", {"x": 1}), ("tool_use", {"y": 2}), ("text", "b"),
    ]  # fmt: skip
    opened: list[int] = []
    for event in events(data):
        if event["type"] == "content_block_start":
            assert opened == []
            opened.append(event["index"])
        elif event["type"] == "content_block_delta":
            assert opened == [event["index"]]
        elif event["type"] == "content_block_stop":
            assert opened.pop() == event["index"]
    assert opened == []
    with openai_client(streamed(responses, BY_TURNS)).responses.stream(model="m", input="?") as stream_:
        output = stream_.get_final_response().output
    assert [item.type for item in output] == ["message", "function_call", "function_call", "message"]


def test_a_call_is_streamed_as_it_comes_while_nothing_else_waits() -> None:
    encoder = messages.encoder(request={}, **CALL)
    decoder = openai.decoder(**CALL)
    sent = [encoder.feed(c) for c in decode(decoder, recorded.OPENAI_STREAM)]
    assert b'"partial_json":"{\\"city\\": \\"Bo"' in sent[4]
    assert b"content_block_stop" in sent[6]


@pytest.mark.parametrize(
    ("finish_reason", "message", "stop_reason", "status", "reason"),
    [
        ("stop", {"content": "x"}, "end_turn", "completed", None),
        ("length", {"content": "x"}, "max_tokens", "incomplete", "max_output_tokens"),
        ("content_filter", {"content": "x"}, "refusal", "incomplete", "content_filter"),
        ("stop", {"refusal": "No."}, "refusal", "completed", None),
        ("stop", piece(0, "{}", id="a", name="f"), "tool_use", "completed", None),
        ("abort", {"content": ""}, "end_turn", "completed", None),
    ],
)
def test_how_an_answer_ended_is_told_alike_streamed_and_whole(
    finish_reason: str, message: dict[str, Any], stop_reason: str, status: str, reason: str | None
) -> None:
    payload = {"model": "m", "choices": [{"message": message, "finish_reason": finish_reason}]}
    canonical = whole(openai.answer(payload, **CALL))
    data = sse(openai_chunk(message), openai_chunk({}, finish_reason=finish_reason), b"[DONE]")
    found = messages.answer(canonical, request={}, call_id="c", created=1)
    Message.model_validate(found)
    assert found["stop_reason"] == events(streamed(messages, data))[-2]["delta"]["stop_reason"] == stop_reason
    found = responses.answer(canonical, request={}, call_id="c", created=1)
    Response.model_validate(found)
    for response in (found, events(streamed(responses, data))[-1]["response"]):
        assert response["status"] == status
        assert (response["incomplete_details"] or {}).get("reason") == reason


def test_arguments_that_are_no_json_are_handed_on_as_text() -> None:
    message = piece(0, '{"city": "Bo', id="a", name="f")
    payload = {"choices": [{"message": message, "finish_reason": "length"}]}
    found = messages.answer(whole(openai.answer(payload, **CALL)), request={}, call_id="c", created=1)
    assert found["content"][0]["input"] == {"INVALID_JSON": '{"city": "Bo'}


PROBLEM = Problem(502, "api_error", "The provider closed the stream before its end.", code="stream_interrupted")


@pytest.mark.parametrize("surface", STREAMED)
def test_a_stream_that_broke_ends_with_an_error_and_without_an_end_mark(surface: Any) -> None:
    encoder = surface.encoder(request=REQUESTS[surface], **CALL)
    data = b"".join(encoder.feed(chunk) for chunk in decode(openai.decoder(**CALL), recorded.OPENAI_STREAM[:900]))
    data += encoder.error(PROBLEM)
    assert b"[DONE]" not in data
    assert b"message_stop" not in data
    assert b"response.completed" not in data
    if surface in (messages, responses):
        for event in events(data):
            if event["type"] != "error" or surface is responses:
                STREAMED[surface].validate_python(event)
    if surface is messages:
        with pytest.raises(anthropic_sdk.APIStatusError, match="closed the stream"):
            list(anthropic_client(data).messages.create(model="m", max_tokens=9, messages=QUESTION, stream=True))
    elif surface is responses:
        last = list(openai_client(data).responses.create(model="m", input="?", stream=True))[-2:]
        assert [event.type for event in last] == ["error", "response.failed"]
    else:
        with pytest.raises(openai_sdk.APIError, match="closed the stream"):
            list(openai_client(data).chat.completions.create(model="m", messages=QUESTION, stream=True))


def test_embeddings_come_in_the_form_that_was_asked_for() -> None:
    canonical = whole(google.embedded({"embeddings": [{"values": [0.5, -1.25, 1e300]}]}, model="e"))
    assert embeddings.answer(canonical, request={}, call_id="c", created=1) == canonical
    found = embeddings.answer(canonical, request={"encoding_format": "base64"}, call_id="c", created=1)
    again = whole(openai.embedded(found, model="e"))
    CreateEmbeddingResponse.model_validate(again)
    assert again["data"][0]["embedding"][:2] == [0.5, -1.25]


@given(
    payload=st.sampled_from([recorded.OPENAI_ANSWER, recorded.ANTHROPIC_ANSWER, recorded.GOOGLE_ANSWER]),
    path=PATHS,
    value=JSON,
)
def test_no_hostile_answer_is_an_exception_on_any_surface(payload: Any, path: list[int], value: Any) -> None:
    hostile = mutated(payload, path, value)
    for dialect in DIALECTS:
        canonical = dialect.answer(hostile, **CALL)
        if isinstance(canonical, Problem):
            continue
        for surface in WHOLE:
            surface.answer(canonical, request=REQUESTS[surface], call_id="c", created=1)


@given(place=st.integers(0, 40), path=PATHS, value=JSON)
def test_no_hostile_stream_is_an_exception_on_any_surface(place: int, path: list[int], value: Any) -> None:
    payloads = [
        openai_chunk({"role": "assistant"}),
        openai_chunk(piece(0, "{}", id="a", name="f")),
        recorded.openai_chunk({}),
    ]
    payloads[place % 3] = mutated(payloads[place % 3], path, value)
    chunks = decode(openai.decoder(**CALL), sse(*payloads))
    for surface in STREAMED:
        encoder = surface.encoder(request=REQUESTS[surface], **CALL)
        events(b"".join(encoder.feed(chunk) for chunk in chunks) + encoder.finish())
