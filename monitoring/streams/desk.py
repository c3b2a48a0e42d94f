"""The desk: all subscribers of this process, kept alive and checked together, and ended in order."""

import asyncio
import logging
import random
from contextlib import suppress
from functools import partial
from typing import Final

from django.conf import settings
from django.db import DatabaseError, InterfaceError

from monitoring.dashboard import feed, reaches
from monitoring.streams.seats import SEATS
from monitoring.streams.subscriber import BODIES, Subscriber

logger = logging.getLogger(__name__)
TICK_SECONDS: Final = 1.0
RECHECK_SECONDS: Final = 2.0  # what is taken away ends within five
OPENING_AT_ONCE: Final = 4  # when everybody comes back at once they wait, and leave connections for other calls
FAREWELL_SECONDS: Final = 1.0
GONE: Final = "The credential expired or was revoked, or may no longer see this; connect again."


class Desk:
    """Looks after the subscribers of one event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.doorway = asyncio.Semaphore(OPENING_AT_ONCE)
        self.subscribers: set[Subscriber] = set()
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, subscriber: Subscriber) -> None:
        """Look after a subscriber."""
        self.subscribers.add(subscriber)
        self._is_empty.clear()
        if not self._tasks:
            self._tasks = [self.loop.create_task(self._tick()), self.loop.create_task(self._guard())]

    def remove(self, subscriber: Subscriber) -> None:
        """Forget a subscriber; the last one stops the work."""
        self.subscribers.discard(subscriber)
        feed.current().leave(subscriber)
        if not self.subscribers:
            self._is_empty.set()
            for task in self._tasks:
                task.cancel()
            self._tasks = []

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            BODIES.forget()
            for subscriber in self.subscribers:
                self._tick_one(subscriber)

    def _tick_one(self, subscriber: Subscriber) -> None:
        try:
            subscriber.tick(self.loop.time())
        except Exception:
            logger.exception("a stream broke; it ends, the others go on")
            subscriber.give_up()

    async def _guard(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            try:
                await self.check()
            except (DatabaseError, InterfaceError):
                continue
            except Exception:
                logger.exception("credentials of streams could not be checked")

    async def check(self) -> None:
        """End the streams of credentials that died or see something else now: a few queries for all of them."""
        shown = {subscriber.plan.credential for subscriber in self.subscribers}
        reached = await feed.current().run(partial(reaches.of_all, shown))
        for subscriber in self.subscribers:
            plan = subscriber.plan
            if plan.credential in reached and not plan.may_go_on(reached[plan.credential]):
                subscriber.end("unauthenticated", GONE)

    async def shut_down(self) -> None:
        """Tell everybody that the server restarts and when to come back, and wait a moment until it is written."""
        for subscriber in self.subscribers:
            wait_ms = random.randint(500, 500 + settings.SHUTDOWN_SPREAD_MS)
            subscriber.end("server_shutdown", "The server restarts; connect again.", retry_ms=wait_ms)
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._is_empty.wait()


_current: Desk | None = None


def current() -> Desk:
    """Return the running loop's desk."""
    global _current
    if _current is None or _current.loop is not asyncio.get_running_loop():
        _current = Desk()
    return _current


async def shut_down() -> None:
    """Take no more subscribers, and end those there are."""
    SEATS.is_closed = True
    await current().shut_down()
