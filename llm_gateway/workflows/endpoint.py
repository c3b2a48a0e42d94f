"""The ASGI side of the streams of runs: the door is asked like any other; what it grants holds no thread.

All who follow runs in a process are looked after together: one look at the rows for all of them, and one at their
credentials. Nobody who leaves changes anything of a run.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Final

from django.utils import timezone

from llm_gateway import following
from llm_gateway.following import AWAY, Application, Message, Receive, Send, Writer
from llm_gateway.plane import desk
from llm_gateway.workflows import frames, watching
from llm_gateway.workflows.api import SLOT
from llm_gateway.workflows.watching import Plan, States
from moolai import errors
from moolai.errors import AppError

logger = logging.getLogger(__name__)
LOOK_SECONDS: Final = 0.5
CHECK_SECONDS: Final = 3.0  # what is taken away ends within five
MAX_AGE_SECONDS: Final = 3600.0
FAREWELL_SECONDS: Final = 1.0
_PATH: Final = re.compile(r"/v1/ai-orchestration/workflows/[^/]+/stream/?")


def is_ours(scope: Message) -> bool:
    """Whether an HTTP request may be for the stream of a run."""
    return scope["method"] == "GET" and _PATH.fullmatch(scope["path"]) is not None


async def serve(door: Application, scope: Message, receive: Receive, send: Send) -> None:
    """Ask the `door` (Django); when it grants a stream, write events until what it follows is over."""
    plans: list[Plan] = []
    opening = await following.granted(door, scope, receive, send, slot=SLOT, plans=plans)
    if not opening:
        return
    await following.begin(opening[0], send)
    writer, loop = Writer(send), asyncio.get_running_loop()
    beat = loop.create_task(writer.keep_alive())
    try:
        await writer.write(plans[0].first)
        last = await _follow(plans[0], writer, receive)
    finally:
        beat.cancel()
    await writer.write(last, is_last=True)


async def _follow(plan: Plan, writer: Writer, receive: Receive) -> bytes:
    """Write what changes; return the last events, b"" for a client that is gone."""
    with following.place(plan.organization_id) as has_room:
        if not has_room:
            return _ended("overloaded")
        follower = Follower(plan)
        leaving = asyncio.get_running_loop().create_task(following.leaving(receive, lambda: follower.end(b"")))
        LOOKOUT.add(follower)
        try:
            return await follower.run(writer)
        except AWAY:
            return _ended("database_unavailable")
        finally:
            leaving.cancel()
            LOOKOUT.remove(follower)


def _ended(code: str, detail: str = "") -> bytes:
    return frames.end(code, detail or errors.CODES[code][1])


class Follower:
    """One open stream; the newest state is all that waits for a client that reads slowly."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.opened_at = plan, time.monotonic()
        self._states: States | None = None
        self._last: bytes | None = None
        self._ready = asyncio.Event()

    async def run(self, writer: Writer) -> bytes:
        """Write what changes until the runs are over, or the stream is; return the last events."""
        while self._last is None:
            await self._ready.wait()
            self._ready.clear()
            states, self._states = self._states, None
            if states is None or self._last is not None:
                continue
            if news := self.plan.watch.news(states):
                await writer.write(news)
            if all(state.is_over for state in states.values()) and self._last is None:
                return await self._finish()
        return self._last

    async def _finish(self) -> bytes:
        try:
            return await desk.run(self.plan.finish)
        except AppError as problem:
            return _ended(problem.code, problem.detail)

    def offer(self, states: States) -> None:
        """Take what was seen of the runs in this look."""
        self._states = states
        self._ready.set()

    def end(self, last: bytes) -> None:
        """Have the stream end with these events."""
        self._last = last if self._last is None else self._last
        self._ready.set()


class Lookout:
    """Looks after the followers of this process's loop."""

    def __init__(self) -> None:
        self._followers: set[Follower] = set()
        self._seen: States = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    def add(self, follower: Follower) -> None:
        """Look after a follower."""
        self._followers.add(follower)
        self._is_empty.clear()
        if not self._tasks:
            loop = asyncio.get_running_loop()
            turns = ((LOOK_SECONDS, self._look), (CHECK_SECONDS, self._check))
            self._tasks = [loop.create_task(self._every(seconds, work)) for seconds, work in turns]

    def remove(self, follower: Follower) -> None:
        """Forget a follower; the last one stops the work."""
        self._followers.discard(follower)
        if not self._followers:
            for task in self._tasks:
                task.cancel()
            self._tasks, self._seen = [], {}
            self._is_empty.set()

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Do something again and again; what fails is tried the next time."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except AWAY:
                continue
            except Exception:
                logger.exception("runs that are followed could not be looked at")

    async def _look(self) -> None:
        pks = frozenset[int]().union(*(follower.plan.pks for follower in self._followers))
        self._seen = await desk.run(partial(watching.read, pks, now=timezone.now(), before=self._seen))
        for follower in self._followers:
            follower.offer({pk: self._seen[pk] for pk in follower.plan.pks if pk in self._seen})

    async def _check(self) -> None:
        now, followers = time.monotonic(), list(self._followers)
        for follower in followers:
            if now - follower.opened_at >= MAX_AGE_SECONDS:
                follower.end(_ended("expired", "A stream lasts an hour; connect again."))
        for follower, problem in await desk.run(partial(_refused, followers)):
            follower.end(_ended(problem.code, problem.detail))

    async def shut_down(self) -> None:
        """Tell everybody that the server restarts, and wait a moment until it is written."""
        for follower in list(self._followers):
            follower.end(_ended("server_shutdown", "The server restarts; connect again."))
        with suppress(TimeoutError):
            await asyncio.wait_for(self._is_empty.wait(), FAREWELL_SECONDS)


LOOKOUT: Final = Lookout()


def _refused(followers: Iterable[Follower]) -> list[tuple[Follower, AppError]]:
    """Return the followers that may not see their runs any more, and why."""
    found = []
    for follower in followers:
        try:
            follower.plan.check()
        except AppError as problem:
            found.append((follower, problem))
    return found
