"""The purse: what this process may spend, in memory; every call reserves from it before, and settles after.

A warm reservation is a few dictionary operations on the event loop: no SQL, no thread. What is short is leased from
the windows' rows in rounds, one at a time, each for everybody who waits (`rounds.py`). Nothing is ever admitted beyond
what was leased; a call may be refused although another process still holds a little that it does not need: that
process gives it back within two seconds.
"""

import math
import time
from collections.abc import Callable
from typing import Any, Final

from llm_gateway.money import journal, windows, words
from llm_gateway.money.limits import Limit, Scopes
from llm_gateway.money.records import Begin
from llm_gateway.money.rounds import MAX_AGE_SECONDS, Exchange, Rounds
from llm_gateway.money.slices import Account, Slice

TRIES: Final = 4  # rounds that a call takes part in: others may be quicker to what a round brought


class BudgetSpent(Exception):
    """A call does not fit into a budget: 429 `insufficient_quota`; the very same one will not before `ends_at`."""

    def __init__(self, limit: Limit, ends_at: float, *, text: str) -> None:
        super().__init__(text)
        self.limit, self.ends_at = limit, ends_at


class RateLimited(Exception):
    """Too many requests or tokens in this minute, or too many calls at once: 429 with Retry-After.

    `may_retry` is false where one call is larger than what a whole minute allows.
    """

    def __init__(self, limit: Limit, unit: str, *, retry_after_seconds: int, text: str, may_retry: bool = True) -> None:
        super().__init__(text)
        self.limit, self.unit = limit, unit
        self.retry_after_seconds, self.may_retry = retry_after_seconds, may_retry


class Unavailable(Exception):
    """Nothing can be leased because the database does not answer: 503."""


class Reservation:
    """What one call took: `usd_micros`, `tokens`, and the ids of the budget `leases` it came from, for the journal.

    `reserved_at` (seconds since 1970) is the moment that decides the windows it belongs to.
    """

    __slots__ = ("_is_open", "_parts", "_purse", "leases", "reserved_at", "scopes", "tokens", "usd_micros")

    def __init__(
        self, purse: "Purse", scopes: Scopes, parts: list[tuple[Slice, int]], *, usd_micros: int, tokens: int, at: float
    ) -> None:
        self.scopes, self.usd_micros, self.tokens, self.reserved_at = scopes, usd_micros, tokens, at
        self.leases = [part.lease for part, _ in parts if part.unit == "usd_micros"]
        self._purse, self._parts, self._is_open = purse, parts, True

    def begin(self, *, call_id: str, requested_model: str, **more: Any) -> Begin:
        """Return the journal's record of the call that is about to be made with this."""
        return Begin(
            call_id=call_id,
            organization_id=self.scopes.organization_id,
            key_id=self.scopes.key_id,
            scope_key=self.scopes.scope_key,
            scope_model=self.scopes.model,
            requested_model=requested_model,
            at=self.reserved_at,
            reserved_usd_micros=self.usd_micros,
            leases=self.leases,
            **more,
        )

    @property
    def rates(self) -> list[Slice]:
        """The slices of limits per minute that it took from."""
        return [part for part, _ in self._parts if part.unit in ("requests", "tokens")]

    def settle(self, usd_micros: int, tokens: int) -> None:
        """Give back what the call did not use; what it used beyond is owed. Only the first time counts."""
        if not self._is_open:
            return
        self._is_open = False
        used = {"usd_micros": usd_micros, "tokens": tokens, "requests": 1, "calls": 0}
        rounds, now = self._purse.rounds, self._purse.monotonic()
        for part, taken in self._parts:
            part.free += taken - used[part.unit]
            part.held -= taken
            part.used_at = now
            if part.is_retired:
                rounds.give_back(part)
            elif part.free < 0:
                rounds.want(part, 0)


class Purse:
    """A process's slices of every limit that its callers have; lives on one event loop.

    `clock` gives seconds since 1970, `monotonic` measures ages; `holder` is the process's name in the rows, the same
    that its journal has. `exchange` is `leases.exchange`, which a benchmark may leave out.
    """

    def __init__(
        self,
        holder: str,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        exchange: Exchange | None = None,
    ) -> None:
        self.holder, self.clock, self.monotonic = journal.folder_name(holder), clock, monotonic
        self.accounts: dict[str, Account] = {}
        self.rounds = Rounds(self.accounts, holder=self.holder, clock=clock, monotonic=monotonic, exchange=exchange)

    async def reserve(self, scopes: Scopes, *, usd_micros: int, tokens: int) -> Reservation:
        """Take one request, `usd_micros` and `tokens` from every limit that holds, or from none.

        Raises BudgetSpent, RateLimited, and Unavailable.
        """
        reservation = self._take(scopes, usd_micros, tokens)
        if reservation is not None:
            return reservation
        return await self._take_cold(scopes, usd_micros, tokens)

    async def close(self) -> None:
        """Give back what no call holds, and stop; calls that are still open are in the journal."""
        await self.rounds.close()

    def _take(self, scopes: Scopes, usd_micros: int, tokens: int) -> Reservation | None:
        """Take everything that is needed from memory, or nothing (None) when something is short or stale."""
        now = self.clock()
        if not scopes.limits:
            return Reservation(self, scopes, [], usd_micros=usd_micros, tokens=tokens, at=now)
        monotonic = self.monotonic()
        if monotonic > self.rounds.fresh_until:
            return None
        needs = {"usd_micros": usd_micros, "tokens": tokens, "requests": 1, "calls": 1}
        parts: list[tuple[Slice, int]] = []
        for limit in scopes.limits:
            account = self.accounts.get(limit.subject)
            if account is None or now >= account.ends_at or now < account.start_at or not account.is_under(limit):
                return None
            for part in account.slices:
                need = needs[part.unit]
                if part.free < need:
                    return None
                parts.append((part, need))
        for part, need in parts:
            part.free -= need
            part.held += need
            part.used_at = monotonic
            if part.free < part.low:
                self.rounds.want(part, need)
        return Reservation(self, scopes, parts, usd_micros=usd_micros, tokens=tokens, at=now)

    async def _take_cold(self, scopes: Scopes, usd_micros: int, tokens: int) -> Reservation:
        needs = {"usd_micros": usd_micros, "tokens": tokens, "requests": 1, "calls": 1}
        for attempt in range(TRIES):
            now = self.clock()
            short = self._short(scopes, needs, now)
            self._refuse_at_once(short, needs, now)
            is_well = await self.rounds.take([(part, needs[part.unit]) for _, part in short])
            reservation = self._take(scopes, usd_micros, tokens)
            if reservation is not None:
                return reservation
            if not is_well:
                raise Unavailable
            self._refuse(self._short(scopes, needs, self.clock()), needs, is_last=attempt == TRIES - 1)
        raise Unavailable

    def _short(self, scopes: Scopes, needs: dict[str, int], now: float) -> list[tuple[Limit, Slice]]:
        """Return the slices that hold less than is needed; accounts are brought up to date with limits and time."""
        found = []
        for limit in scopes.limits:
            account = self.accounts.get(limit.subject)
            if account is None:
                account = self.accounts[limit.subject] = Account(scopes.organization_id, limit)
            over, shrunk = account.bring_up_to_date(limit, now)
            self.rounds.retire(over)
            for part in shrunk:
                self.rounds.give_back(part)
            found += [(limit, part) for part in account.slices if part.free < needs[part.unit]]
        return found

    def _refuse_at_once(self, short: list[tuple[Limit, Slice]], needs: dict[str, int], now: float) -> None:
        """Refuse what a round cannot help: a call that is larger than its limit, or a row that just had too little."""
        for limit, part in short:
            if needs[part.unit] > part.limit:
                raise _refusal(limit, part, needs, now, may_retry=False)
        for limit, part in short:
            if part.short_until > self.monotonic() and self.monotonic() < self.rounds.fresh_until:
                raise _refusal(limit, part, needs, now, may_retry=True)

    def _refuse(self, short: list[tuple[Limit, Slice]], needs: dict[str, int], *, is_last: bool) -> None:
        """Raise for the first slice that the last round could not fill: budgets before rates."""
        now = self.clock()
        ordered = sorted(short, key=lambda pair: pair[1].unit != "usd_micros")
        for limit, part in ordered:
            if part.is_short or is_last:
                raise _refusal(limit, part, needs, now, may_retry=True)


def _refusal(limit: Limit, part: Slice, needs: dict[str, int], now: float, *, may_retry: bool) -> Exception:
    need, left = needs[part.unit], max(0, part.left + part.free)
    if part.unit == "usd_micros":
        text = words.budget(limit.subject, limit.window, limit=part.limit, left=left, need=need, end_at=part.end_at)
        return BudgetSpent(limit, part.end_at, text=text)
    text = words.rate(limit.subject, part.unit, limit=part.limit, need=need)
    wait = 1 if part.unit == "calls" else max(1, math.ceil(windows.end(windows.Window.MINUTE, now) - now))
    return RateLimited(limit, part.unit, retry_after_seconds=wait, text=text, may_retry=may_retry)


__all__ = ["MAX_AGE_SECONDS", "BudgetSpent", "Purse", "RateLimited", "Reservation", "Unavailable"]
