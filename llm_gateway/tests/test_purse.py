"""The purse: warm calls cost nothing, limits hold over processes, windows roll over, outages are bridged."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection

from llm_gateway.money.limits import Limit, Scopes
from llm_gateway.money.purse import BudgetSpent, Purse, RateLimited, Reservation, Unavailable
from llm_gateway.models import BudgetLease, BudgetWindow

pytestmark = pytest.mark.django_db(transaction=True)


def scopes(*limits: Limit) -> Scopes:
    return Scopes("acme", "key_1", "gpt-4o", limits)


def budget(micros: int, *, window: str = "month", subject: str = "org:acme") -> Limit:
    return Limit(subject, micros, window)


async def reserve(purse: Purse, holds: Scopes, usd_micros: int = 10, tokens: int = 0) -> Reservation | str:
    try:
        return await purse.reserve(holds, usd_micros=usd_micros, tokens=tokens)
    except (BudgetSpent, RateLimited, Unavailable) as error:
        return type(error).__name__


def test_a_warm_call_touches_neither_the_database_nor_a_thread() -> None:
    async def play() -> None:
        purse, holds = Purse("p:1"), scopes(budget(10**9), Limit("key:key_1", 10**9, "day", 10**6, 10**9, 100))
        (await purse.reserve(holds, usd_micros=100, tokens=100)).settle(60, 50)
        threads, rounds = set(threading.enumerate()), []
        real = purse.rounds.exchange
        purse.rounds.exchange = lambda *args, **kwargs: rounds.append(1) or real(*args, **kwargs)
        best = 1.0
        for _ in range(5):
            started = time.perf_counter()
            for _ in range(30):
                (await purse.reserve(holds, usd_micros=1, tokens=1)).settle(1, 1)
            best = min(best, (time.perf_counter() - started) / 30)
        assert rounds == []
        assert set(threading.enumerate()) == threads
        print(f"reserve and settle, five slices: {best * 1e6:.1f} µs")
        await purse.close()

    asyncio.run(play())
