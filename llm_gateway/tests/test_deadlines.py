"""The limits of time of a call, and the client that leaves: as asyncio's own, without a timer or a task for each."""

import asyncio
from typing import Any

import pytest

from llm_gateway.plane import deadlines
from llm_gateway.plane.deadlines import Deadlines
from llm_gateway.plane.exchange import GONE, Departure, Exchange

pytestmark = pytest.mark.once


async def limited(outer: float, inner: float, takes: float) -> str:
    """Return which of two blocks was over time, "" when none was."""
    limits = Deadlines()
    try:
        with limits.within(outer):
            try:
                with limits.within(inner):
                    await asyncio.sleep(takes)
            except TimeoutError:
                await asyncio.sleep(0)  # only the inner one is over: what follows goes on
                return "inner"
    except TimeoutError:
        return "outer"
    return ""


def test_the_block_that_takes_too_long_is_told() -> None:
    for times, over in (((9, 0.02, 5), "inner"), ((0.02, 9, 5), "outer"), ((0.02, 0.02, 5), "outer"), ((9, 9, 0), "")):
        assert asyncio.run(limited(*times)) == over


def test_a_limit_that_is_lifted_does_not_ring_and_one_after_another_does() -> None:
    async def steps() -> list[str]:
        limits, told = Deadlines(), []
        with limits.within(9), limits.within(0.02) as first:
            first.lift()
            await asyncio.sleep(0.04)
        for seconds in (9, 0.02, 0.02):
            try:
                with limits.within(seconds):
                    await asyncio.sleep(0.04)
            except TimeoutError:
                told.append("late")
        return told

    assert asyncio.run(steps()) == ["late", "late"]


def test_a_limit_that_is_renewed_rings_later_or_sooner() -> None:
    async def steps() -> list[str]:
        told = []
        for seconds, renewed in ((0.02, 9), (9, 0.02)):
            try:
                with Deadlines().within(seconds) as limit:
                    limit.renew(renewed)
                    await asyncio.sleep(0.04 if renewed > 1 else 5)
            except TimeoutError:
                told.append(f"{renewed}")
        return told

    assert asyncio.run(steps()) == ["0.02"]


def test_who_is_cancelled_by_others_is_not_late() -> None:
    async def cancelled() -> None:
        task = asyncio.ensure_future(limited(9, 9, 5))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())


def test_a_hundred_parts_of_ten_streams_take_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stream() -> None:
        limits = Deadlines()
        with limits.within(60):
            for _ in range(100):
                with limits.within(120):
                    await asyncio.sleep(0)

    async def timers() -> int:
        loop, made = asyncio.get_running_loop(), list[float]()
        ring = loop.call_at
        monkeypatch.setattr(loop, "call_at", lambda at, *more: (made.append(at), ring(at, *more))[1])  # type: ignore[func-returns-value]
        await asyncio.gather(*(stream() for _ in range(10)))
        return len(made)

    assert asyncio.run(timers()) == 1


def test_calls_with_limits_of_their_own_are_each_told_at_their_time() -> None:
    async def all_of(*outer: float) -> list[str]:
        return await asyncio.gather(*(limited(seconds, 9, 0.1) for seconds in outer))

    assert asyncio.run(all_of(9, 0.05, 0.02, 9, 0.05)) == ["", "outer", "outer", "", "outer"]


def test_many_limits_that_end_one_by_one_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    async def counted() -> tuple[int, set[str]]:
        loop, rung = asyncio.get_running_loop(), list[float]()
        bell = deadlines.bell()
        look = bell._ring
        monkeypatch.setattr(bell, "_ring", lambda: (rung.append(loop.time()), look())[1])  # type: ignore[func-returns-value]
        told = await asyncio.gather(*(limited(0.02 + number * 0.0005, 60, 60) for number in range(200)))
        return len(rung), set(told)

    rung, told = asyncio.run(counted())
    assert told == {"outer"}
    assert rung <= 5


def test_a_server_that_says_when_the_client_leaves_needs_no_task_for_it() -> None:
    async def leave(extensions: dict[str, Any]) -> tuple[int, bool]:
        left = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await left.wait()
            return {"type": "http.disconnect"}

        scope = {"method": "POST", "path": "/v1/messages", "headers": [], "extensions": extensions}
        departure = Departure(Exchange(scope, receive, receive))  # type: ignore[arg-type]
        before = len(asyncio.all_tasks())
        async with departure:
            made = len(asyncio.all_tasks()) - before
            asyncio.get_running_loop().call_soon(left.set)
            asyncio.get_running_loop().call_soon(lambda: [tell() for tell in told if tell])
            await asyncio.sleep(5)
        return made, departure.has_left

    told: list[Any] = []
    assert asyncio.run(leave({GONE: told.append})) == (0, True)
    assert told[-1] is None
    assert asyncio.run(leave({})) == (1, True)
