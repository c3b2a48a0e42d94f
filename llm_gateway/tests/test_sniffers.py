"""Streams that pass through: byte for byte, read along, never ended by a lie."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.dialects import anthropic, openai
from llm_gateway.problems import Problem
from llm_gateway.sse import MAX_EVENT_BYTES
from llm_gateway.surfaces import chat, completions, messages, responses
from llm_gateway.tests import recorded
from llm_gateway.tests.recorded import openai_chunk, piece, sse
from llm_gateway.tests.streams import CALL, cut, decode, encode, events, sniff
from llm_gateway.usage import Usage

pytestmark = pytest.mark.once

SPENT = Usage(120, 45, cached_input_tokens=100, reasoning_tokens=20)
USAGE_EVENT = sse(openai_chunk(None, usage=recorded.OPENAI_USAGE))
TEXTS = [
    {"id": "cmpl-1", "object": "text_completion", "choices": [{"text": word, "index": 0, "finish_reason": end}]}
    for word, end in (("Grüße", None), ("!", "stop"))
]
LEGACY = sse(*TEXTS, {"choices": [], "usage": recorded.OPENAI_USAGE}, b"[DONE]")
TYPED = encode(responses.encoder(request={}, **CALL), decode(openai.decoder(**CALL), recorded.OPENAI_STREAM))
WRITTEN = 'Grüße, 🐧!{"city": "Bonn"}{"city": "Köln"}'
STREAMS = [
    pytest.param(chat, recorded.OPENAI_STREAM, len(WRITTEN), SPENT, id="chat"),
    pytest.param(
        chat, b": OPENROUTER PROCESSING\r\n\r\n" + recorded.OPENAI_STREAM, len(WRITTEN), SPENT, id="commented"
    ),
    pytest.param(completions, LEGACY, 6, SPENT, id="completions"),
    pytest.param(messages, recorded.ANTHROPIC_STREAM, 28, Usage(120, 45, 100, 10, 20), id="messages"),
    pytest.param(responses, TYPED, len(WRITTEN), SPENT, id="responses"),
]


@pytest.mark.parametrize(("surface", "data", "characters", "spent"), STREAMS)
def test_a_stream_passes_byte_for_byte(surface: Any, data: bytes, characters: int, spent: Usage) -> None:
    sniffer = surface.sniffer(wants_usage=True)
    assert sniff(sniffer, data) == data
    assert (sniffer.usage, sniffer.is_done, sniffer.problem) == (spent, True, None)
    assert sniffer.output_characters == characters


@pytest.mark.parametrize(("surface", "data", "characters", "spent"), STREAMS)
@given(places=st.lists(st.integers(0, 1 << 16), max_size=8))
def test_it_does_not_matter_where_it_is_cut(
    surface: Any, data: bytes, characters: int, spent: Usage, places: list[int]
) -> None:
    sniffer, uncut = surface.sniffer(wants_usage=False), surface.sniffer(wants_usage=False)
    assert sniff(sniffer, *cut(data, places)) == sniff(uncut, data)
    assert (sniffer.usage, sniffer.output_characters) == (spent, uncut.output_characters)


@pytest.mark.parametrize(("surface", "data"), [(chat, recorded.OPENAI_STREAM), (completions, LEGACY)])
def test_usage_that_only_we_asked_for_is_not_passed_on(surface: Any, data: bytes) -> None:
    sniffer = surface.sniffer(wants_usage=False)
    passed = sniff(sniffer, data)
    events_ = data.split(b"\n\n")
    assert passed == b"\n\n".join([*events_[:-3], *events_[-2:]])
    assert passed.endswith(b"data: [DONE]\n\n")
    assert sniffer.usage == SPENT


def test_usage_beside_a_choice_is_passed_on() -> None:
    data = sse(openai_chunk({"content": "x"}, finish_reason="stop", usage=recorded.OPENAI_USAGE), b"[DONE]")
    sniffer = chat.sniffer(wants_usage=False)
    assert sniff(sniffer, data) == data
    assert sniffer.usage == SPENT


ERRORS: list[Any] = [
    (chat, sse({"error": {"message": "Oops", "type": "server_error"}}), 502),
    (completions, sse({"error": {"message": "Oops", "type": "server_error"}}), 502),
    (messages, sse({"type": "error", "error": {"type": "overloaded_error", "message": "Oops"}}, is_named=True), 529),
    (responses, sse({"type": "error", "code": "server_error", "message": "Oops", "param": None}), 502),
    (
        responses,
        sse({"type": "response.failed", "response": {"error": {"code": "server_error", "message": "Oops"}}}),
        502,
    ),
]
GOOD = {chat: recorded.OPENAI_STREAM, completions: LEGACY, messages: recorded.ANTHROPIC_STREAM, responses: TYPED}


@pytest.mark.parametrize(("surface", "error", "status"), ERRORS)
def test_an_error_event_becomes_a_problem_and_nothing_follows_it(surface: Any, error: bytes, status: int) -> None:
    sniffer = surface.sniffer(wants_usage=True)
    begin = GOOD[surface][: GOOD[surface].index(b"\n\n") + 2]
    assert sniff(sniffer, begin + error + GOOD[surface]) == begin
    assert (sniffer.problem.status, sniffer.problem.message, sniffer.is_done) == (status, "Oops", False)
    told = sniffer.error(sniffer.problem)
    assert b"Oops" in told
    assert b"DONE" not in told
    events(told)


@pytest.mark.parametrize("surface", GOOD)
@pytest.mark.parametrize("garbage", [b"data: {nope\n\n", b"data: []\n\n", b"data: " + b"x" * (MAX_EVENT_BYTES + 1)])
def test_garbage_is_not_passed_on(surface: Any, garbage: bytes) -> None:
    sniffer = surface.sniffer(wants_usage=True)
    begin = GOOD[surface][: GOOD[surface].index(b"\n\n") + 2]
    assert sniffer.feed(begin) + sniffer.feed(garbage) == begin
    assert sniffer.problem.code == "bad_provider_answer"
    assert sniffer.feed(GOOD[surface]) == sniffer.finish() == b""


@pytest.mark.parametrize("surface", GOOD)
def test_an_early_close_is_a_problem(surface: Any) -> None:
    data = GOOD[surface]
    end = data.rindex(b"data: ", 0, -20) if surface in (messages, responses) else data.index(b'"finish_reason":"')
    for place in range(0, end, 11):
        sniffer = surface.sniffer(wants_usage=True)
        assert data.startswith(sniff(sniffer, data[:place]))
        assert (sniffer.is_done, sniffer.problem.code) == (False, "stream_interrupted")


def delta(surface: Any, words: str) -> bytes:
    if surface is chat:
        return sse(openai_chunk({"content": words}))
    return sse(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": words}}, is_named=True
    )


@pytest.mark.parametrize("surface", [chat, messages])
@given(
    texts=st.lists(
        st.text(max_size=6) | st.sampled_from(["usage", "text", "0", '"', "\\", "\n", 'x"y', "é"]), max_size=6
    )
)
def test_events_that_are_alike_are_counted_as_if_each_were_parsed(surface: Any, texts: list[str]) -> None:
    data = b"".join(delta(surface, words) for words in ["first", *texts])
    sniffer = surface.sniffer(wants_usage=False)
    assert sniffer.feed(data) == data
    assert sniffer.output_characters == 5 + sum(map(len, texts))
    sniffer.feed(data)  # begins with what it knows
    assert sniffer.output_characters == 2 * (5 + sum(map(len, texts)))


HIDDEN = {
    chat: b'x"}}],"error":{"message":"Oops"},"z":[{"y":{"w":"',
    messages: b'x"},"type":"error","error":{"message":"Oops"},"z":{"w":"',
}


@pytest.mark.parametrize("surface", [chat, messages])
@pytest.mark.parametrize("broken", [b"\xff", b'x","x', b'x"', b"\\", b"\x01", b"a\nb", None])
def test_an_event_that_only_looks_alike_is_read(surface: Any, broken: bytes | None) -> None:
    sniffer = surface.sniffer(wants_usage=False)
    begin = delta(surface, "first") + delta(surface, "second")
    assert sniffer.feed(begin) == begin
    hostile = delta(surface, "third").replace(b"third", HIDDEN[surface] if broken is None else broken)
    among = delta(surface, "among"), delta(surface, "others")
    assert sniffer.feed(among[0] + hostile + among[1]) == among[0]
    assert sniffer.problem is not None
    assert (sniffer.problem.message == "Oops") is (broken is None)


def test_what_was_written_before_a_break_is_counted() -> None:
    sniffer = chat.sniffer(wants_usage=False)
    sniff(sniffer, sse(openai_chunk({"content": "abc", "reasoning_content": "de"}), openai_chunk(piece(0, "{}"))))
    assert (sniffer.usage, sniffer.output_characters) == (None, 7)


@pytest.mark.parametrize("surface", GOOD)
@pytest.mark.parametrize(
    "event", [b"{}", b'{"choices":7,"type":[],"usage":7}', b'{"choices":[7,{"delta":7,"index":{}}]}']
)
def test_strange_events_pass(surface: Any, event: bytes) -> None:
    sniffer = surface.sniffer(wants_usage=True)
    assert sniffer.feed(b"data: " + event + b"\n\n") == b"data: " + event + b"\n\n"
    assert sniffer.problem is None


def test_a_break_is_told_in_the_surfaces_words() -> None:
    problem = Problem(429, "rate_limit_error", "Slow down.")
    assert events(chat.sniffer(wants_usage=True).error(problem))[0]["error"]["code"] == "rate_limit_exceeded"
    assert events(messages.sniffer(wants_usage=True).error(problem))[0]["error"]["type"] == "rate_limit_error"
    sniffer = responses.sniffer(wants_usage=True)
    sniffer.feed(TYPED[:2_000])
    assert events(sniffer.error(problem))[0]["sequence_number"] > 0
    assert anthropic.told({"type": "rate_limit_error", "message": "Slow down."}) == problem
