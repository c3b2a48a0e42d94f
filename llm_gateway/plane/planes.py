"""The plane: what one process needs to serve calls, on one event loop. Everything is begun with the first call."""

import asyncio
import logging
import time
from typing import Any, Final

from django.conf import settings
from django.db import DatabaseError, InterfaceError

from llm_gateway.cache.policy import epochs
from llm_gateway.cache.stock import Stock
from llm_gateway.money import limits
from llm_gateway.money.drainer import Drainer
from llm_gateway.money.journal import Journal, JournalFull
from llm_gateway.money.purse import Purse
from llm_gateway.plane import catalog, desk
from llm_gateway.plane.breakers import Breakers
from llm_gateway.plane.callers import Callers
from llm_gateway.plane.catalog import Catalog
from llm_gateway.plane.gaps import Gaps
from llm_gateway.plane.pricing import Overrides, Pricing
from llm_gateway.plane.upstream import Lines
from llm_gateway.watching.observer import Observer
from moolai.errors import AppError
from orchestrators import nodes

logger = logging.getLogger(__name__)
LOOK_SECONDS: Final = 1.0
FRESH_SECONDS: Final = 5.0
WHOLE_SECONDS: Final = 60.0
IDLE_SECONDS: Final = 60.0
COMPLAINT_SECONDS: Final = 60.0
CANNOT_WRITE: Final = "Calls cannot be written down at the moment; try again later."


class Plane:
    """The parts of the data plane."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        holder = nodes.new_id()
        self.journal = Journal(settings.JOURNAL_DIR, holder=holder)  # first: on a full disk there is no plane
        self.breakers = Breakers()
        self.gaps = Gaps()
        self.observer = Observer()
        self.lines = Lines(desk.run)
        self.callers = Callers(desk.run, limits.load_many)
        self.catalog: Catalog = catalog.EMPTY
        self.pricing = Pricing(desk.run, self._prices)
        self.stock = Stock()
        self.purse = Purse(holder)
        self.drainer = Drainer(self.journal)
        self.drainer.start()
        self._fingerprint: Any = None
        self._read_at = self._looked_at = self._used_at = -WHOLE_SECONDS
        self._looking: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._complained_at = -COMPLAINT_SECONDS

    def _prices(self, organization_id: str) -> Overrides:
        return self.catalog.prices(organization_id)

    async def ready(self) -> None:
        """See to it that the catalog is there and was looked at lately; raises `database_unavailable`."""
        self._used_at = now = time.monotonic()
        is_watched = self._task is not None and not self._task.done()
        if now - self._looked_at < FRESH_SECONDS or (is_watched and self._fingerprint is not None):
            return  # where it is watched and yet old, the database hangs: what is known serves on
        if not is_watched:
            self._task = self.loop.create_task(self._watch())
        try:
            await self._look()
        except (DatabaseError, InterfaceError, TimeoutError, OSError):
            if self._fingerprint is None:
                raise AppError("database_unavailable") from None

    async def _watch(self) -> None:
        while time.monotonic() - self._used_at < IDLE_SECONDS:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look()
            except (DatabaseError, InterfaceError, TimeoutError, OSError):
                self._looked_at = time.monotonic()  # what is known serves on; there is nobody to ask
            except Exception:
                logger.exception("the catalog of providers could not be read")

    async def _look(self) -> None:
        if self._looking is None:
            self._looking = asyncio.ensure_future(self._look_now())
            self._looking.add_done_callback(self._looked)
        await asyncio.shield(self._looking)

    def _looked(self, done: "asyncio.Future[None]") -> None:
        self._looking = None
        if not done.cancelled():
            done.exception()

    async def _look_now(self) -> None:
        before = time.monotonic()
        fingerprint = await desk.run(catalog.fingerprint)
        if fingerprint != self._fingerprint or before - self._read_at > WHOLE_SECONDS:
            self.catalog = await desk.run(catalog.read)
            self._fingerprint, self._read_at = fingerprint, before
            await self.stock.keep(epochs(self.catalog))
        self._looked_at = time.monotonic()

    def complain(self) -> None:
        """Say once a minute that the journal cannot be written."""
        if time.monotonic() - self._complained_at >= COMPLAINT_SECONDS:
            self._complained_at = time.monotonic()
            logger.error("the journal of calls cannot be written: is the disk full?")

    async def close(self) -> None:
        """Give back what no call holds, and close the connections."""
        for task in (self._task, self._looking):
            if task is not None:
                task.cancel()
        self.callers.forget()
        await self.lines.close()
        await self.stock.close()
        await self.purse.close()
        await asyncio.to_thread(self.drainer.stop)
        await asyncio.to_thread(self.observer.stop)


_current: Plane | None = None


def current() -> Plane:
    """Return the running loop's plane, begun when there is none; raises `overloaded` where no journal can be."""
    global _current
    if _current is None or _current.loop is not asyncio.get_running_loop():
        try:
            _current = Plane()
        except JournalFull as error:
            logger.error("the journal of calls cannot be begun: %s", error)
            raise AppError("overloaded", CANNOT_WRITE) from None
    return _current


def running() -> Plane | None:
    """Return this process's plane, None before its first call; for any thread that only looks."""
    return _current


async def shut_down() -> None:
    """Close this process's plane, if it was begun."""
    global _current
    if _current is not None and _current.loop is asyncio.get_running_loop():
        plane, _current = _current, None
        await plane.close()
