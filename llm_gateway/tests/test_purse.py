"""The purse: warm calls cost nothing, limits hold over processes, windows roll over, outages are bridged."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.db import OperationalError, connections

from llm_gateway.models import BudgetLease, BudgetWindow
from llm_gateway.money import leases, rounds
from llm_gateway.money.limits import Limit, Scopes
from llm_gateway.money.purse import BudgetSpent, Purse, RateLimited, Reservation, Unavailable

pytestmark = pytest.mark.django_db(transaction=True)
NOON = 1_795_262_400.0  # 2026-11-21, a Saturday, 12:00 UTC
NIGHT = NOON + 12 * 3600


class Clock:
    """A clock that is set; both the time of day and the age of things."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Database:
    """The exchange with the rows, which may be away; counts how often it was asked."""

    def __init__(self) -> None:
        self.is_away, self.rounds = False, 0

    def __call__(self, asks: Any, *, holder: str, now: float) -> Any:
        self.rounds += 1
        try:
            if self.is_away:
                raise OperationalError("the server is gone")
            return leases.exchange(asks, holder=holder, now=now)
        finally:
            connections.close_all()


def scopes(*limits: Limit) -> Scopes:
    return Scopes("acme", "key_1", "gpt-4o", limits)


def budget(micros: int, *, window: str = "month", subject: str = "org:acme") -> Limit:
    return Limit(subject, micros, window)


async def reserve(purse: Purse, holds: Scopes, usd_micros: int = 10, tokens: int = 0) -> Reservation | Exception:
    try:
        return await purse.reserve(holds, usd_micros=usd_micros, tokens=tokens)
    except (BudgetSpent, RateLimited, Unavailable) as error:
        return error


def play(scene: Callable[[Purse], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        purse = Purse(options.pop("holder", "p:1"), **options)
        await scene(purse)
        await purse.close()

    asyncio.run(run())


def leased() -> dict[str, int]:
    return {row.subject: row.leased for row in BudgetWindow.objects.all()}


@pytest.mark.once
def test_a_warm_call_touches_neither_the_database_nor_a_thread() -> None:
    database = Database()

    async def scene(purse: Purse) -> None:
        holds = scopes(budget(10**9), Limit("key:key_1", 10**9, "day", 10**6, 10**9, 100))
        (await purse.reserve(holds, usd_micros=100, tokens=100)).settle(60, 50)
        threads, rounds = set(threading.enumerate()), database.rounds
        best = 1.0
        for _ in range(5):
            started = time.perf_counter()
            for _ in range(30):
                (await purse.reserve(holds, usd_micros=1, tokens=1)).settle(1, 1)
            best = min(best, (time.perf_counter() - started) / 30)
        await asyncio.sleep(0)
        assert database.rounds == rounds
        assert set(threading.enumerate()) == threads
        assert best < 0.001
        without = scopes()
        (await purse.reserve(without, usd_micros=1, tokens=1)).settle(1, 1)
        assert database.rounds == rounds

    play(scene, exchange=database)


def test_200_calls_of_four_processes_never_spend_more_than_there_is_and_what_is_left_is_usable_again() -> None:
    """Of 1000, calls of 10 take 100 at most; they are settled at 4 each, and one process gets all that is left."""
    holds = scopes(
        budget(1000), budget(5000, window="day", subject="key:key_1"), budget(2000, subject="model:acme/gpt-4o")
    )
    meet, admitted, later = threading.Barrier(4, timeout=60), [0] * 4, [0]

    async def scene(number: int) -> None:
        purse = Purse(f"p:{number}")
        found = await asyncio.gather(*(insist(purse) for _ in range(50)))
        mine = [item for item in found if isinstance(item, Reservation)]
        admitted[number] = len(mine)
        await asyncio.to_thread(meet.wait)
        for item in mine:
            item.settle(4, 0)
            item.settle(0, 0)  # only the first time counts
        if number == 0:
            await use_up(purse)
        await asyncio.to_thread(meet.wait)
        await purse.close()

    async def insist(purse: Purse) -> Reservation | Exception:
        """Try again while the database is too slow."""
        while isinstance(found := await reserve(purse, holds), Unavailable):
            pass
        return found

    async def use_up(purse: Purse) -> None:
        until = time.monotonic() + 20
        while time.monotonic() < until and 4 * sum(admitted) + 10 * later[0] <= 990:
            item = await reserve(purse, holds)
            if isinstance(item, Reservation):
                item.settle(10, 0)
                later[0] += 1
            else:
                await asyncio.sleep(0.05)

    threads = [threading.Thread(target=lambda n=n: asyncio.run(scene(n))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 50 <= sum(admitted) <= 100
    assert later[0] == (1000 - 4 * sum(admitted)) // 10
    used = 4 * sum(admitted) + 10 * later[0]
    assert leased() == dict.fromkeys(("org:acme", "key:key_1", "model:acme/gpt-4o"), used)


@pytest.mark.once
def test_several_budgets_are_taken_all_or_none() -> None:
    async def scene(purse: Purse) -> None:
        holds = scopes(budget(100), budget(15, subject="key:key_1"))
        assert isinstance(await reserve(purse, holds), Reservation)
        refused = await reserve(purse, holds)
        assert isinstance(refused, BudgetSpent)
        assert refused.limit.subject == "key:key_1"
        assert "this key for this month has $0.000005 left, and this call may cost up to $0.00001: " in str(refused)
        alone = [await reserve(purse, scopes(budget(100))) for _ in range(10)]
        assert sum(isinstance(item, Reservation) for item in alone) == 9

    play(scene)


@pytest.mark.once
def test_a_call_larger_than_its_budget_is_refused_without_asking() -> None:
    database = Database()

    async def scene(purse: Purse) -> None:
        refused = await reserve(purse, scopes(budget(9)))
        assert isinstance(refused, BudgetSpent)
        assert "may cost up to $0.00001, and the whole budget of this organization is $0.000009" in str(refused)
        assert database.rounds == 0

    play(scene, exchange=database)


def test_a_window_begins_anew_and_what_was_reserved_before_settles_there() -> None:
    clock = Clock()

    async def scene(purse: Purse, window: str, after: float) -> None:
        clock.now = after - 1
        holds = scopes(budget(10, window=window, subject=window))
        old = await purse.reserve(holds, usd_micros=10, tokens=0)
        spent = await reserve(purse, holds)
        assert isinstance(spent, BudgetSpent)
        assert spent.ends_at == after
        assert f"for this {window} is spent, or set aside for calls under way. It begins anew at 2026-1" in str(spent)
        clock.now = after
        new = await purse.reserve(holds, usd_micros=10, tokens=0)
        assert new.leases != old.leases
        old.settle(2, 0)
        assert isinstance(await reserve(purse, holds), BudgetSpent)
        new.settle(2, 0)
        assert isinstance(await reserve(purse, holds, 8), Reservation)

    async def scenes(purse: Purse) -> None:
        await scene(purse, "day", NIGHT)
        await scene(purse, "week", NIGHT + 86_400)  # Sunday to Monday
        await scene(purse, "month", 1_796_083_200)  # November to December

    play(scenes, clock=clock)
    assert BudgetWindow.objects.count() == 6


@pytest.mark.once
def test_a_changed_limit_counts_from_the_next_call() -> None:
    async def scene(purse: Purse) -> None:
        first = await purse.reserve(scopes(budget(1000)), usd_micros=10, tokens=0)
        assert isinstance(await reserve(purse, scopes(budget(15))), BudgetSpent)  # 10 are reserved
        assert isinstance(await reserve(purse, scopes(budget(20))), Reservation)
        assert isinstance(await reserve(purse, scopes(budget(20))), BudgetSpent)
        first.settle(10, 0)
        assert isinstance(await reserve(purse, scopes(budget(40))), Reservation)
        assert isinstance(await reserve(purse, scopes()), Reservation)
        daily = await purse.reserve(scopes(budget(15, window="day")), usd_micros=10, tokens=0)
        assert isinstance(await reserve(purse, scopes(budget(15, window="day"))), BudgetSpent)
        assert isinstance(await reserve(purse, scopes(budget(40))), Reservation)  # the month's slice is known yet
        assert isinstance(await reserve(purse, scopes(budget(40))), BudgetSpent)
        daily.settle(0, 0)

    play(scene)


def test_calls_go_on_for_60_s_without_the_database_and_then_are_unavailable() -> None:
    database, age = Database(), Clock(0.0)

    async def scene(purse: Purse) -> None:
        holds = scopes(budget(10**6))
        (await purse.reserve(holds, usd_micros=10, tokens=0)).settle(10, 0)
        database.is_away = True
        for age.now in (1.0, 30.0, 60.0):
            (await purse.reserve(holds, usd_micros=10, tokens=0)).settle(10, 0)
        age.now = 60.1
        assert isinstance(await reserve(purse, holds), Unavailable)
        assert isinstance(await reserve(purse, scopes(budget(100, subject="key:new"))), Unavailable)
        database.is_away = False
        assert isinstance(await reserve(purse, holds), Reservation)

    play(scene, exchange=database, monotonic=age)


def test_an_answer_that_was_lost_on_its_way_costs_nothing() -> None:
    """A transaction is committed and its process does not hear of it: it finds out with the next one."""
    calls = 0

    def exchange(asks: Any, *, holder: str, now: float) -> Any:
        nonlocal calls
        calls += 1
        try:
            found = leases.exchange(asks, holder=holder, now=now)
            if calls in (2, 4):
                raise OperationalError("lost")
            return found
        finally:
            connections.close_all()

    async def scene(purse: Purse) -> None:
        holds = scopes(budget(100))
        first = await purse.reserve(holds, usd_micros=40, tokens=0)
        assert isinstance(await reserve(purse, holds, 40), Unavailable)
        second = await purse.reserve(holds, usd_micros=40, tokens=0)
        assert isinstance(await reserve(purse, holds, 40), BudgetSpent | Unavailable)
        first.settle(0, 0)
        second.settle(0, 0)
        third = await purse.reserve(holds, usd_micros=100, tokens=0)
        third.settle(0, 0)

    play(scene, exchange=exchange)
    assert leased() == {"org:acme": 0}


@pytest.mark.once
@pytest.mark.once
def test_what_is_idle_serves_on_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(rounds, "PEEK_SECONDS", 0.0)
    database, clock = Database(), Clock()

    async def scene(purse: Purse) -> None:
        (await purse.reserve(scopes(budget(1000)), usd_micros=10, tokens=0)).settle(0, 0)
        database.is_away = True
        while not purse.rounds.is_failing:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        clock.now += 30
        await asyncio.sleep(0.1)
        assert isinstance(await reserve(purse, scopes(budget(1000))), Reservation)
        database.is_away = False

    play(scene, exchange=database, monotonic=clock)


@pytest.mark.once
def test_what_a_slow_round_brings_is_not_forgotten_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ticker drops accounts that nobody uses; one whose first round is under way is no such account."""
    monkeypatch.setattr(rounds, "TICK_SECONDS", 0.01)
    database = Database()

    def slow(asks: Any, *, holder: str, now: float) -> Any:
        time.sleep(0.1)
        return database(asks, holder=holder, now=now)

    async def scene(purse: Purse) -> None:
        clock.now += 1_000  # the account is long unused before it is used for the first time
        (await purse.reserve(scopes(budget(10**9, subject="org:first")), usd_micros=1, tokens=0)).settle(1, 0)
        held = await purse.reserve(scopes(budget(100)), usd_micros=100, tokens=0)
        assert isinstance(await reserve(purse, scopes(budget(100)), usd_micros=1), BudgetSpent)
        held.settle(0, 0)

    clock = Clock()
    play(scene, exchange=slow, monotonic=clock)
    assert leased() == {"org:first": 1, "org:acme": 0}


def test_requests_and_tokens_per_minute_say_when_to_come_back() -> None:
    clock = Clock(NOON + 18.5)

    async def scene(purse: Purse) -> None:
        holds = scopes(Limit("key:key_1", requests_per_minute=3, tokens_per_minute=1000))
        taken = [await purse.reserve(holds, usd_micros=5, tokens=400) for _ in range(2)]
        refused = await reserve(purse, holds, tokens=400)
        assert isinstance(refused, RateLimited)
        assert (refused.unit, refused.retry_after_seconds, refused.may_retry) == ("tokens", 42, True)
        taken[0].settle(5, 100)
        (await purse.reserve(holds, usd_micros=5, tokens=400)).settle(5, 400)
        refused = await reserve(purse, holds, tokens=1)
        assert isinstance(refused, RateLimited)
        assert (refused.unit, refused.retry_after_seconds) == ("requests", 42)
        hopeless = await reserve(purse, holds, tokens=1001)
        assert isinstance(hopeless, RateLimited)
        assert not hopeless.may_retry
        clock.now = NOON + 60
        assert isinstance(await reserve(purse, holds, tokens=1000), Reservation)

    play(scene, clock=clock)


def test_rates_and_parallel_calls_are_shared_by_processes() -> None:
    async def scene() -> None:
        clock = Clock()
        purses = [Purse(f"p:{number}", clock=clock) for number in range(4)]
        rates = scopes(Limit("org:acme", requests_per_minute=30))
        found = await asyncio.gather(*(reserve(purse, rates) for purse in purses for _ in range(20)))
        assert 24 <= sum(isinstance(item, Reservation) for item in found) <= 30
        slots = scopes(Limit("org:acme", max_parallel=5))
        found = await asyncio.gather(*(reserve(purse, slots) for purse in purses for _ in range(3)))
        held = [item for item in found if isinstance(item, Reservation)]
        refused = next(item for item in found if isinstance(item, RateLimited))
        assert (len(held), refused.unit, refused.retry_after_seconds) == (5, "calls", 1)
        for item in held:
            item.settle(0, 0)
        for purse in purses:
            await purse.close()

    asyncio.run(scene())
    assert BudgetLease.objects.filter(window__unit="calls", granted__gt=0).count() == 0
