"""Accounts: the money of one call. What it may cost is reserved before, what it did cost is settled after, once.

The journal has the call on disk before a provider is asked, and its end before this process forgets it.
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from llm_gateway import prices as own_prices
from llm_gateway import problems
from llm_gateway.money import prices
from llm_gateway.money.journal import JournalFull
from llm_gateway.money.limits import Scopes
from llm_gateway.money.purse import BudgetSpent, RateLimited, Reservation, Unavailable
from llm_gateway.money.records import Attempt, End
from llm_gateway.plane import bounds, dearer
from llm_gateway.plane.callers import Standing
from llm_gateway.plane.refusals import Failed
from llm_gateway.plane.relay import CHARACTERS_PER_TOKEN, Order, estimate
from llm_gateway.plane.routing import Target
from llm_gateway.problems import Problem
from llm_gateway.usage import Usage
from llm_gateway.watching import observer

if TYPE_CHECKING:
    from llm_gateway.plane.planes import Plane
    from llm_gateway.watching.observer import Watch

COMPLETED: Final = "completed"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"


class Spent(NamedTuple):
    """Tokens as prices count them: what was written to a cache is not part of the input."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    cache_write_hour_tokens: int


class Account:
    """The money of one call; `use` says what it took, `close` settles."""

    def __init__(
        self,
        plane: "Plane",
        order: Order,
        prices_of: dict[tuple[str, str], prices.UnitPrice],
        reservation: Reservation,
        meant: Target,
    ) -> None:
        self.meant = meant  # who was to be asked first
        self.plane, self.order, self.prices_of, self.reservation = plane, order, prices_of, reservation
        self.began_at = time.monotonic()
        self.status, self.error = COMPLETED, ""
        self.usage, self.is_estimated, self.cost_usd_micros = Usage(), False, 0
        self.target: Target | None = None  # who answered
        self.asked: Target | None = None  # who was asked last
        self.owed = Usage(), 0  # tokens and micro-dollars of requests that were cut off before their answer
        self.attempts = 0
        self.over: list[Attempt] = []  # written with the end: a call that is lost was at its last one
        self.first_token_ms: float | None = None
        self.latency_ms: float | None = None  # once it is over
        self.saved_usd_micros: int | None = None  # of a cached answer: what it had cost
        self.watch: Watch | None = None

    @property
    def cost_usd(self) -> str:
        """What it cost, in dollars."""
        return f"{self.cost_usd_micros // 1_000_000}.{self.cost_usd_micros % 1_000_000:06d}"

    @property
    def party(self) -> Target | None:
        """Who answered, else who was asked last; None where nobody was asked."""
        return self.target or self.asked

    def attempt(self, target: Target) -> "Trial":
        """Begin a request to a provider."""
        self.attempts, self.asked = self.attempts + 1, target
        return Trial(self, target, self.attempts)

    def first_token(self) -> None:
        """Note that the first part of the answer is there."""
        if self.first_token_ms is None:
            self.first_token_ms = self.elapsed_ms

    @property
    def elapsed_ms(self) -> float:
        """How long the call has taken."""
        return round((time.monotonic() - self.began_at) * 1000, 2)

    def use(self, target: Target, usage: Usage, *, is_estimated: bool) -> None:
        """Note what a provider was used for."""
        tokens, usd_micros = self.owed
        self.target, self.usage, self.is_estimated = target, usage + tokens, is_estimated or usd_micros > 0
        self.cost_usd_micros = prices.cost(_spent(usage), self.prices_of[target.key]) + usd_micros

    def use_all(self, target: Target) -> None:
        """Note that a provider may yet use all that was reserved."""
        price = self.prices_of[target.key]
        most = Usage(bounds.input_tokens(self.order, price), bounds.output_tokens(self.order, price))
        self.use(target, most, is_estimated=True)
        self.cost_usd_micros = self.reservation.usd_micros + self.owed[1]

    def owe(self, target: Target, *, output_tokens: int = 0) -> None:
        """Count a request that was sent and whose answer nobody saw: its input, and what may have been made of it.

        Of `output_tokens` as many count as were reserved.
        """
        price = self.prices_of[target.key]
        made = min(output_tokens, bounds.output_tokens(self.order, price))
        usage = estimate(self.order, made * CHARACTERS_PER_TOKEN)
        tokens, usd_micros = self.owed
        self.owed = tokens + usage, usd_micros + prices.cost(_spent(usage), price)
        self.use(target, Usage(), is_estimated=True)

    def reuse(self, target: Target, saved_usd_micros: int) -> None:
        """Note that the answer comes from the cache: nobody is asked, nothing is spent."""
        self.target, self.saved_usd_micros = target, saved_usd_micros

    def fail(self, code: str) -> None:
        """Note that the call did not end well."""
        self.status, self.error = FAILED, self.coded(code)

    def coded(self, code: str) -> str:
        """Return a code as it may be written down."""
        return problems.written(code, is_private=self.watch is not None and self.watch.is_private)

    def leave(self) -> None:
        """Note that the client left."""
        self.status, self.error = CANCELLED, "client_left"

    def close(self) -> None:
        """Settle, and write the end down."""
        self.reservation.settle(self.cost_usd_micros, self.usage.total_tokens)
        target, usage = self.party or self.meant, self.usage
        price = self.prices_of.get(target.key)
        self.latency_ms = self.elapsed_ms
        end = End(
            call_id=self.order.call_id,
            at=time.time(),
            status=self.status,
            provider=target.source.name,
            model=target.model,
            error=self.error,
            is_cached=self.saved_usd_micros is not None,
            saved_usd_micros=self.saved_usd_micros or 0,
            is_estimated=self.is_estimated,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_input_tokens=usage.cached_input_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            cost_usd_micros=self.cost_usd_micros,
            price=_written(price) if price else {},
            latency_ms=self.latency_ms,
            first_token_ms=self.first_token_ms,
        )
        try:
            self.plane.journal.end(end, attempts=self.over)
        except JournalFull:
            self.plane.complain()
        if self.watch is not None:
            self.watch.close(self)


class Trial:
    """One request to a provider; its end is written down once."""

    def __init__(self, account: Account, target: Target, number: int) -> None:
        self.account, self.target, self.number = account, target, number
        self.at, self.began_at = time.time(), time.monotonic()
        self.provider_request_id = ""
        self.answered: int | None = None  # the status of the provider's answer, where there is one

    def end(self, error: str, http_status: int | None = None) -> None:
        """Note how it ended; of a private organization without what the provider made up itself."""
        watch = self.account.watch
        record = Attempt(
            call_id=self.account.order.call_id,
            number=self.number,
            provider=self.target.source.name,
            model=self.target.model,
            at=self.at,
            http_status=self.answered or http_status,
            error=self.account.coded(error),
            provider_request_id="" if watch is not None and watch.is_private else self.provider_request_id,
            latency_ms=round((time.monotonic() - self.began_at) * 1000, 2),
            first_token_ms=self.account.first_token_ms,
        )
        self.account.over.append(record)
        if watch is not None:
            watch.tried(self.target, error, http_status)


async def open_(
    plane: "Plane", standing: Standing, order: Order, targets: Sequence[Target]
) -> tuple[Account, list[Target]]:
    """Reserve what the call may cost at most, and write down that it begins.

    Return the account, and the targets that its reservation is good for. Raises Failed: over a limit, a budget that is
    spent, a price nobody knows, or nothing that can be leased.
    """
    prices_of = {target.key: await _price(plane, standing, order, target) for target in targets}
    reservation, usable = await _reserve(plane, standing, order, targets, prices_of)
    return _begun(plane, standing, order, prices_of, reservation, usable[0]), usable


async def open_free(plane: "Plane", standing: Standing, order: Order, target: Target) -> Account:
    """Take one request from what the caller may do in a minute, and no money; raises as `open_` does."""
    try:
        reservation = await plane.purse.reserve(_scopes(standing, target), usd_micros=0, tokens=0)
    except (BudgetSpent, RateLimited) as error:
        raise _refusal(error) from None
    except Unavailable:
        raise _unavailable() from None
    return _begun(plane, standing, order, {}, reservation, target)


def _begun(
    plane: "Plane",
    standing: Standing,
    order: Order,
    prices_of: dict[tuple[str, str], prices.UnitPrice],
    reservation: Reservation,
    meant: Target,
) -> Account:
    begin = reservation.begin(
        call_id=order.call_id,
        requested_model=order.asked.model[:200],
        user="" if standing.key_id else standing.name[:150],
        orchestrator_id=standing.orchestrator_id,
        surface=order.surface.PATH.removeprefix("/v1").removeprefix("/"),
        is_stream=order.asked.is_stream,
    )
    try:
        plane.journal.begin(begin)
    except JournalFull:
        reservation.settle(0, 0)
        plane.complain()
        text = "Calls cannot be written down at the moment; try again later."
        raise Failed(Problem(503, "api_error", text, code="overloaded", retry_after=5)) from None
    return Account(plane, order, prices_of, reservation, meant)


async def _reserve(
    plane: "Plane",
    standing: Standing,
    order: Order,
    targets: Sequence[Target],
    prices_of: dict[tuple[str, str], prices.UnitPrice],
) -> tuple[Reservation, list[Target]]:
    """Reserve for the first target whose model has anything left, and all others under the same limits."""
    left = list(targets)
    while True:
        scopes = _scopes(standing, left[0])
        same = left if len(left) == 1 else _under(standing, left, scopes)
        usd_micros = max(bounds.usd_micros(order, prices_of[target.key]) for target in same)
        try:
            return await plane.purse.reserve(scopes, usd_micros=usd_micros, tokens=bounds.tokens(order)), same
        except (BudgetSpent, RateLimited) as error:
            others = [target for target in left if error.limit not in _scopes(standing, target).limits]
            if not others:
                raise _refusal(error) from None
            left = others
        except Unavailable:
            raise _unavailable() from None


def _under(standing: Standing, targets: Sequence[Target], scopes: Scopes) -> list[Target]:
    """Return the targets that the same limits hold for."""
    return [target for target in targets if _scopes(standing, target).limits == scopes.limits]


def _unavailable() -> Failed:
    text = "What is left of the budget cannot be looked up at the moment; try again in a few seconds."
    return Failed(Problem(503, "api_error", text, code="database_unavailable", retry_after=5))


def _refusal(error: BudgetSpent | RateLimited) -> Failed:
    """Return what somebody over a limit is told; X-RateLimit-Reset is in seconds since 1970."""
    observer.refused("budget" if isinstance(error, BudgetSpent) else error.unit)
    if isinstance(error, BudgetSpent):
        problem = Problem(429, "insufficient_quota", str(error), code="insufficient_quota")
        return Failed(problem, is_final=True)
    seconds = error.retry_after_seconds
    problem = Problem(429, "rate_limit_error", str(error), code="rate_limit_exceeded", retry_after=seconds)
    limit = error.limit
    most = {"requests": limit.requests_per_minute, "tokens": limit.tokens_per_minute}.get(
        error.unit, limit.max_parallel
    )
    told = {"limit": most or 0, "remaining": 0, "reset": int(time.time()) + seconds}
    headers = [(f"x-ratelimit-{name}".encode(), str(value).encode()) for name, value in told.items()]
    return Failed(problem, is_final=not error.may_retry, headers=headers)


def _scopes(standing: Standing, target: Target) -> Scopes:
    scopes: Scopes = standing.held.scopes(f"{target.source.name}/{target.model}")
    return scopes


async def _price(plane: "Plane", standing: Standing, order: Order, target: Target) -> prices.UnitPrice:
    price = plane.pricing.known(standing.organization_id, target)
    if price is None:
        price = await plane.pricing.of(standing.organization_id, target)
    more = dearer.found(order, target)
    if price is not None and (more is None or target.source.is_local):
        return price
    try:
        estimate = own_prices.require(None)
    except prices.UnknownPrice:
        raise _unknown(target, more) from None
    return estimate if more is None else prices.times(price or estimate, more.times)


def _unknown(target: Target, more: dearer.Dearer | None) -> Failed:
    text, param = f"Nobody knows what `{target.source.name}/{target.model}` costs: enter a price for it.", "model"
    if more is not None:
        text = f"Nobody knows what `{more.name}: {more.value}` costs: leave it out, or have unknown prices estimated."
        param = more.name
    return Failed(Problem(400, "invalid_request_error", text[:500], code="unknown_price", param=param))


def _spent(usage: Usage) -> Spent:
    return Spent(
        max(0, usage.input_tokens - usage.cache_write_tokens),
        usage.output_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.cache_write_hour_tokens,
    )


def _written(price: prices.UnitPrice) -> dict[str, str]:
    return {
        "input": str(price.input),
        "output": str(price.output),
        "cached_input": str(price.cached_input),
        "cache_write": str(price.cache_write),
        "source": price.source,
    }
