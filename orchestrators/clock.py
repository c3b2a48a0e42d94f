"""The hub's clock: each second it flushes `last_seen` in one statement and reads new events in another.

A wake-up (a commit in this process, the channel layer from others) only makes it look sooner. The database is asked in
a thread of the clock's own; time limits are watched beside it, so that a database that hangs delays no close.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from django.db import DatabaseError, InterfaceError, connections
from django.utils import timezone

from orchestrators import configuration, database, limits, mirror, nodes, notices, presence, wakeups
from orchestrators.messages import outbox
from orchestrators.presence import Sighting
from orchestrators.session import Session
from orchestrators.work import handout
from orgs import counters, events

if TYPE_CHECKING:
    from orchestrators.hub import Hub

logger = logging.getLogger(__name__)
BUCKET_SECONDS: Final = nodes.BEAT_SECONDS
BUCKETS: Final = 60
DELIVERY_SWEEP_TICKS: Final = 5
CONFIGS_AT_ONCE: Final = 1000  # sessions of older clients whose configuration is looked at with each such sweep


class Clock:
    """What one hub does by the second."""

    def __init__(self, hub: "Hub") -> None:
        self.hub = hub
        self.are_books_open = asyncio.Event()
        self.is_mirror_due = False
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "hub-clock")
        self._buckets: deque[tuple[int, int]] = deque(maxlen=BUCKETS)
        self._beaten_at = time.monotonic()
        self._unchecked: list[int] = []
        self._cursor: events.Cursor | None = None
        self._reading, self._poked = asyncio.Lock(), asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to tick. A database that is not there yet is waited for."""
        works = (self._ticking(), self._watching(), self._listening(), wakeups.listen(self.poke))
        self._tasks = [self._loop.create_task(work) for work in works]

    async def stop(self) -> None:
        """Flush for the last time, and close the books of this process."""
        for task in self._tasks:
            task.cancel()
        try:
            async with asyncio.timeout(3):
                await self._run(self._flush_now(), self._last_words)
        except (TimeoutError, DatabaseError, InterfaceError):
            logger.warning("the database did not take the last flush; the sweep will close the books of this process")
        self._thread.shutdown(wait=False, cancel_futures=True)

    def poke(self) -> None:
        """Read the events now; callable from any thread."""
        self._loop.call_soon_threadsafe(self._poked.set)

    async def _run(self, *works: Callable[[], Any]) -> None:
        await self._loop.run_in_executor(self._thread, database.guarded, lambda: [work() for work in works])

    def _last_words(self) -> None:
        nodes.clear([self.hub.node_id], now=timezone.now())
        connections.close_all()

    # --- ticks ------------------------------------------------------------------------------------------------------

    async def _watching(self) -> None:
        while True:
            await asyncio.sleep(1)
            try:
                limits.watch(
                    [*self.hub.sessions.values(), *self.hub.leaving], clock=time.monotonic(), now=timezone.now()
                )
            except Exception:
                logger.exception("the watch over time limits failed")

    async def _ticking(self) -> None:
        await self._open_books()
        ticks = 0
        while True:
            started = time.monotonic()
            ticks += 1
            try:
                await self._tick(ticks)
            except (DatabaseError, InterfaceError) as error:
                logger.warning("the database does not answer, sessions go on: %s", database.reason(error))
            except Exception:
                logger.exception("a tick of the hub failed")
            await asyncio.sleep(max(0.05, 1.0 - (time.monotonic() - started)))

    async def _open_books(self) -> None:
        while True:
            try:
                await self._run(lambda: nodes.start(self.hub.node_id), mirror.write, self._open_cursor)
                self.are_books_open.set()
                return
            except (DatabaseError, InterfaceError) as error:
                logger.warning("the database does not answer yet: %s", database.reason(error))
            except Exception:
                logger.exception("the books of this process could not be opened yet")
            await asyncio.sleep(1)

    def _open_cursor(self) -> None:
        self._cursor = events.Cursor()

    async def _tick(self, ticks: int) -> None:
        if time.monotonic() - self._beaten_at >= BUCKET_SECONDS - 0.5:
            await self._beat()
        works: list[Callable[[], Any]] = [self._flush_now()]
        if ticks % DELIVERY_SWEEP_TICKS == 0:
            self.hub.dispatch.give_up()
            works.append(self._find_overdue)
        if counters.is_pending():
            works.append(counters.flush)
        if self.is_mirror_due:
            self.is_mirror_due = False
            works.append(mirror.write)
        await self._run(*works)
        await self._read_events()

    def _flush_now(self) -> Callable[[], None]:
        """Take what the sessions noted since the last flush; return the work that writes it."""
        hub = self.hub
        dirty, hub.dirty = hub.dirty, {}
        health, hub.health_reports = hub.health_reports, {}
        sightings = [Sighting(pk, session.epoch, session.last_seen) for pk, session in dirty.items()]
        dark = [pk for pk, session in dirty.items() if session.is_dark]

        def flush() -> None:
            try:
                moved = presence.flush(sightings)
                if dark:
                    for pk in presence.revive(dark):
                        dirty[pk].is_dark = False
                if health:
                    presence.save_health(list(health.items()))
            except (DatabaseError, InterfaceError):
                self._loop.call_soon_threadsafe(self._keep, dirty, health)
                raise
            if moved < len(sightings):
                hub.apply_soon(notices.explain([(row.orchestrator_id, row.epoch) for row in dirty.values()]))

        return flush

    def _keep(self, dirty: dict[int, Session], health: dict[int, dict[str, Any]]) -> None:
        self.hub.dirty = {**dirty, **self.hub.dirty}
        self.hub.health_reports = {**health, **self.hub.health_reports}

    async def _beat(self) -> None:
        """Say that this process is alive; when it had been given up, claim its sessions again."""
        hub = self.hub
        self._buckets.append((int(time.time()) // BUCKET_SECONDS * BUCKET_SECONDS, hub.heartbeats))
        hub.heartbeats = 0
        buckets, held = list(self._buckets), [session.held() for session in hub.sessions.values()]

        def beat() -> None:
            if not nodes.beat(hub.node_id, sessions=len(held), heartbeats=buckets):
                count = nodes.claim_again(hub.node_id, held)
                logger.warning("this process had been given up; it claimed %d sessions again", count)

        await self._run(beat)
        self._beaten_at = time.monotonic()

    def _find_overdue(self) -> None:
        if self.hub.sessions:
            if organizations := self.hub.dispatch.organizations():
                found = handout.waited_for(organizations, now=timezone.now())
                self.hub.apply_soon([notices.Offer(organization_id) for organization_id in found])
            waiting = outbox.awaiting(self.hub.node_id, now=timezone.now())
            self.hub.apply_soon([notices.Delivery(orchestrator_id) for orchestrator_id in waiting])
            self.hub.apply_soon(self._missed_configs())

    def _missed_configs(self) -> list[notices.Notice]:
        """Return the configurations that sessions were not given, or did not answer in time.

        The event, the frame, or the word of either may be lost; with older clients, too, who answer nothing.
        """
        sessions, now = self.hub.sessions, time.monotonic()
        behind, silent = set[str](), set[str]()
        for row in configuration.standings(self.hub.node_id, among=self._next_to_check()):
            session = sessions.get(row.orchestrator_id)
            if session is not None and session.config_version < row.version:
                behind.add(row.orchestrator_id)
            elif session is not None and row.is_unanswered and session.config_due <= now:
                silent.add(row.orchestrator_id)
        return notices.configs(behind) + notices.configs(silent, is_repeat=True)

    def _next_to_check(self) -> list[int]:
        """Return the keys of the next CONFIGS_AT_ONCE sessions that answer nothing, in turn; rows show the others."""
        if not self._unchecked:
            held = list(self.hub.sessions.values())
            self._unchecked = [session.instance_pk for session in held if not session.is_acknowledging]
        chosen = self._unchecked[-CONFIGS_AT_ONCE:]
        del self._unchecked[-CONFIGS_AT_ONCE:]
        return chosen

    # --- events -----------------------------------------------------------------------------------------------------

    async def _listening(self) -> None:
        while True:
            await self._poked.wait()
            self._poked.clear()
            try:
                await self._read_events()
                await asyncio.sleep(0.005)  # a burst of commits is few reads
            except (DatabaseError, InterfaceError):
                await asyncio.sleep(0.5)  # the tick says so, and reads them later
            except Exception:
                logger.exception("events could not be read")
                await asyncio.sleep(0.5)

    async def _read_events(self) -> None:
        if self._cursor is None:
            return
        async with self._reading:
            found: list[notices.Notice] = []
            cursor, hub = self._cursor, self.hub
            while True:
                await self._run(lambda: found.extend(notices.read(cursor, held=hub.held, node_id=hub.node_id)))
                hub.apply(found)
                found.clear()
                if not cursor.is_behind:
                    return
