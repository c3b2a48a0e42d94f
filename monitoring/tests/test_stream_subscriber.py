"""A subscriber by itself: bounded memory, ids that promise no more than was told, keep-alive and age; and the ids."""

import asyncio
from typing import Any

import pytest

from monitoring.dashboard.place import NOWHERE, Place
from monitoring.dashboard.reaches import Credential
from monitoring.dashboard.topics import Scope
from monitoring.streams import ids, subscriber, wire
from monitoring.streams.plans import Plan, Stream
from monitoring.streams.seats import Seats
from monitoring.streams.subscriber import Subscriber
from moolai.errors import AppError

pytestmark = pytest.mark.once
ACME = Scope(frozenset({"acme"}))
BOUND = ids.bound(Stream.EVERYTHING, ACME, "")


def plan(reach: Scope = ACME, scope: Scope = ACME) -> Plan:
    return Plan(Stream.EVERYTHING, "key:1", Credential("mk_x"), reach, scope)


class Line:
    """The client's end: what was written, and whether it reads."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_read = asyncio.Event()
        self.is_read.set()

    async def send(self, message: dict[str, Any]) -> None:
        await self.is_read.wait()
        self.written.append(message["body"])

    @property
    def ids(self) -> list[str]:
        lines = b"".join(self.written).decode().splitlines()
        return [line.removeprefix("id: ") for line in lines if line.startswith("id: ")]


def frame(number: int) -> dict[str, Any]:
    return {"type": "message", "id": number}


def opened(line: Line) -> Subscriber:
    return Subscriber(plan(), line.send, now=0.0)


async def test_only_the_last_event_of_a_turn_is_a_place_to_go_on_from() -> None:
    line = Line()
    one = opened(line)
    before, after = Place(1, 2, 3), Place(4, 5, 6)
    one.settle(before)
    for number in range(3):
        one.offer(frame(number))
    one.settle(after)
    await one._drain()
    assert [ids.read(text, BOUND) for text in line.ids] == [before, before, after]


async def test_who_does_not_read_holds_a_bounded_queue() -> None:
    one = opened(Line())
    for number in range(3 * subscriber.MAX_WAITING):
        one.offer(frame(number))
        one.settle(Place(1, number, 0))
        assert len(one._queue) <= subscriber.MAX_WAITING
    assert one._is_behind  # what it is told then needs a database: test_streams.py


async def test_silence_is_broken_every_fifteen_seconds_by_a_comment_that_moves_the_place() -> None:
    line = Line()
    one = opened(line)
    one.settle(Place(1, 2, 3))
    one.tick(14.9)
    await one._drain()
    assert line.written == []
    one.tick(15.0)
    await one._drain()
    assert line.written[0].startswith(b": keep-alive\nid: ")
    assert ids.read(line.ids[0], BOUND) == Place(1, 2, 3)


async def test_it_is_over_after_an_hour() -> None:
    one = opened(Line())
    one.tick(3600.0)
    assert b'"error":"expired"' in (one._last_words or b"")


async def test_nothing_is_written_after_the_last_words() -> None:
    line = Line()
    one = opened(line)
    one.end("unauthenticated", "It died.")
    one.offer(frame(1))
    one.settle(Place(1, 1, 1))
    assert not one._queue
    assert one._last_words == wire.retry() + wire.event("end", {"error": "unauthenticated", "detail": "It died."})


# --- ids ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [NOWHERE, Place(1_800_000_000_000, 2**62, 7)])
def test_an_id_names_its_place_to_the_stream_it_was_written_for_and_to_no_other(place: Place) -> None:
    text = ids.write(place, BOUND)
    assert ids.is_well_formed(text)
    assert ids.read(text, BOUND) == place
    others = [
        ids.bound(Stream.EVERYTHING, Scope(frozenset({"globex"})), ""), ids.bound(Stream.METRICS, ACME, ""),
        ids.bound(Stream.EVERYTHING, Scope(None), ""), ids.bound(Stream.EVERYTHING, ACME, "1h"),
    ]  # fmt: skip
    assert [ids.read(text, other) for other in others] == [None] * 4


def test_an_id_with_another_number_is_unknown() -> None:
    text = ids.write(Place(1, 2, 3), BOUND)
    assert ids.read(text.replace("1-2-3", "1-2-4"), BOUND) is None


# --- whether it may go on -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("opened_with", "asked", "now", "goes_on"),
    [
        (ACME, ACME, ACME, True),
        (ACME, ACME, None, False),
        (ACME, ACME, Scope(frozenset()), False),
        (ACME, ACME, Scope(frozenset({"acme", "globex"})), False),  # it would not show all it says
        (Scope(frozenset({"acme", "globex"})), ACME, ACME, True),
        (Scope(frozenset({"acme", "globex"})), ACME, Scope(frozenset({"globex"})), False),
        (Scope(None), Scope(None), Scope(None), True),
        (Scope(None), ACME, Scope(None), True),
        (Scope(None), Scope(None), ACME, False),
        (ACME, ACME, Scope(frozenset({"acme"}), orchestrator_id=""), False),
    ],
)
def test_a_stream_goes_on_while_the_credential_sees_what_it_shows(
    opened_with: Scope, asked: Scope, now: Scope | None, goes_on: bool
) -> None:
    assert plan(opened_with, asked).may_go_on(now) is goes_on


# --- seats --------------------------------------------------------------------------------------------------------


@pytest.fixture
def seats(settings: Any) -> Seats:
    settings.STREAMS_MAX, settings.STREAMS_PER_CALLER = 3, 2
    return Seats()


def test_a_caller_and_the_process_have_a_number_of_seats(seats: Seats) -> None:
    seats.take("one")
    seats.take("one")
    for caller, code in (("one", "rate_limited"), ("two", ""), ("three", "overloaded")):
        if code:
            with pytest.raises(AppError) as refused:
                seats.take(caller)
            assert refused.value.code == code
        else:
            seats.take(caller)
    seats.give_back("one")
    seats.take("three")


def test_a_process_that_ends_has_no_seat(seats: Seats) -> None:
    seats.is_closed = True
    with pytest.raises(AppError):
        seats.take("one")
