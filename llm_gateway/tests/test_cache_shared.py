"""The entries that web processes share, against a real Redis: found, bounded, forgotten, and gone with it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis as Client

from llm_gateway.cache import shared
from llm_gateway.cache.entries import OVERHEAD_BYTES, Entry
from llm_gateway.cache.shared import Shared
from llm_gateway.cache.stock import Stock
from moolai.testing.redis import Redis

pytestmark = [pytest.mark.once, pytest.mark.services]
SIZE = 10_000 + OVERHEAD_BYTES


@pytest.fixture(autouse=True)
def url(redis_server: Redis, settings: Any) -> str:
    settings.REDIS_URL = redis_server.url()
    settings.LLM_CACHE_SHARED_BYTES = 3 * SIZE
    return str(settings.REDIS_URL)


def entry(**more: Any) -> Entry:
    given: dict[str, Any] = {"organization_id": "acme", "epoch": 0, "provider": "p", "model": "m", "cost_usd_micros": 5}
    return Entry(**{**given, "stored_at": time.time(), "ttl_seconds": 60, "content": b"x" * 10_000, **more})


def play(url: str, scene: Callable[[Shared, Shared], Awaitable[Any]]) -> Any:
    """Run a scene of two processes' ends."""

    async def both() -> Any:
        ours, theirs = Shared(url), Shared(url)
        try:
            return await scene(ours, theirs)
        finally:
            await ours.close()
            await theirs.close()

    return asyncio.run(both())


def test_what_one_process_keeps_another_finds_in_the_same_organization_and_epoch(url: str) -> None:
    async def scene(ours: Shared, theirs: Shared) -> list[Entry | None]:
        await ours.put("k", entry())
        asked = [("acme", 0), ("acme", 1), ("globex", 0), ("acme*", 0)]
        return [await theirs.get("k", organization_id=name, epoch=epoch) for name, epoch in asked]

    found = play(url, scene)
    assert found[1:] == [None] * 3
    assert replace(found[0], stored_at=0.0) == entry(stored_at=0.0)


def test_many_calls_at_once_wait_for_a_connection_and_do_not_count_as_redis_away(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "TIMEOUT_SECONDS", 10.0)  # what a crowded machine takes for all these connections

    async def scene(ours: Shared, theirs: Shared) -> tuple[int, bool]:
        await ours.put("k", entry())
        found = await asyncio.gather(*(theirs.get("k", organization_id="acme", epoch=0) for _ in range(200)))
        return sum(map(bool, found)), theirs.is_awake

    assert play(url, scene) == (200, True)


def test_all_entries_keep_to_their_bytes_and_to_their_time(url: str) -> None:
    async def scene(ours: Shared, theirs: Shared) -> list[bool]:
        for number, seconds in enumerate((60, 30, 90, 120)):
            await ours.put(f"k{number}", entry(ttl_seconds=seconds))
        await ours.put("k3", entry(ttl_seconds=120))  # again: it counts once
        await ours.put("huge", entry(content=b"x" * 100_000))
        names = ("k0", "k1", "k2", "k3", "huge")
        return [bool(await theirs.get(name, organization_id="acme", epoch=0)) for name in names]

    assert play(url, scene) == [True, False, True, True, False]
    with Client.from_url(url) as client:
        index, sizes, total = shared._books()
        assert (client.zcard(index), client.hlen(sizes), int(client.get(total) or 0)) == (3, 3, 3 * SIZE)
        assert all(0 < client.ttl(name) <= 120 for name in client.zrange(index, 0, -1))


def test_an_organization_that_is_emptied_leaves_nothing_and_the_others_theirs(url: str) -> None:
    async def scene(ours: Shared, theirs: Shared) -> None:
        await ours.put("a", entry())
        await ours.put("b", entry(organization_id="globex"))

    play(url, scene)
    shared.forget("acme")
    with Client.from_url(url) as client:
        index, sizes, total = shared._books()
        assert (client.zcard(index), client.hlen(sizes), int(client.get(total) or 0)) == (1, 1, SIZE)
        assert len(client.keys("*.cache.*")) == 1


def test_while_redis_is_away_each_process_has_its_own_and_nobody_waits(
    url: str, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "PAUSE_SECONDS", 0.5)
    told: dict[str, Any] = {"organization_id": "acme", "epoch": 0, "ttl_seconds": 60}

    async def scene() -> None:
        stock = Stock()
        redis_server.pause()
        began = time.monotonic()
        for number in range(20):
            await stock.put(f"k{number}", entry())
            assert await stock.get(f"k{number}", **told) is not None
        assert await stock.get("unknown", **told) is None
        assert time.monotonic() - began < 1
        redis_server.resume()
        await asyncio.sleep(0.6)
        await stock.put("new", entry())
        assert await stock.shared.get("new", organization_id="acme", epoch=0) is not None
        await stock.close()

    asyncio.run(scene())
    redis_server.stop()
    shared.forget("acme")  # says so, and does not raise
