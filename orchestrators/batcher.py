"""A batcher: what many coroutines ask of the database at once becomes one call in a thread.

While one batch runs, the next gathers, so nothing waits for a timer and a busy moment costs few transactions.
What waits is bounded by count and by bytes, and so is one batch: its thread has other work too.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from django.db import InterfaceError, OperationalError

from orchestrators.protocol import INTERNAL, OVERLOAD, FrameError

logger = logging.getLogger(__name__)
RETRY_SECONDS = 1.0
BATCH_BYTES = 1024 * 1024
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class _Entry(NamedTuple, Generic[Item, Answer]):
    item: Item
    future: asyncio.Future[Answer]
    weight: int


class Batcher(Generic[Item, Answer]):
    """Hands gathered items, in order, to `work` (items → one answer or FrameError each) through `run`.

    With `is_patient` a database outage is waited out: items stay queued, unanswered, up to `capacity` of them and
    `capacity_bytes` by `weigh` (item → bytes; nothing weighs anything without it). Without `is_patient` they are
    refused with `database_unavailable`. One batch holds at most `size` items and `BATCH_BYTES`, but at least one item.
    `on_orphan` is given the answer to an item whose asker gave up while the batch ran.
    """

    def __init__(
        self,
        run: Callable[[Callable[[], Sequence[Answer | FrameError]]], Awaitable[Sequence[Answer | FrameError]]],
        work: Callable[[Sequence[Item]], Sequence[Answer | FrameError]],
        *,
        size: int = 200,
        capacity: int = 10_000,
        is_patient: bool = False,
        on_orphan: Callable[[Answer], None] | None = None,
        weigh: Callable[[Item], int] | None = None,
        capacity_bytes: int = 32 * 1024 * 1024,
    ) -> None:
        self._run, self._work = run, work
        self._size, self._capacity, self._is_patient = size, capacity, is_patient
        self._on_orphan, self._weigh, self._capacity_bytes = on_orphan, weigh, capacity_bytes
        self._queue: deque[_Entry[Item, Answer]] = deque()
        self._held_bytes = 0  # queued and running
        self._suspects = 0  # how many at the head of the queue run one by one, because one of them is poison
        self._task: asyncio.Task[None] | None = None

    def submit(self, item: Item) -> asyncio.Future[Answer]:
        """Queue `item`; the future gets its answer, or raises its FrameError (`overloaded` when too much waits)."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        weight = self._weigh(item) if self._weigh else 0
        if len(self._queue) >= self._capacity or self._held_bytes + weight > self._capacity_bytes:
            future.set_exception(FrameError("overloaded", "Too much is waiting; try again.", retry_after_ms=5000))
            return future
        self._queue.append(_Entry(item, future, weight))
        self._held_bytes += weight
        if self._task is None:
            self._task = asyncio.create_task(self._drain())
        return future

    async def _drain(self) -> None:
        try:
            while self._queue:
                batch = self._take()
                waiting = [entry for entry in batch if not entry.future.done()]
                if waiting:
                    await self._settle(waiting)
                self._held_bytes -= sum(entry.weight for entry in batch)
        finally:
            self._task = None

    def _take(self) -> list[_Entry[Item, Answer]]:
        """Take the next batch off the queue."""
        size = 1 if self._suspects else self._size
        self._suspects = max(0, self._suspects - 1)
        batch = [self._queue.popleft()]
        total = batch[0].weight
        while self._queue and len(batch) < size and total + self._queue[0].weight <= BATCH_BYTES:
            batch.append(self._queue.popleft())
            total += batch[-1].weight
        return batch

    def _put_back(self, batch: list[_Entry[Item, Answer]]) -> None:
        self._queue.extendleft(reversed(batch))
        self._held_bytes += sum(entry.weight for entry in batch)

    async def _settle(self, batch: list[_Entry[Item, Answer]]) -> None:
        try:
            answers = await self._run(lambda: self._work([entry.item for entry in batch]))
        except (OperationalError, InterfaceError) as error:
            await self._wait_or_refuse(batch, error)
        except Exception as error:
            if len(batch) > 1:  # one of them is poison: the others must not suffer
                self._put_back(batch)
                self._suspects = len(batch)
                return
            request_id, detail = secrets.token_hex(8), "Something broke on our side; quote the request_id."
            logger.exception("a batched item failed", exc_info=error, extra={"request_id": request_id})
            _resolve(batch[0].future, FrameError("internal_error", detail, close=INTERNAL, request_id=request_id))
        else:
            for entry, answer in zip(batch, answers, strict=True):
                if not _resolve(entry.future, answer) and self._on_orphan and not isinstance(answer, FrameError):
                    self._on_orphan(answer)

    async def _wait_or_refuse(self, batch: list[_Entry[Item, Answer]], error: Exception) -> None:
        logger.warning("the database does not answer: %s", str(error).strip().splitlines()[0] if str(error) else error)
        if self._is_patient:
            await asyncio.sleep(RETRY_SECONDS)
            self._put_back(batch)
            return
        refusal = FrameError(
            "database_unavailable", "The database does not answer; reconnect.", close=OVERLOAD, retry_after_ms=2000
        )
        for entry in batch:
            _resolve(entry.future, refusal)


def _resolve(future: asyncio.Future[Answer], answer: Answer | FrameError) -> bool:
    """Settle `future`; False when its asker has given up."""
    if future.done():
        return False
    if isinstance(answer, FrameError):
        future.set_exception(answer)
    else:
        future.set_result(answer)
    return True
