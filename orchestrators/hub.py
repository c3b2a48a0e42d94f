"""The hub: this process's open sessions and their live state. Everything durable happens in threads, in batches.

One clock ticks each second: it flushes `last_seen` in one statement, reads new events in another, and looks after
time limits. A wake-up (a commit in this process, the channel layer from others) only makes it look sooner.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections
from django.utils import timezone

from orchestrators import mirror, nodes, notices, presence, protocol, registration, wakeups
from orchestrators.batcher import Batcher
from orchestrators.messages import outbox
from orchestrators.presence import Ended, Sighting
from orchestrators.protocol import FrameError
from orchestrators.registration import Claim, Grant
from orchestrators.session import Session
from orgs import events

logger = logging.getLogger(__name__)
T = TypeVar("T")
BUCKET_SECONDS: Final = nodes.BEAT_SECONDS
BUCKETS: Final = 60
DELIVERY_SWEEP_TICKS: Final = 5


@dataclass(frozen=True)
class FrameHandler:
    """What one frame type needs: `check` validates on the event loop, `store` writes a batch in a thread."""

    check: Callable[[Any, dict[str, Any]], Any]
    store: Callable[[Any], Any]


class Hub:
    """The sessions of one process on one event loop."""

    def __init__(self, handlers: Mapping[str, FrameHandler]) -> None:
        self.handlers, self.node_id = dict(handlers), nodes.new_id()
        self.sessions: dict[str, Session] = {}
        self.dirty: dict[int, Session] = {}
        self.health_reports: dict[int, dict[str, Any]] = {}
        self.heartbeats = 0
        self.is_stopping = False
        self._loop = asyncio.get_running_loop()
        # Two threads: the clock must not wait behind registrations, nor they behind it.
        self._clock = ThreadPoolExecutor(1, "hub-clock")
        self._desk = ThreadPoolExecutor(1, "hub-desk")
        self._registrations = Batcher[Claim, Grant](self.at_desk, registration.register, on_orphan=self._disown)
        self._endings = Batcher[Ended, None](self.at_desk, presence.end, is_patient=True, capacity=100_000)
        self._takings = Batcher[outbox.Recipient, list[outbox.Parcel]](self.at_desk, outbox.take)
        self._frames = {
            id(handler): Batcher[Any, Any](self.at_desk, handler.store, is_patient=True)
            for handler in self.handlers.values()
        }
        self._delivering: dict[str, bool] = {}
        # Sessions between their row and their place in `sessions`, with the notices of that time.
        self._opening: dict[str, tuple[str, list[notices.Notice]]] = {}
        self._buckets: deque[tuple[int, int]] = deque(maxlen=BUCKETS)
        self._cursor: events.Cursor | None = None
        self._reading = asyncio.Lock()
        self._poked, self._are_books_open = asyncio.Event(), asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._clock_text, self._clock_at = "", 0.0

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to tick. A database that is not there yet is waited for."""
        self._tasks = [
            self._loop.create_task(work) for work in (self._ticking(), self._listening(), wakeups.listen(self.poke))
        ]

    async def stop(self) -> None:
        """Tell every client that the server restarts, at spread times, and close the books of this process."""
        self.is_stopping = True
        spread_ms = max(settings.SHUTDOWN_SPREAD_MS, 2 * len(self.sessions))
        logger.info("closing %d sessions, spread over %d ms", len(self.sessions), spread_ms)
        farewells = []
        for session in list(self.sessions.values()):
            problem = FrameError(
                "server_shutdown", "The server restarts; reconnect.", retry_after_ms=random.randint(0, spread_ms)
            )
            farewells.append(self._loop.create_task(session.close(protocol.RESTART, problem)))
        if farewells:
            await asyncio.wait(farewells, timeout=5)
        for task in self._tasks:
            task.cancel()
        try:
            async with asyncio.timeout(3):
                await self.in_clock(self._flush_now(), self._last_words)
        except (TimeoutError, DatabaseError, InterfaceError):
            logger.warning("the database did not take the last flush; the sweep will close the books of this process")
        self._clock.shutdown(wait=False, cancel_futures=True)
        self._desk.shutdown(wait=False, cancel_futures=True)

    def _last_words(self) -> None:
        nodes.clear([self.node_id], now=timezone.now())
        connections.close_all()

    async def at_desk(self, work: Callable[[], T]) -> T:
        """Run database work of sessions in its thread."""
        return await self._loop.run_in_executor(self._desk, guarded, work)

    async def in_clock(self, *works: Callable[[], Any]) -> None:
        """Run the tick's database work in its thread."""
        await self._loop.run_in_executor(self._clock, guarded, lambda: [work() for work in works])

    # --- sessions ---------------------------------------------------------------------------------------------------

    async def register(self, claim: Claim) -> Grant:
        """Open a session in the database, together with whoever else registers just now; raises FrameError."""
        if self.is_stopping or len(self.sessions) >= settings.WS_MAX_SESSIONS:
            detail = "This process takes no more sessions."
            raise FrameError("overloaded", detail, close=protocol.OVERLOAD, retry_after_ms=random.randint(1000, 10_000))
        self._opening[claim.session_id] = claim.orchestrator_id, []
        try:
            async with asyncio.timeout(8):
                await self._are_books_open.wait()  # else what a killed process left open looks like a takeover
                return await self._registrations.submit(claim)
        except BaseException as error:
            del self._opening[claim.session_id]
            if not isinstance(error, TimeoutError):
                raise
            detail = "The database does not answer; reconnect."
            raise FrameError("database_unavailable", detail, close=protocol.OVERLOAD, retry_after_ms=5000) from None

    def _disown(self, grant: Grant) -> None:
        """Clear the row of a session whose socket did not wait for it."""
        row = grant.instance
        self._endings.submit(Ended(row.pk, row.session_id, "the database answered too late"))

    def add(self, session: Session) -> None:
        """Take over a registered session; an older one of the same orchestrator in this process is closed."""
        older = self.sessions.get(session.orchestrator_id)
        self.sessions[session.orchestrator_id] = session
        if older is not None:
            self.supersede(older)
        for notice in self._opening.pop(session.session_id, ("", []))[1]:
            notice.apply(self)

    def remove(self, session: Session) -> None:
        """Forget a session whose socket is over, and clear its row within a moment."""
        if self.sessions.get(session.orchestrator_id) is session:
            del self.sessions[session.orchestrator_id]
        for task in list(session.tasks):
            task.cancel()
        self._delivering.pop(session.session_id, None)  # a task cancelled before its first step cleans nothing up
        if not self.is_stopping:
            is_goodbye = session.farewell == "goodbye"
            ended = Ended(session.instance_pk, session.session_id, session.farewell, is_goodbye)
            self._endings.submit(ended)

    def supersede(self, session: Session) -> None:
        """Close a session that a newer socket of the same orchestrator replaced."""
        detail = "The same orchestrator connected again; this older socket is closed."
        session.spawn(session.close(protocol.SUPERSEDED, FrameError("superseded", detail)))

    def submit(self, handler: FrameHandler, item: Any) -> "asyncio.Future[Any]":
        """Queue a validated frame for its handler's next batch."""
        if self.is_stopping:
            raise FrameError("overloaded", "The server restarts; resend after reconnecting.", retry_after_ms=1000)
        return self._frames[id(handler)].submit(item)

    # --- messages down ----------------------------------------------------------------------------------------------

    def deliver_soon(self, orchestrator_id: str) -> None:
        """Send what waits for an orchestrator of ours; asked again while that runs, it looks once more."""
        session = self.sessions.get(orchestrator_id)
        if session is None or session.is_closing:
            return
        if session.session_id in self._delivering:
            self._delivering[session.session_id] = True
            return
        self._delivering[session.session_id] = False
        session.spawn(self._deliver(session))

    async def _deliver(self, session: Session) -> None:
        key = session.session_id
        try:
            while True:
                self._delivering[key] = False
                held = frozenset(session.in_flight)
                recipient = outbox.Recipient(session.orchestrator_id, held, not session.is_acknowledging)
                parcels = await self._takings.submit(recipient)
                if session.is_acknowledging:
                    session.in_flight.update((parcel.message_id, parcel.pk) for parcel in parcels)
                await session.deliver(parcels)
                if not self._delivering[key] and not (parcels and not session.is_acknowledging):
                    return
        except FrameError as problem:
            logger.warning("messages for %s wait: %s", session.orchestrator_id, problem.code)
        finally:
            self._delivering.pop(key, None)

    # --- the clock --------------------------------------------------------------------------------------------------

    def poke(self) -> None:
        """Read the events now; callable from any thread."""
        self._loop.call_soon_threadsafe(self._poked.set)

    def apply_soon(self, found: Sequence[notices.Notice]) -> None:
        """Apply notices before anything that is scheduled later on the loop; callable from any thread."""
        self._loop.call_soon_threadsafe(self._apply, found)

    def clock_text(self, now: float) -> str:
        """Return server time at monotonic `now` as ISO 8601, a few milliseconds old at most."""
        if now - self._clock_at > 0.005:
            self._clock_at, self._clock_text = now, protocol.iso(datetime.now(UTC))
        return self._clock_text

    async def _ticking(self) -> None:
        await self._open_books()
        ticks = 0
        while True:
            started = time.monotonic()
            ticks += 1
            try:
                await self._tick(ticks)
            except (DatabaseError, InterfaceError) as error:
                logger.warning("the database does not answer, sessions go on: %s", str(error).strip().split("\n")[0])
            except Exception:
                logger.exception("a tick of the hub failed")
            await asyncio.sleep(max(0.05, 1.0 - (time.monotonic() - started)))

    async def _open_books(self) -> None:
        while True:
            try:
                await self.in_clock(lambda: nodes.start(self.node_id), mirror.write, self._open_cursor)
                self._are_books_open.set()
                return
            except (DatabaseError, InterfaceError) as error:
                logger.warning("the database does not answer yet: %s", str(error).strip().split("\n")[0])
                await asyncio.sleep(1)

    def _open_cursor(self) -> None:
        self._cursor = events.Cursor()

    async def _tick(self, ticks: int) -> None:
        self._watch_limits()
        works = [self._flush_now()]
        if ticks % BUCKET_SECONDS == 0:
            works.append(self._beat_now())
        if ticks % DELIVERY_SWEEP_TICKS == 0:
            works.append(self._find_overdue)
        await self.in_clock(*works)
        await self._read_events()

    def _flush_now(self) -> Callable[[], None]:
        dirty, self.dirty = self.dirty, {}
        health, self.health_reports = self.health_reports, {}
        sightings = [Sighting(pk, session.epoch, session.last_seen) for pk, session in dirty.items()]
        dark = [pk for pk, session in dirty.items() if session.is_dark]
        for pk in dark:
            dirty[pk].is_dark = False

        def flush() -> None:
            try:
                moved = presence.flush(sightings)
                if dark:
                    presence.revive(dark)
                if health:
                    presence.save_health(list(health.items()))
            except (DatabaseError, InterfaceError):
                self._loop.call_soon_threadsafe(self._keep, dirty, health)
                raise
            if moved < len(sightings):
                stale = notices.explain([(session.orchestrator_id, session.epoch) for session in dirty.values()])
                self.apply_soon(stale)

        return flush

    def _keep(self, dirty: dict[int, Session], health: dict[int, dict[str, Any]]) -> None:
        self.dirty = {**dirty, **self.dirty}
        self.health_reports = {**health, **self.health_reports}

    def _beat_now(self) -> Callable[[], None]:
        self._buckets.append((int(time.time()) // BUCKET_SECONDS * BUCKET_SECONDS, self.heartbeats))
        self.heartbeats = 0
        buckets, count = list(self._buckets), len(self.sessions)
        return lambda: nodes.beat(self.node_id, sessions=count, heartbeats=buckets)

    def _find_overdue(self) -> None:
        if self.sessions:
            waiting = outbox.awaiting(self.node_id, now=timezone.now())
            if waiting:
                self._loop.call_soon_threadsafe(self._deliver_all, waiting)

    def _deliver_all(self, orchestrator_ids: Iterable[str]) -> None:
        for orchestrator_id in orchestrator_ids:
            self.deliver_soon(orchestrator_id)

    def _watch_limits(self) -> None:
        """Close what was silent, stalled or expired for too long; 10,000 sessions cost a few milliseconds."""
        now, ttl, lag = time.monotonic(), float(settings.HEARTBEAT_TTL_SEC), float(settings.WS_LAG_SECONDS)
        for session in list(self.sessions.values()):
            if session.sending and now - session.sending_since > lag:
                detail = "You do not read what you are sent; reconnect and read."
                session.drop(protocol.OVERLOAD, FrameError("slow_consumer", detail, retry_after_ms=1000))
            elif now - session.seen > ttl and not session.is_independent:
                detail = f"No heartbeat for {settings.HEARTBEAT_TTL_SEC} s; reconnect."
                session.spawn(session.close(protocol.TIMEOUT, FrameError("heartbeat_timeout", detail)))
            elif settings.HEARTBEAT_POKER_ENABLED and now - session.seen > ttl / 2 and not session.is_independent:
                self._poke_client(session)
            if session.expires_at is not None:
                self._watch_expiry(session)

    def _poke_client(self, session: Session) -> None:
        if not session.has_been_poked:
            session.has_been_poked = True
            session.spawn(session.write('{"type":"poke"}'))

    def _watch_expiry(self, session: Session) -> None:
        assert session.expires_at is not None
        left = (session.expires_at - timezone.now()).total_seconds()
        if left <= 0:
            problem = FrameError("unauthenticated", "The key expired; register with another one.")
            session.spawn(session.close(protocol.UNAUTHENTICATED, problem))
        elif left <= 60 and not session.has_been_warned:
            session.has_been_warned = True
            frame = {"type": "credential_expiring", "expires_at": protocol.iso(session.expires_at)}
            session.spawn(session.write(protocol.dump(frame)))

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

    async def _read_events(self) -> None:
        if self._cursor is None:
            return
        async with self._reading:
            found: list[notices.Notice] = []
            cursor = self._cursor
            await self.in_clock(lambda: found.extend(notices.read(cursor, held=self._held, node_id=self.node_id)))
            self._apply(found)

    def _held(self) -> set[str]:
        """Return the ids of sessions that are open here or about to be; asked after the events were read."""
        return set(self.sessions) | {orchestrator_id for orchestrator_id, _ in list(self._opening.values())}

    def _apply(self, found: Sequence[notices.Notice]) -> None:
        for notice in found:
            notice.apply(self)
        for _, missed in self._opening.values():
            missed.extend(found)


def guarded(work: Callable[[], T]) -> T:
    """Run database work in a hub thread; a dead connection is replaced, and the work tried once more."""
    try:
        return work()
    except (DatabaseError, InterfaceError):
        was_dead = not all(connection.is_usable() for connection in connections.all(initialized_only=True))
        connections.close_all()
        if not was_dead:
            raise
        return work()


_current: Hub | None = None
_handlers: Mapping[str, FrameHandler] = {}


def install(handlers: Mapping[str, FrameHandler]) -> None:
    """Name the frame handlers of the product; called once by `moolai/wiring.py`."""
    global _handlers
    _handlers = handlers


def current() -> Hub:
    """Return the running loop's hub, started when there is none."""
    global _current
    if _current is None or _current._loop is not asyncio.get_running_loop():
        _current = Hub(_handlers)
        _current.start()
    return _current


def running() -> Hub | None:
    """Return this process's hub, None where no socket was ever served."""
    return _current


async def shut_down() -> None:
    """Stop this process's hub, if it runs."""
    global _current
    hub, _current = _current, None
    if hub is not None:
        await hub.stop()
