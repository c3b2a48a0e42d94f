"""The feed: while anybody watches, one task per process reads what changed and hands it to every subscriber.

Sessions on `/ws` and subscribers of `/api/v1/stream` are the same to it.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from monitoring.dashboard import alerts, health, samples, topics
from monitoring.dashboard.mail import Mail
from monitoring.dashboard.movement import Movement
from monitoring.dashboard.place import NOWHERE, Place
from monitoring.dashboard.samples import Samples
from monitoring.dashboard.topics import Frame
from orchestrators import database
from orgs import events

T = TypeVar("T")
logger = logging.getLogger(__name__)
PERIOD_SECONDS: Final = 1.0
FLEET_EVERY: Final = 2
HEALTH_SECONDS: Final = 5.0
TOPICS: Final = {
    "orchestrator_status": "orchestrators", "message": "messages", "alert": "alerts", "system_health": "system_health",
}  # fmt: skip
METRICS: Final = samples.TOPICS
STATUS_KINDS: Final = ("orchestrator.", "independence.", "config.")


class Subscriber(Protocol):
    """Somebody who watches."""

    scope: topics.Scope
    topics: set[str]

    def offer(self, frame: Frame) -> None:
        """Take a frame without waiting."""
        ...

    def settle(self, place: Place) -> None:
        """Hear how far everything that was offered until now goes: once a turn."""
        ...


class Feed:
    """Reads rows once for everybody in this process who watches."""

    def __init__(self) -> None:
        self.subscribers: set[Subscriber] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._loop = asyncio.get_running_loop()
        self._thread, self._health_thread = ThreadPoolExecutor(1, "dashboards"), ThreadPoolExecutor(1, "health")
        self._wake = asyncio.Event()
        self._waiting: dict[Any, asyncio.Future[list[Frame]]] = {}  # snapshots that no thread has begun to read
        self._forget()

    def _forget(self) -> None:
        self.place = NOWHERE  # how far what was offered goes
        self._cursor: events.Cursor | None = None
        self._movement = Movement()
        self._mail: Mail | None = None  # while anybody watches messages
        self._samples: Samples | None = None  # once anybody watches metrics
        self._health: Frame = {}

    async def run(self, work: Callable[[], T]) -> T:
        """Run database work of dashboards in their own thread: sessions of orchestrators must not wait for it."""
        return await self._loop.run_in_executor(self._thread, database.guarded, work)

    async def snapshot(self, key: Hashable, read: Callable[[], list[Frame]]) -> list[Frame]:
        """Read a snapshot in the dashboards' thread; those who ask for the same before it is begun get the same."""

        def begin() -> list[Frame]:
            self._waiting.pop(key, None)
            return read()

        if key not in self._waiting:
            self._waiting[key] = asyncio.ensure_future(self.run(begin))
        return await asyncio.shield(self._waiting[key])

    async def join(self, subscriber: Subscriber) -> None:
        """Begin to offer frames to `subscriber`; what happens from here on reaches it."""
        has_metrics = bool(METRICS & subscriber.topics)
        while self._cursor is None or (has_metrics and self._samples is None):  # the last one out forgets them
            await self.run(partial(self._open, has_metrics=has_metrics))
        self.subscribers.add(subscriber)
        if not self._tasks:
            self._tasks = [self._loop.create_task(work) for work in (self._run(), self._watch_health())]

    def _open(self, *, has_metrics: bool) -> None:
        if self._cursor is None:
            self._cursor = events.Cursor()
            self.place = self._reached(timezone.now())
        if self._samples is None and has_metrics:
            self._samples = Samples()
            self.place = replace(self.place, sample=self._samples.floor)

    def _reached(self, now: datetime) -> Place:
        assert self._cursor is not None
        sample = self._samples.floor if self._samples is not None else 0
        return Place(int(now.timestamp() * 1000), self._cursor.floor, sample)

    def leave(self, subscriber: Subscriber) -> None:
        """Stop offering; the last one out stops the reading."""
        self.subscribers.discard(subscriber)
        if not self.subscribers and self._tasks:
            for task in self._tasks:
                task.cancel()
            self._tasks = []
            self._forget()

    def poke(self) -> None:
        """Look now; callable from any thread."""
        self._loop.call_soon_threadsafe(self._wake.set)

    async def _run(self) -> None:
        turn = 0
        while True:
            turn += 1
            try:
                await self._turn()
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

    async def _turn(self) -> None:
        is_mail_watched = any("messages" in subscriber.topics for subscriber in self.subscribers)
        self._mail = (self._mail or Mail()) if is_mail_watched else None
        frames, place = await self.run(self._read)
        for frame in frames:
            self._offer(frame)
        self.place = place
        for subscriber in self.subscribers:
            subscriber.settle(place)

    def _read(self) -> tuple[list[Frame], Place]:
        now = timezone.now()
        self._open(has_metrics=False)
        assert self._cursor is not None
        rows = self._cursor.read()
        told = [row for row in rows if row.kind.startswith(STATUS_KINDS)]
        ids = {row.orchestrator_id for row in told if row.orchestrator_id}
        organizations = {row.organization_id for row in told if not row.orchestrator_id}
        changed = topics.named(ids, organizations) if told else []
        moved = self._movement.read(now=now)  # last: what it returns it does not return again
        latest = {frame["orchestrator_id"]: frame for frame in [*changed, *moved]}
        mail = self._mail.read(rows) if self._mail is not None else []
        metrics = self._samples.read() if self._samples is not None else []
        told_of = [*mail, *alerts.frames(rows), *metrics, *(topics.event_frame(row) for row in rows)]
        return [*latest.values(), *told_of], self._reached(now)

    def _offer(self, frame: Frame) -> None:
        if frame["type"] == "system_metrics":
            self._offer_metrics(frame)
            return
        topic = TOPICS.get(frame["type"], "events")
        for subscriber in self.subscribers:
            if topic in subscriber.topics and subscriber.scope.allows(frame):
                subscriber.offer(frame)

    def _offer_metrics(self, whole: Frame) -> None:
        parts: dict[frozenset[str], Frame] = {}
        for subscriber in self.subscribers:
            wanted = METRICS.intersection(subscriber.topics)
            if wanted and subscriber.scope.allows(whole):
                if wanted not in parts:
                    parts[wanted] = samples.part(whole, wanted)
                subscriber.offer(parts[wanted])

    async def _watch_health(self) -> None:
        """Look every few seconds how the controller is, in a thread of its own: asking may take a while."""
        while True:
            await asyncio.sleep(HEALTH_SECONDS)
            if not any("system_health" in subscriber.topics for subscriber in self.subscribers):
                continue
            try:
                frame = await self._loop.run_in_executor(self._health_thread, database.guarded, health.frame)
            except Exception:
                logger.exception("the system's health could not be read")
                continue
            if frame != self._health:
                self._health = frame
                self._offer(frame)

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
