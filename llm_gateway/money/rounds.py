"""Rounds: how a purse's slices are filled from their rows and given back, one transaction at a time in one thread."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from django.db import DatabaseError, InterfaceError, connections

from llm_gateway.money import leases
from llm_gateway.money.leases import Ask, Grant
from llm_gateway.money.slices import Account, Name, Slice
from orchestrators import database

logger = logging.getLogger(__name__)
MAX_AGE_SECONDS: Final = 60.0  # slices count for so long after the database was last heard of
WAIT_SECONDS: Final = 5.0  # what a call waits for a round
TICK_SECONDS: Final = 1.0
IDLE_SECONDS: Final = 2.0  # what nobody used for so long goes back
PEEK_SECONDS: Final = 2.0  # how often a process looks whether others need what it holds
FORGET_SECONDS: Final = 120.0
SHORT_SECONDS: Final = 0.25  # so long a row that had too little is not asked again


class Exchange(Protocol):
    """`leases.exchange`, run in a thread of its own."""

    def __call__(self, asks: Sequence[Ask], *, holder: str, now: float) -> Mapping[Name, Grant]:
        """Give back and take."""
        ...


def _exchange(asks: Sequence[Ask], *, holder: str, now: float) -> Mapping[Name, Grant]:
    try:
        return database.guarded(lambda: leases.exchange(asks, holder=holder, now=now))
    finally:
        connections.close_all()


class Rounds:
    """Fills and empties the slices of `accounts`; `fresh_until` (monotonic) is how long they count."""

    def __init__(
        self,
        accounts: dict[str, Account],
        *,
        holder: str,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        exchange: Exchange | None = None,
    ) -> None:
        self.accounts, self.holder, self.clock, self.monotonic = accounts, holder, clock, monotonic
        self.exchange: Exchange = exchange or _exchange
        self.fresh_until = float("-inf")
        self.is_failing = False
        self._waiting: dict[Slice, int] = {}  # what calls wait for
        self._more: dict[Slice, int] = {}  # what would be good to have
        self._back: set[Slice] = set()
        self._asked: set[Slice] = set()  # what the round under way brings
        self._peeked_at = float("-inf")
        self._done: asyncio.Future[bool] | None = None
        self._work: asyncio.Task[None] | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._executor: ThreadPoolExecutor | None = None

    def want(self, part: Slice, more: int) -> None:
        """Have a slice filled up soon; nobody waits for it."""
        if part not in self._more:
            self._more[part] = more
            self._start()

    def retire(self, parts: Iterable[Slice]) -> None:
        """Give back what is free of slices that hold no longer, now and as their calls end."""
        for part in parts:
            part.is_retired = True
            self.give_back(part)

    def give_back(self, part: Slice) -> None:
        """Give back what is free of a slice, unless its window is over."""
        if part.free > 0 and part.end_at > self.clock():
            part.returning += part.free
            part.free = 0
            self._back.add(part)
            self._start()

    async def take(self, needs: Sequence[tuple[Slice, int]]) -> bool:
        """Wait for a round that asks for these; without any, for one that hears of the database at all.

        Returns False when the database did not answer.
        """
        now = self.monotonic()
        for part, need in needs:
            part.used_at = now
            self._waiting[part] = self._waiting.get(part, 0) + need
        done = self._done = self._done or asyncio.get_running_loop().create_future()
        self._start()
        try:
            return await asyncio.wait_for(asyncio.shield(done), WAIT_SECONDS)
        except TimeoutError:
            return False

    async def close(self) -> None:
        """Give back everything that is free and end the thread."""
        if self._ticker is not None:
            self._ticker.cancel()
        await self._rest()  # what is under way may still bring something
        for account in self.accounts.values():
            for part in account.slices:
                self.give_back(part)
        if self._ticker is not None:
            self._ticker.cancel()
        await self._rest()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    async def _rest(self) -> None:
        if self._work is not None:
            await asyncio.wait([self._work], timeout=WAIT_SECONDS)

    # --- the work -----------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._work is None or self._work.done():
            self._work = asyncio.get_running_loop().create_task(self._run())
        if self._ticker is None or self._ticker.done():
            self._ticker = asyncio.get_running_loop().create_task(self._tick())

    async def _run(self) -> None:
        """Do rounds until nobody wants anything."""
        await asyncio.sleep(0)  # whoever comes in this turn of the loop shares the round
        while self._waiting or self._more or self._back or self._done is not None:
            done, self._done = self._done, None
            is_well = await self._round()
            if done is not None and not done.done():
                done.set_result(is_well)
            if not is_well and self._done is None:
                return  # the ticker tries again what nobody waits for

    async def _round(self) -> bool:
        """Ask for what is wanted now, and take over what the rows say; return whether they answered."""
        waiting, more, back = self._waiting, self._more, self._back
        self._waiting, self._more, self._back = {}, {}, set()
        parts = {*waiting, *more, *back} or {part for account in self.accounts.values() for part in account.slices}
        self._asked = parts
        asks = {part: self._ask(part, waiting.get(part, 0), more.get(part, 0)) for part in parts}
        now = self.clock()
        if self._executor is None:
            self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gateway-purse")
        started = self.monotonic()
        try:
            grants = await asyncio.get_running_loop().run_in_executor(
                self._executor, lambda: self.exchange(list(asks.values()), holder=self.holder, now=now)
            )
        except (DatabaseError, InterfaceError) as error:
            self._note_failure(error)
            return self._failed(parts)
        except Exception:
            logger.exception("budgets could not be leased")
            return self._failed(parts)
        finally:
            self._asked = set()
        self.fresh_until, self.is_failing = started + MAX_AGE_SECONDS, False
        for part in parts:
            self._apply(part, grants[part.name], asks[part])
        return True

    @staticmethod
    def _ask(part: Slice, waiting: int, more: int) -> Ask:
        need = max(0, waiting - part.free) if waiting else max(0, -part.free)
        return Ask(
            part.organization_id,
            part.name,
            int(part.end_at),
            part.limit,
            need=0 if part.is_retired else need + more,
            back=part.returning,
            granted=part.granted,
        )

    def _apply(self, part: Slice, grant: Grant, ask: Ask) -> None:
        part.fill(
            lease=grant.lease, before=grant.before, granted=grant.granted, returned=ask.back, is_short=grant.is_short
        )
        part.left = grant.left
        if part.returning:
            self._back.add(part)
        if grant.is_short:
            part.short_until = self.monotonic() + SHORT_SECONDS
        part.is_wanted = grant.is_wanted and not grant.is_short

    def _failed(self, parts: Iterable[Slice]) -> bool:
        """Try again later to give back what was to be given back; False."""
        self._back |= {part for part in parts if part.returning}
        return False

    def _note_failure(self, error: Exception) -> None:
        if not self.is_failing:
            logger.warning("budgets wait for the database: %s", database.reason(error))
        self.is_failing = True

    # --- once a second ------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        """Give back what is idle or wanted elsewhere, and forget accounts that nobody uses.

        While the database is away nothing goes back: it could not be spent meanwhile, here or elsewhere.
        """
        while self.accounts or self._back:
            await asyncio.sleep(TICK_SECONDS)
            now = self.monotonic()
            self._forget(now)
            active = [part for account in self.accounts.values() for part in account.slices if part.free > 0]
            for part in active:
                if not self.is_failing and (part.is_wanted or now - part.used_at >= IDLE_SECONDS):
                    part.is_wanted = False
                    self.give_back(part)
            if any(part.free > 0 for part in active) and now - self._peeked_at >= PEEK_SECONDS:
                self._peeked_at = now
                self._more |= {part: 0 for part in active if part not in self._more}
            if self._back or self._more:
                self._start()

    def _forget(self, now: float) -> None:
        """Drop accounts of which nothing is held and nobody asked for a while; what a round brings needs its slice."""
        awaited = self._asked | self._waiting.keys() | self._more.keys() | self._back
        for subject, account in list(self.accounts.items()):
            if account.is_idle(now - FORGET_SECONDS) and awaited.isdisjoint(account.slices):
                del self.accounts[subject]
