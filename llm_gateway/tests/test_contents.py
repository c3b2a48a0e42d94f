"""What is kept of prompts and answers: cut to size, put together from streams, bounded while it waits."""

import json
import traceback
from typing import Any

import pytest
from django.utils import timezone

from llm_gateway.dialects import anthropic
from llm_gateway.plane import app
from llm_gateway.plane.exchange import Exchange
from llm_gateway.surfaces import chat, completions, messages, responses
from llm_gateway.tests import recorded
from llm_gateway.tests.streams import CALL, decode, encode
from llm_gateway.watching import assembling, contents
from llm_gateway.watching.contents import MAX_BYTES, MAX_STREAM_BYTES, Heard, Room
from llm_gateway.watching.keeper import Keeper

pytestmark = pytest.mark.once


def heard(request: Any = None, *, size: int = 10, is_stream: bool = False) -> Heard:
    return Heard("call-1", "org-001", request or {}, size, is_stream, timezone.now())


@pytest.mark.parametrize("surface", [chat, completions, messages, responses], ids=lambda surface: surface.__name__)
def test_a_stream_of_any_surface_is_put_together(surface: Any) -> None:
    decoder = anthropic.decoder(**CALL)
    chunks = decode(decoder, recorded.sse(*recorded.ANTHROPIC_EVENTS))
    told = "".join(
        (choice["delta"].get("content") or "")
        for chunk in chunks
        for choice in chunk["choices"]
        if choice["index"] == 0
    )
    assert told
    sent = encode(surface.encoder(request={}, **CALL), chunks)
    assert told in assembling.said(sent)
    cut = assembling.said(sent[: len(sent) // 2])
    assert cut == assembling.said(sent)[: len(cut)]


@pytest.mark.parametrize(
    "line", [b"data: 1\n\n", b'data: {"choices": [1, {"delta": 5}]}\n', b'data: {"type": []}\n', b"x", b""]
)
def test_what_is_no_event_is_passed_over(line: bytes) -> None:
    assert assembling.said(line) == ""


def test_a_whole_answer_is_cut_where_it_is_too_long() -> None:
    one = heard({"input": "é" * MAX_BYTES})
    one.take(b"a" * 40_000)
    one.take(b"b" * 40_000)
    assert sum(map(len, one.parts)) == MAX_BYTES
    row = contents._row(one)
    told = contents.opened(row)
    assert told.answer == "a" * 40_000 + "b" * (MAX_BYTES - 40_000)
    assert len(told.request.encode()) in (MAX_BYTES, MAX_BYTES - 1)
    assert told.is_request_truncated
    assert told.is_answer_truncated
    assert "b" * 20 not in row.answer
    assert "aaa" not in repr(told)


def test_a_stream_is_bounded_whatever_it_says() -> None:
    one = heard(is_stream=True)
    event = b'data: {"choices": [{"delta": {"content": "0123456789"}}]}\n\n'
    for _ in range(20_000):
        one.take(event)
    assert sum(map(len, one.parts)) == MAX_STREAM_BYTES
    told = contents.opened(contents._row(one))
    assert len(told.answer) == MAX_BYTES
    assert told.is_answer_truncated


def test_what_all_open_calls_say_is_bounded_and_the_rows_say_who_was_cut() -> None:
    room = Room(110)
    first, second, third = (
        Heard(f"call-{name}", "org-001", {}, 2, is_stream=True, kept_at=timezone.now(), room=room) for name in "abc"
    )
    event = b'data: {"choices": [{"delta": {"content": "abc"}}]}\n\n'
    for one in (first, second, second, third):
        one.take(event)
    assert (first.kept_bytes, second.kept_bytes, third.kept_bytes) == (52, 58, 0)
    assert room.left_bytes == 0
    second.close()
    second.close()
    first.take(event)
    second.take(event)
    assert room.left_bytes == 110 - 2 * 52
    told = {one.call_id: contents.opened(contents._row(one)) for one in (first, second, third)}
    assert [(row.answer, row.is_answer_truncated) for row in told.values()] == [
        ("abcabc", False), ("abc", True), ("", True)
    ]  # fmt: skip


def test_what_is_said_after_the_call_is_over_is_not_kept() -> None:
    one = heard({"n": 10**400})
    one.take(b"good")
    one.close()
    one.take(b" and the error that came after it")
    told = contents.opened(contents._row(one))
    assert (told.answer, json.loads(told.request)) == ("good", {"n": 10**400})
    assert not told.is_answer_truncated


def test_a_queue_that_is_full_drops_contents_and_counts_them() -> None:
    keeper = Keeper(interval_seconds=60, max_bytes=100)
    for _ in range(5):
        keeper.put(heard(size=40))
    assert keeper.dropped == 3
    assert len(keeper._waiting) == 2
    keeper._waiting.clear()
    keeper.stop()


async def test_an_error_of_our_own_is_logged_without_its_words(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(exchange: Exchange) -> None:
        raise ValueError("the prompt itself")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    monkeypatch.setattr(app, "_serve", broken)
    scope = {"method": "POST", "path": "/v1/chat/completions", "headers": []}
    await app.serve(Exchange(scope, None, send, request_id="r-1"))  # type: ignore[arg-type]
    assert sent[0]["status"] == 500
    assert "in broken" in caplog.text
    assert "ValueError" in caplog.text
    assert "the prompt itself" not in caplog.text.replace('raise ValueError("the prompt itself")', "")
    assert b"prompt" not in sent[1]["body"]
    begun = Exchange(scope, None, send, request_id="r-2")  # type: ignore[arg-type]
    await begun.begin(200, [])
    with pytest.raises(ConnectionAbortedError) as told:  # which the server writes down
        await app.serve(begun)
    assert "the prompt itself" not in "".join(traceback.format_exception(told.value))
