"""Long conversations and streams take time in proportion to their length, not more."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from llm_gateway.dialects import anthropic, google, openai
from llm_gateway.surfaces import chat, messages, responses
from llm_gateway.surfaces.limits import MAX_MESSAGES
from llm_gateway.tests.recorded import ANTHROPIC_EVENTS, CONVERSATION, openai_chunk, piece, sse
from llm_gateway.tests.streams import CALL, decode, encode

pytestmark = pytest.mark.once


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Assert that the block takes less processor time; far more than it needs, far less than squares take."""
    began = time.process_time()
    yield
    assert time.process_time() - began < seconds


def test_the_longest_conversation_is_translated_at_once() -> None:
    talk = [*CONVERSATION[2:], {"role": "assistant", "content": "x"}]
    body: dict[str, Any] = {"model": "m", "messages": (talk * MAX_MESSAGES)[:MAX_MESSAGES]}
    with within(2):
        chat.check(body)
        for dialect in (openai, anthropic, google):
            dialect.chat(body, model="m", is_stream=True)
        sent = anthropic.chat(body, model="m", is_stream=False).body
        messages.check(sent)
        messages.read(sent)


def thoughts() -> list[dict[str, Any]]:
    delta = {"type": "thinking_delta", "thinking": "0123456789" * 100}
    grown = {"type": "content_block_delta", "index": 0, "delta": delta}
    return [*ANTHROPIC_EVENTS[:3], *[grown] * 4_000, *ANTHROPIC_EVENTS[5:]]


def by_turns() -> list[dict[str, Any]]:
    begun = [openai_chunk(piece(index, '{"', id=f"c{index}", name="f")) for index in range(100)]
    return [*begun, *[openai_chunk(piece(place % 100, "0123456789" * 100)) for place in range(4_000)]]


def calls() -> list[dict[str, Any]]:
    return [openai_chunk(piece(place, "{}", id=f"c{place}", name="f")) for place in range(2_000)]


@pytest.mark.parametrize(("dialect", "payloads"), [(anthropic, thoughts), (openai, by_turns), (openai, calls)])
def test_a_long_stream_is_translated_in_one_go(dialect: Any, payloads: Callable[[], list[dict[str, Any]]]) -> None:
    data = sse(*payloads())
    with within(2):
        chunks = decode(dialect.decoder(**CALL), *(data[place : place + 4_096] for place in range(0, len(data), 4_096)))
        encode(messages.encoder(request={}, **CALL), chunks)
        encode(responses.encoder(request={}, **CALL), chunks)
    with within(1):
        sniffer = chat.sniffer(wants_usage=False) if dialect is openai else messages.sniffer(wants_usage=True)
        sniffer.feed(data[: 1 << 24])


def test_an_event_that_arrives_byte_by_byte_is_searched_once() -> None:
    decoder = openai.decoder(**CALL)
    with within(3):
        for _ in range(100_000):
            decoder.feed(b"x")
