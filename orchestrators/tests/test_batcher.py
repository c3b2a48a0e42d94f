"""The batcher: what waits is bounded by count and by bytes, batches stay small, and nothing overtakes."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.db import OperationalError

from orchestrators import batcher as room
from orchestrators.batcher import Batcher
from orchestrators.protocol import FrameError


class Desk:
    """Records every batch it is given; refuses all while `is_away`, and any batch with 13 in it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.is_away = False
        self.is_away_after = 0

    async def run(self, job: Callable[[], Sequence[int | FrameError]]) -> Sequence[int | FrameError]:
        await asyncio.sleep(0)
        return job()

    def work(self, items: Sequence[int]) -> list[int | FrameError]:
        if self.is_away:
            raise OperationalError("server closed the connection")
        self.batches.append(list(items))
        self.is_away |= len(self.batches) == self.is_away_after
        if 13 in items:
            raise ValueError("poison")
        return list(items)

    def batcher(self, **options: Any) -> Batcher[int, int]:
        return Batcher[int, int](self.run, self.work, **options)


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(room, "RETRY_SECONDS", 0.01)
    return Desk()


def weight(item: int) -> int:
    return item


async def settled(futures: Sequence["asyncio.Future[int]"]) -> list[int | str]:
    found = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), 5)
    return [answer.code if isinstance(answer, FrameError) else answer for answer in found]  # type: ignore[misc]


async def test_a_batch_ends_where_its_bytes_would_exceed_the_cap_and_order_is_kept(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "BATCH_BYTES", 100)
    batcher = desk.batcher(weigh=weight)
    items = [60, 40, 1, 99, 30, 30, 30, 30, 250, 5]
    assert await settled([batcher.submit(item) for item in items]) == items
    assert desk.batches == [[60, 40], [1, 99], [30, 30, 30], [30], [250], [5]]


async def test_a_batch_ends_at_its_count_too(desk: Desk) -> None:
    batcher = desk.batcher(size=2, weigh=weight)
    await settled([batcher.submit(item) for item in (1, 2, 3, 4, 5)])
    assert desk.batches == [[1, 2], [3, 4], [5]]


async def test_too_many_bytes_waiting_is_refused_and_taken_again_when_they_are_gone(desk: Desk) -> None:
    batcher = desk.batcher(weigh=weight, capacity_bytes=100)
    futures = [batcher.submit(item) for item in (60, 50, 40, 1)]
    assert await settled(futures) == [60, "overloaded", 40, "overloaded"]
    assert await settled([batcher.submit(100)]) == [100]


async def test_bytes_put_back_by_an_outage_still_count_and_nothing_overtakes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "BATCH_BYTES", 50)
    batcher = desk.batcher(weigh=weight, capacity_bytes=100, is_patient=True)
    desk.is_away = True
    futures = [batcher.submit(item) for item in (30, 20, 50)]
    await asyncio.sleep(0.05)  # several attempts
    assert await settled([batcher.submit(1)]) == ["overloaded"]
    desk.is_away = False
    assert await settled(futures) == [30, 20, 50]
    assert desk.batches == [[30, 20], [50]]


async def test_bytes_of_askers_who_gave_up_are_released(desk: Desk) -> None:
    batcher = desk.batcher(weigh=weight, capacity_bytes=100, is_patient=True)
    desk.is_away = True
    for future in [batcher.submit(item) for item in (60, 40)]:
        future.cancel()
    await asyncio.sleep(0.05)
    desk.is_away = False
    assert await settled([batcher.submit(100)]) == [100]
    assert desk.batches == [[100]]


async def test_an_outage_amid_the_isolation_of_poison_changes_no_order(desk: Desk) -> None:
    batcher = desk.batcher(is_patient=True)
    futures = [batcher.submit(item) for item in (1, 13, 2, 3)]
    desk.is_away_after = 1
    await asyncio.sleep(0.05)
    assert desk.batches == [[1, 13, 2, 3]]
    desk.is_away = False
    assert await settled(futures) == [1, "internal_error", 2, 3]
    answered = [batch[0] for batch in desk.batches if len(batch) == 1]
    assert answered == [1, 13, 2, 3]


async def test_without_a_weight_only_the_count_bounds(desk: Desk) -> None:
    batcher = desk.batcher(capacity=3, capacity_bytes=1)
    assert await settled([batcher.submit(item) for item in (7, 8, 9, 10)]) == [7, 8, 9, "overloaded"]
