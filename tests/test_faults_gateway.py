"""The gateway's money under faults: what it admits, and that the ledger is the provider's own bill to the micro-dollar.

Where nobody saw anything of an answer that was cut off, the ledger has more: what the provider may have made of it.

Four web processes on PostgreSQL and Redis in either world. `Till` bills for itself; every call names a model of its
own, so that the ledger is compared call by call. A call that was lost with its process counts at what it reserved.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import pytest

from tests import spenders
from tests.spenders import MAX_TOKENS, WEBS, Caller, Place, billed, kill, make, opened, request
from tests.till import Plan, Till, micros

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
CALLS = 200
MOST = 40
SIZE = 200  # bytes of a request whose provider takes each for a token
PRICE = micros(SIZE, MAX_TOKENS)
SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with opened(tmp_path_factory.mktemp("spenders")) as found:
        found.set_up(["by-org", "by-key", "by-model", "by-alias"], budget=MOST * PRICE / 1_000_000)
        found.set_up([f"faults-{seed}" for seed in SEEDS] + [f"kills-{seed}" for seed in SEEDS], aliases=CALLS)
        found.start()
        yield found


def session(place: Place, organization: str) -> aiohttp.ClientSession:
    """Return a client with the key of an organization's operator."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        headers={"Authorization": f"Bearer {place.keys[organization]}"},
    )


# --- at most N --------------------------------------------------------------------------------------------------------


async def race(place: Place, organization: str, model: str) -> tuple[Till, list[Counter[tuple[int, str]]]]:
    """Make 200 calls at once, several times, until a whole round is refused; each costs all that it reserves."""
    till = Till()
    till.otherwise = lambda name: Plan(
        name, ["500" if name.startswith("first") else "whole"], says=(SIZE, MAX_TOKENS), size=SIZE, pause_seconds=0.05
    )

    async def one(client: aiohttp.ClientSession, number: int) -> tuple[int, str]:
        url = place.webs[number % WEBS].url(spenders.CHAT)
        async with client.post(url, data=request(model, size=SIZE)) as answer:
            content = await answer.json()
            return answer.status, str((content.get("error") or {}).get("code", ""))

    rounds: list[Counter[tuple[int, str]]] = []
    async with till.open(place.provider_port), session(place, organization) as client:
        while not rounds or any(status == 200 for status, _ in rounds[-1]):
            if rounds:
                await asyncio.sleep(4.5)  # what nobody used has gone back
            rounds.append(Counter(await asyncio.gather(*(one(client, number) for number in range(CALLS)))))
    return till, rounds


@pytest.mark.parametrize(
    ("organization", "model"),
    [("by-org", "openai/c"), ("by-key", "openai/c"), ("by-model", "openai/shared"), ("by-alias", "alias-1")],
)
def test_two_hundred_parallel_calls_against_a_budget_for_forty(place: Place, organization: str, model: str) -> None:
    till, rounds = asyncio.run(race(place, organization, model))
    admitted = sum(number for found in rounds for (status, _), number in found.items() if status == 200)
    refused = {key for found in rounds for key in found if key[0] != 200}
    assert refused == {(429, "insufficient_quota")}, rounds
    assert till.billed_micros == admitted * PRICE
    assert MOST // 2 <= admitted <= MOST, rounds
    assert place.settled(organization)
    assert place.books(organization)["ledger"] == till.billed_micros


# --- to the micro-dollar ----------------------------------------------------------------------------------------------


async def play(
    place: Place, organization: str, dice: random.Random, *, spread_seconds: float = 2.0, pause_seconds: float = 0.2
) -> tuple[Till, list[Caller]]:
    """Make 200 calls of every kind, spread over some seconds."""
    till = Till()
    callers = [make(dice, number, till, pause_seconds=pause_seconds) for number in range(CALLS)]
    async with till.open(place.provider_port), session(place, organization) as client:

        async def one(caller: Caller, wait: float) -> None:
            await asyncio.sleep(wait)
            await caller.call(client, dice.choice(place.webs).url("").rstrip("/"))

        await asyncio.gather(*(one(caller, dice.uniform(0, spread_seconds)) for caller in callers))
    assert till.surprises == []
    return till, callers


@pytest.mark.parametrize("seed", SEEDS)
def test_the_ledger_is_the_providers_bill_whoever_leaves_hangs_or_fails(place: Place, seed: int) -> None:
    organization = f"faults-{seed}"
    till, callers = asyncio.run(play(place, organization, random.Random(seed)))
    assert place.settled(organization)
    rows = place.calls(organization)
    wrong = [
        (caller, rows.get(caller.model), billed(till, caller))
        for caller in callers
        if rows.get(caller.model, ("", 0, 0))[1] not in billed(till, caller)
    ]
    assert wrong == []
    exact = [rows[caller.model][1] for caller in callers if caller.model in rows and len(billed(till, caller)) == 1]
    assert len(exact) > CALLS / 3
    total = sum(cost for _, cost, _ in rows.values())
    assert set(place.books(organization).values()) == {total}
    assert total >= till.billed_micros > 0
    assert {status for status, *_ in rows.values()} == {"completed", "failed", "cancelled"}


@pytest.mark.parametrize("seed", SEEDS)
def test_the_ledger_is_never_below_the_bill_when_processes_are_killed(
    place: Place, seed: int, record_property: Callable[[str, object], None]
) -> None:
    organization = f"kills-{seed}"
    dice = random.Random(seed)
    worker = place.installation.worker()
    beat = place.installation.beat()
    with ThreadPoolExecutor(1) as threads:
        playing = threads.submit(asyncio.run, play(place, organization, dice, spread_seconds=30, pause_seconds=2.5))
        kill(place.webs, random.Random(seed), times=5)
        till, callers = playing.result()
    assert place.settled(organization, timeout_seconds=90), "what the dead left was not taken over"
    worker.kill()
    beat.kill()
    rows = place.calls(organization)
    lost = {model: row for model, row in rows.items() if row[0] == "lost"}
    bills = {caller.model: billed(till, caller) for caller in callers}
    ended = {model: cost for model, (status, cost, _) in rows.items() if status != "lost"}
    assert {model: cost for model, cost in ended.items() if cost not in bills[model]} == {}
    assert all(0 in bills[model] for model in bills.keys() - rows.keys()), "the provider was asked for an unknown call"
    assert all(cost == reserved >= bills[model][0] for model, (_, cost, reserved) in lost.items())
    total = sum(ended.values()) + sum(cost for _, cost, _ in lost.values())
    assert set(place.books(organization).values()) == {total}
    assert total >= till.billed_micros
    assert lost, "nobody was killed in the middle of anything"
    figures = f"{len(lost)} of {len(rows)} calls lost, {total} counted, {till.billed_micros} billed (micro-dollars)"
    record_property("figures", figures)
