"""The hub: this process's open sessions and their live state. Everything durable happens in threads, in batches.

What it does by the second stands in `orchestrators/clock.py`.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from django.conf import settings

from orchestrators import database, nodes, notices, presence, protocol, registration
from orchestrators.batcher import Batcher
from orchestrators.claims import Claim
from orchestrators.clock import Clock
from orchestrators.dispatch import Dispatch
from orchestrators.messages import outbox
from orchestrators.presence import Ended
from orchestrators.protocol import FrameError
from orchestrators.registration import Grant
from orchestrators.session import Session

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class FrameHandler:
    """What one frame type needs: `check` validates on the event loop, `store` writes a batch in a thread.

    `weigh` says how many bytes of memory an item takes while it waits for its batch; `stored(session, item)` and
    `lost(session, item)` are called on the loop once it is committed, or was refused for good.
    """

    check: Callable[[Any, dict[str, Any]], Any]
    store: Callable[[Any], Any]
    weigh: Callable[[Any], int] | None = None
    stored: Callable[[Any, Any], None] | None = None
    lost: Callable[[Any, Any], None] | None = None


class Hub:
    """The sessions of one process on one event loop."""

    def __init__(self, handlers: Mapping[str, FrameHandler]) -> None:
        self.handlers, self.node_id = dict(handlers), nodes.new_id()
        self.sessions: dict[str, Session] = {}
        self.leaving: set[Session] = set()  # replaced by a newer socket, not closed yet
        self.dirty: dict[int, Session] = {}
        self.health_reports: dict[int, dict[str, Any]] = {}
        self.heartbeats = 0
        self.is_stopping = False
        self._loop = asyncio.get_running_loop()
        # The clock has a thread of its own: it must not wait behind registrations, nor they behind it.
        self.clock = Clock(self)
        self._desk = ThreadPoolExecutor(1, "hub-desk")
        self._registrations = Batcher[Claim, Grant](self.at_desk, registration.register, on_orphan=self._disown)
        self._endings = Batcher[Ended, None](self.at_desk, presence.end, is_patient=True, capacity=100_000)
        self._takings = Batcher[outbox.Recipient, outbox.Taken](self.at_desk, outbox.take)
        # To a client that acknowledges nothing a message is delivered once it is written.
        self._writings = Batcher[outbox.Receipt, None](self.at_desk, outbox.acknowledge, is_patient=True)
        self._frames = {
            id(handler): Batcher[Any, Any](self.at_desk, handler.store, is_patient=True, weigh=handler.weigh)
            for handler in self.handlers.values()
        }
        self._delivering: dict[str, bool] = {}
        # Sessions between their row and their place in `sessions`, with the notices of that time.
        self._opening: dict[str, tuple[str, list[notices.Notice]]] = {}
        self._clock_text, self._clock_at = "", 0.0
        self.dispatch = Dispatch(self)

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to tick."""
        self.clock.start()

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
        await self.clock.stop()
        self._desk.shutdown(wait=False, cancel_futures=True)

    async def at_desk(self, work: Callable[[], T]) -> T:
        """Run database work of sessions in its thread."""
        return await self._loop.run_in_executor(self._desk, database.guarded, work)

    # --- sessions ---------------------------------------------------------------------------------------------------

    async def register(self, claim: Claim) -> Grant:
        """Open a session in the database, together with whoever else registers just now; raises FrameError."""
        if self.is_stopping or len(self.sessions) + len(self._opening) >= settings.WS_MAX_SESSIONS:
            detail = "This process takes no more sessions."
            raise FrameError("overloaded", detail, close=protocol.OVERLOAD, retry_after_ms=random.randint(1000, 10_000))
        self._opening[claim.session_id] = claim.orchestrator_id, []
        try:
            async with asyncio.timeout(8):
                await self.clock.are_books_open.wait()  # else what a killed process left open looks like a takeover
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
        self.dispatch.add(session)

    def remove(self, session: Session) -> None:
        """Forget a session whose socket is over, and clear its row within a moment."""
        self.leaving.discard(session)
        if self.sessions.get(session.orchestrator_id) is session:
            del self.sessions[session.orchestrator_id]
        for task in list(session.tasks):
            task.cancel()
        self.dispatch.remove(session, is_goodbye=session.farewell == "goodbye")
        self._delivering.pop(session.session_id, None)  # a task cancelled before its first step cleans nothing up
        if not self.is_stopping:
            is_goodbye = session.farewell == "goodbye"
            ended = Ended(session.instance_pk, session.session_id, session.farewell, is_goodbye)
            self._endings.submit(ended)

    def supersede(self, session: Session) -> None:
        """Close a session that a newer socket of the same orchestrator replaced."""
        self.leaving.add(session)
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
            while not session.is_closing:
                self._delivering[key] = False
                has_more = await self._deliver_some(session)
                if not has_more and not self._delivering[key]:
                    return
        except FrameError as problem:
            logger.warning("messages for %s wait: %s", session.orchestrator_id, problem.code)
        finally:
            self._delivering.pop(key, None)

    async def _deliver_some(self, session: Session) -> bool:
        """Take what may be sent, and write it as fast as the client reads; return whether there may be more."""
        held = frozenset(session.in_flight)
        taken = await self._takings.submit(outbox.Recipient(session.orchestrator_id, held))
        for settled in held - taken.open_ids:  # failed, expired or settled by hand
            session.in_flight.pop(settled, None)
        if session.is_acknowledging:
            session.in_flight.update((parcel.message_id, parcel.pk) for parcel in taken.parcels)
            await session.deliver(taken.parcels)
            return taken.has_more
        written = await session.deliver(taken.parcels)
        await asyncio.gather(*(self._writings.submit(outbox.written(parcel, session)) for parcel in written))
        return bool(written) or (taken.has_more and not taken.parcels)

    # --- what others have to say to sessions ------------------------------------------------------------------------

    def held(self) -> set[str]:
        """Return the ids of sessions that are open here or about to be; callable from any thread."""
        return set(self.sessions) | {orchestrator_id for orchestrator_id, _ in list(self._opening.values())}

    def apply(self, found: Sequence[notices.Notice]) -> None:
        """Apply notices to the sessions they concern, and keep them for those that are being opened."""
        for notice in found:
            notice.apply(self)
        for _, missed in self._opening.values():
            missed.extend(found)

    def apply_soon(self, found: Sequence[notices.Notice]) -> None:
        """Apply notices before anything that is scheduled later on the loop; callable from any thread."""
        self._loop.call_soon_threadsafe(self.apply, found)

    def clock_text(self, now: float) -> str:
        """Return server time at monotonic `now` as ISO 8601, a few milliseconds old at most."""
        if now - self._clock_at > 0.005:
            self._clock_at, self._clock_text = now, protocol.iso(datetime.now(UTC))
        return self._clock_text


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
    """Return this process's hub, None where no socket was ever served, or none is any more."""
    if _current is None or _current.is_stopping or _current._loop.is_closed():
        return None
    return _current


async def shut_down() -> None:
    """Stop this process's hub, if it runs; it stays in its place and refuses what comes after."""
    if _current is not None and not _current.is_stopping:
        await _current.stop()
