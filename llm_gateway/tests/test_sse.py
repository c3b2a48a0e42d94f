import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.sse import MAX_EVENT_BYTES, Event, Events
from llm_gateway.tests.streams import cut

pytestmark = pytest.mark.once

WILD = (
    b': hello\n\n\n\ndata: {"a": "\xf0\x9f\x90\xa7"}\n\nevent: x\ndata: 1\ndata:2\nid: 7\n\n'
    b"data: {}\r\n\r\ndata: b\r\rdata\ndata: c\n\r\nevent: y\r\ndata: d\n\ndata: left"
)


def read(*pieces: bytes) -> list[Event]:
    events = Events()
    found = [event for piece in pieces for event in events.feed(piece)]
    left = events.finish()
    return [*found, left] if left else found


def test_events_are_read_as_the_standard_says_and_keep_their_bytes() -> None:
    found = read(WILD)
    told = [(event.name, event.data) for event in found if event.data]
    penguin = '{"a": "🐧"}'.encode()
    assert told == [
        (b"", penguin), (b"x", b"1\n2"), (b"", b"{}"), (b"", b"b"), (b"", b"\nc"), (b"y", b"d"), (b"", b"left"),
    ]  # fmt: skip
    assert b"".join(event.raw for event in found) == WILD


@given(st.lists(st.integers(0, len(WILD)), max_size=12))
def test_it_does_not_matter_where_the_bytes_are_cut(places: list[int]) -> None:
    assert read(*cut(WILD, places)) == read(WILD)


def test_single_bytes_come_to_the_same() -> None:
    assert read(*(WILD[place : place + 1] for place in range(len(WILD)))) == read(WILD)


@pytest.mark.parametrize("size", [MAX_EVENT_BYTES - 8, MAX_EVENT_BYTES - 7])
@pytest.mark.parametrize("step", [1 << 14, 1 << 22])
def test_an_event_ends_at_a_mebibyte(size: int, step: int) -> None:
    data = b"data: 1\n\ndata: " + b"x" * size + b"\n\ndata: 2\n\n"
    events = Events()
    found = [event.data for place in range(0, len(data), step) for event in events.feed(data[place : place + step])]
    fits = size + 8 <= MAX_EVENT_BYTES
    assert events.is_overflown is not fits
    assert [len(item) for item in found] == ([1, size, 1] if fits else [1])
    assert (events.feed(b"data: 3\n\n") == []) is not fits


def test_a_line_that_never_ends_is_not_kept() -> None:
    events = Events()
    for _ in range(40):
        events.feed(b"x" * 65_536)
    assert events.is_overflown
    assert events.finish() is None
