"""The feed: while anybody watches, one task per process reads what changed and hands it to every subscriber."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, Protocol, TypeVar

from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from monitoring.dashboard import topics
from monitoring.dashboard.mail import Mail
from monitoring.dashboard.movement import Movement
from monitoring.dashboard.topics import Frame
from orchestrators import database
from orgs import events

T = TypeVar("T")
logger = logging.getLogger(__name__)
PERIOD_SECONDS: Final = 1.0
FLEET_EVERY: Final = 2
TOPICS: Final = {"orchestrator_status": "orchestrators", "message": "messages"}
STATUS_KINDS: Final = ("orchestrator.", "independence.", "config.")


class Subscriber(Protocol):
    """Somebody who watches."""

    scope: topics.Scope
    topics: set[str]

    def offer(self, frame: Frame) -> None:
        """Take a frame without waiting."""
        ...


class Feed:
    """Reads rows once for all dashboards of this process."""

    def __init__(self) -> None:
        self.subscribers: set[Subscriber] = set()
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "dashboards")
        self._wake = asyncio.Event()
        self._cursor: events.Cursor | None = None
        self._movement = Movement()
        self._mail: Mail | None = None  # while anybody watches messages

    async def run(self, work: Callable[[], T]) -> T:
        """Run database work of dashboards in their own thread: sessions of orchestrators must not wait for it."""
        return await self._loop.run_in_executor(self._thread, database.guarded, work)

    async def join(self, subscriber: Subscriber) -> None:
        """Begin to offer frames to `subscriber`; what happens from here on reaches it."""
        if self._cursor is None:
            await self.run(self._open)
        self.subscribers.add(subscriber)
        if self._task is None:
            self._task = self._loop.create_task(self._run())

    def _open(self) -> None:
        if self._cursor is None:
            self._cursor = events.Cursor()

    def leave(self, subscriber: Subscriber) -> None:
        """Stop offering; the last one out stops the reading."""
        self.subscribers.discard(subscriber)
        if not self.subscribers and self._task is not None:
            self._task.cancel()
            self._task, self._cursor, self._movement, self._mail = None, None, Movement(), None

    def poke(self) -> None:
        """Look now; callable from any thread."""
        self._loop.call_soon_threadsafe(self._wake.set)

    async def _run(self) -> None:
        turn = 0
        while True:
            turn += 1
            try:
                is_mail_watched = any("messages" in subscriber.topics for subscriber in self.subscribers)
                self._mail = (self._mail or Mail()) if is_mail_watched else None
                frames = await self.run(self._read)
                for frame in frames:
                    self._offer(frame)
                if turn % FLEET_EVERY == 0:
                    await self._offer_fleet()
            except (DatabaseError, InterfaceError):
                logger.warning("dashboards are stale: the database does not answer")
            except Exception:
                logger.exception("the dashboards' feed failed")
            try:
                async with asyncio.timeout(PERIOD_SECONDS):
                    await self._wake.wait()
                self._wake.clear()
                await asyncio.sleep(0.02)
            except TimeoutError:
                continue

    def _read(self) -> list[Frame]:
        self._open()
        assert self._cursor is not None
        rows = self._cursor.read()
        told = [row for row in rows if row.kind.startswith(STATUS_KINDS)]
        ids = {row.orchestrator_id for row in told if row.orchestrator_id}
        organizations = {row.organization_id for row in told if not row.orchestrator_id}
        changed = topics.named(ids, organizations) if told else []
        moved = self._movement.read(now=timezone.now())  # last: what it returns it does not return again
        latest = {frame["orchestrator_id"]: frame for frame in [*changed, *moved]}
        mail = self._mail.read(rows) if self._mail is not None else []
        return [*latest.values(), *mail, *(topics.event_frame(row) for row in rows)]

    def _offer(self, frame: Frame) -> None:
        topic = TOPICS.get(frame["type"], "events")
        for subscriber in self.subscribers:
            if topic in subscriber.topics and subscriber.scope.allows(frame):
                subscriber.offer(frame)

    async def _offer_fleet(self) -> None:
        watching = [subscriber for subscriber in self.subscribers if "fleet" in subscriber.topics]
        for scope in {subscriber.scope for subscriber in watching}:
            [frame] = await self.run(partial(topics.fleet, scope))
            for subscriber in watching:
                if subscriber.scope == scope:
                    subscriber.offer(frame)


_current: Feed | None = None


def current() -> Feed:
    """Return the running loop's feed."""
    global _current
    if _current is None or _current._loop is not asyncio.get_running_loop():
        _current = Feed()
    return _current


def wake() -> None:
    """Tell this process's feed to look now; callable from any thread."""
    if _current is not None and not _current._loop.is_closed():
        _current.poke()
