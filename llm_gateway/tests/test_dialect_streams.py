"""Streams of each provider: decoded however they are cut, and never with an exception."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from llm_gateway.dialects import anthropic, google, openai
from llm_gateway.sse import MAX_EVENT_BYTES
from llm_gateway.tests import recorded
from llm_gateway.tests.hostile import JSON, PATHS, mutated
from llm_gateway.tests.recorded import generated, openai_chunk, piece, sse
from llm_gateway.tests.streams import CALL, cut, decode, said, whole
from llm_gateway.usage import Usage

pytestmark = pytest.mark.once

STREAMS = [
    pytest.param(openai, recorded.OPENAI_STREAM, recorded.OPENAI_ANSWER, id="openai"),
    pytest.param(anthropic, recorded.ANTHROPIC_STREAM, recorded.ANTHROPIC_ANSWER, id="anthropic"),
    pytest.param(google, recorded.GOOGLE_STREAM, recorded.GOOGLE_ANSWER, id="google"),
]


@pytest.mark.parametrize(("dialect", "data", "answer"), STREAMS)
def test_a_stream_comes_to_what_the_whole_answer_says(dialect: Any, data: bytes, answer: dict[str, Any]) -> None:
    decoder = dialect.decoder(**CALL)
    chunks = decode(decoder, data)
    assert (decoder.is_done, decoder.problem) == (True, None)
    state: Any = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk, strict=True))
    streamed = state.get_final_completion().model_dump()
    canonical = whole(dialect.answer(answer, **CALL))
    message, expected = streamed["choices"][0]["message"], canonical["choices"][0]["message"]
    assert message["content"] == expected["content"]
    assert message.get("reasoning_content") == expected.get("reasoning_content")
    calls = [
        {key: call[key] for key in ("id", "type")} | {"function": call["function"]} for call in expected["tool_calls"]
    ]
    for call in message["tool_calls"]:
        call["function"].pop("parsed_arguments", None)
    assert [{key: call[key] for key in ("id", "type", "function")} for call in message["tool_calls"]] == calls
    assert streamed["choices"][0]["finish_reason"] == "tool_calls"
    assert decoder.usage == dialect.usage(answer)
    assert streamed["usage"]["prompt_tokens"] == 120


@pytest.mark.parametrize(("dialect", "data", "answer"), STREAMS)
@given(places=st.lists(st.integers(0, 1 << 16), max_size=8))
def test_it_does_not_matter_where_a_stream_is_cut(dialect: Any, data: bytes, answer: Any, places: list[int]) -> None:
    decoder, uncut = dialect.decoder(**CALL), dialect.decoder(**CALL)
    assert decode(decoder, *cut(data, places)) == decode(uncut, data)
    assert (decoder.usage, decoder.is_done) == (uncut.usage, True)


@pytest.mark.parametrize(("dialect", "data", "answer"), STREAMS)
def test_a_stream_of_single_bytes_comes_to_the_same(dialect: Any, data: bytes, answer: Any) -> None:
    single = [data[place : place + 1] for place in range(len(data))]
    assert decode(dialect.decoder(**CALL), *single) == decode(dialect.decoder(**CALL), data)


@pytest.mark.parametrize(("dialect", "data", "answer"), STREAMS)
def test_a_stream_that_ends_early_is_never_done(dialect: Any, data: bytes, answer: Any) -> None:
    last = data.rstrip().rfind(b"data: ") if dialect is not openai else data.rfind(b'"finish_reason":"tool_calls"')
    for place in range(0, last, 7):
        decoder = dialect.decoder(**CALL)
        decode(decoder, data[:place])
        assert not decoder.is_done, data[:place]
        assert decoder.problem.code == "stream_interrupted"


def test_a_compatible_server_may_leave_out_the_end_mark_but_not_the_finish_reason() -> None:
    decoder = openai.decoder(**CALL)
    decode(decoder, recorded.OPENAI_STREAM.replace(b"data: [DONE]\n\n", b""))
    assert decoder.is_done
    assert decoder.usage == Usage(120, 45, cached_input_tokens=100, reasoning_tokens=20)


def test_calls_that_come_by_turns_and_calls_without_an_index_are_told_apart() -> None:
    by_turns = sse(
        openai_chunk(piece(0, "", id="a", name="f")),
        openai_chunk(piece(1, "", id="b", name="g")),
        openai_chunk(piece(0, '{"x"')),
        openai_chunk(piece(1, "{}")),
        openai_chunk(piece(0, ":1}"), finish_reason="tool_calls"),
    )
    calls = said(decode(openai.decoder(**CALL), by_turns))["calls"]
    assert calls == {0: ["a", "f", '{"x":1}'], 1: ["b", "g", "{}"]}
    unnumbered = [{"id": name, "function": {"name": name, "arguments": "{}"}} for name in "fg"]
    calls = said(decode(openai.decoder(**CALL), sse(openai_chunk({"tool_calls": unnumbered}))))["calls"]
    assert calls == {0: ["f", "f", "{}"], 1: ["g", "g", "{}"]}


@pytest.mark.parametrize(
    ("dialect", "data", "status", "kind"),
    [
        (openai, sse({"error": {"message": "Oops", "type": "server_error", "code": None}}), 502, "api_error"),
        (openai, sse({"error": "Oops"}), 502, "api_error"),
        (
            anthropic,
            sse({"type": "error", "error": {"type": "overloaded_error", "message": "Oops"}}, is_named=True),
            529,
            "overloaded_error",
        ),
        (google, sse({"error": {"code": 503, "message": "Oops", "status": "UNAVAILABLE"}}), 503, "overloaded_error"),
        (google, sse({"error": {"code": 20, "message": "Oops"}}), 502, "api_error"),
    ],
)
def test_an_error_within_a_stream_ends_it(dialect: Any, data: bytes, status: int, kind: str) -> None:
    good = {openai: recorded.OPENAI_STREAM, anthropic: recorded.ANTHROPIC_STREAM, google: recorded.GOOGLE_STREAM}[
        dialect
    ]
    decoder = dialect.decoder(**CALL)
    chunks = decode(decoder, good[:-200].rpartition(b"data")[0], data, good)
    assert (decoder.problem.status, decoder.problem.kind, decoder.problem.message) == (status, kind, "Oops")
    assert not decoder.is_done
    assert said(chunks)["content"] == "Grüße, 🐧!"


@pytest.mark.parametrize("dialect", [openai, anthropic, google])
@pytest.mark.parametrize(
    "data", [b"data: {not json\n\n", b"data: [1]\n\n", b"data: \xff\n\n", b"data: " + b"[" * 5_000 + b"\n\n"]
)
def test_garbage_in_a_stream_is_a_problem(dialect: Any, data: bytes) -> None:
    decoder = dialect.decoder(**CALL)
    assert decoder.feed(data) == []
    assert (decoder.problem.status, decoder.problem.code) == (502, "bad_provider_answer")
    assert decoder.feed(recorded.OPENAI_STREAM) == decoder.finish() == []


@pytest.mark.parametrize("dialect", [openai, anthropic, google])
def test_a_line_without_end_is_a_problem_and_is_not_kept(dialect: Any) -> None:
    decoder = dialect.decoder(**CALL)
    for _ in range(3 + MAX_EVENT_BYTES // 65_536):
        assert decoder.feed(b"data: " + b"x" * 65_536) == []
    assert decoder.problem.code == "bad_provider_answer"


def test_a_blocked_prompt_and_a_failed_generation_are_told_of_in_a_stream_too() -> None:
    decoder = google.decoder(**CALL)
    chunks = decode(
        decoder, sse({"promptFeedback": {"blockReason": "OTHER"}, "usageMetadata": {"promptTokenCount": 3}})
    )
    assert (said(chunks)["refusal"], said(chunks)["finish_reason"]) == (
        "The prompt was blocked: OTHER.",
        "content_filter",
    )
    assert (decoder.is_done, decoder.usage) == (True, Usage(3))
    decoder = google.decoder(**CALL)
    decode(decoder, sse(generated(finish="MALFORMED_FUNCTION_CALL")))
    assert decoder.problem is not None
    assert decoder.problem.code == "malformed_function_call"


GOOD = [recorded.OPENAI_ANSWER, recorded.ANTHROPIC_ANSWER, recorded.GOOGLE_ANSWER, *recorded.ANTHROPIC_EVENTS]


@given(payload=st.sampled_from(GOOD), path=PATHS, value=JSON)
def test_no_answer_of_a_provider_is_an_exception(payload: Any, path: list[int], value: Any) -> None:
    hostile = mutated(payload, path, value)
    for dialect in (openai, anthropic, google):
        for found in (dialect.answer(hostile, **CALL), dialect.embedded(hostile, model="m")):
            orjson.dumps(found if isinstance(found, dict) else found.message)
        dialect.usage(hostile)
        dialect.problem(500, orjson.dumps(hostile))


@pytest.mark.parametrize(("dialect", "data", "answer"), STREAMS)
@given(place=st.integers(0, 40), path=PATHS, value=JSON)
def test_no_stream_of_a_provider_is_an_exception(
    dialect: Any, data: bytes, answer: Any, place: int, path: list[int], value: Any
) -> None:
    payloads = [line[6:].strip() for line in data.split(b"\n") if line.startswith(b"data: {")]
    place %= len(payloads)
    payloads[place] = orjson.dumps(mutated(orjson.loads(payloads[place]), path, value))
    decoder = dialect.decoder(**CALL)
    for chunk in decode(decoder, sse(*payloads)):
        assert isinstance(chunk["choices"], list)
        assert all(isinstance(choice["delta"], dict) for choice in chunk["choices"])
    assert decoder.is_done is not (decoder.problem is not None)


def test_what_is_nested_too_deep_to_write_again_is_a_problem() -> None:
    deep: Any = {}
    for _ in range(400):
        deep = {"a": deep}
    block = {"type": "tool_use", "id": "a", "name": "f", "input": deep}
    assert anthropic.answer({"content": [block]}, **CALL).status == 502  # type: ignore[union-attr]
    assert google.answer(generated({"functionCall": {"name": "f", "args": deep}}), **CALL).status == 502  # type: ignore[union-attr]
    decoder = anthropic.decoder(**CALL)
    text = b'{"a":' * 400 + b"{}" + b"}" * 400
    start = (
        b'{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"f","input":%b}}'
    )
    decode(decoder, sse(start % text, {"type": "content_block_stop", "index": 0}))
    assert decoder.problem is not None
    assert decoder.problem.code == "bad_provider_answer"
