"""A batcher: what many coroutines ask of the database at once becomes one call in a thread.

While one batch runs, the next gathers, so nothing waits for a timer and a busy moment costs few transactions.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from django.db import InterfaceError, OperationalError

from orchestrators.protocol import INTERNAL, OVERLOAD, FrameError

logger = logging.getLogger(__name__)
RETRY_SECONDS = 1.0
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Hands gathered items, in order, to `work` (items → one answer or FrameError each) through `run`.

    With `is_patient` a database outage is waited out: items stay queued, unanswered, up to `capacity`.
    Without it they are refused with `database_unavailable`. `on_orphan` is given the answer to an item whose asker
    gave up while the batch ran.
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
    ) -> None:
        self._run, self._work = run, work
        self._size, self._capacity, self._is_patient = size, capacity, is_patient
        self._on_orphan = on_orphan
        self._queue: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._task: asyncio.Task[None] | None = None

    def submit(self, item: Item) -> asyncio.Future[Answer]:
        """Queue `item`; the future gets its answer, or raises its FrameError (`overloaded` when too much waits)."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if len(self._queue) >= self._capacity:
            future.set_exception(FrameError("overloaded", "Too much is waiting; try again.", retry_after_ms=5000))
            return future
        self._queue.append((item, future))
        if self._task is None:
            self._task = asyncio.create_task(self._drain())
        return future

    async def drain(self) -> None:
        """Wait until nothing is queued or running."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _drain(self) -> None:
        try:
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(self._size, len(self._queue)))]
                waiting = [entry for entry in batch if not entry[1].done()]
                if waiting:
                    await self._settle(waiting)
        finally:
            self._task = None

    async def _settle(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._run(lambda: self._work([item for item, _ in batch]))
        except (OperationalError, InterfaceError) as error:
            await self._wait_or_refuse(batch, error)
        except Exception as error:
            if len(batch) > 1:  # one of them is poison: the others must not suffer
                for entry in batch:
                    await self._settle([entry])
                return
            request_id, detail = secrets.token_hex(8), "Something broke on our side; quote the request_id."
            logger.exception("a batched item failed", exc_info=error, extra={"request_id": request_id})
            _resolve(batch[0][1], FrameError("internal_error", detail, close=INTERNAL, request_id=request_id))
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                if not _resolve(future, answer) and self._on_orphan and not isinstance(answer, FrameError):
                    self._on_orphan(answer)

    async def _wait_or_refuse(self, batch: list[tuple[Item, asyncio.Future[Answer]]], error: Exception) -> None:
        logger.warning("the database does not answer: %s", str(error).strip().splitlines()[0] if str(error) else error)
        if self._is_patient:
            self._queue.extendleft(reversed(batch))
            await asyncio.sleep(RETRY_SECONDS)
            return
        refusal = FrameError(
            "database_unavailable", "The database does not answer; reconnect.", close=OVERLOAD, retry_after_ms=2000
        )
        for _, future in batch:
            _resolve(future, refusal)


def _resolve(future: asyncio.Future[Answer], answer: Answer | FrameError) -> bool:
    """Settle `future`; False when its asker has given up."""
    if future.done():
        return False
    if isinstance(answer, FrameError):
        future.set_exception(answer)
    else:
        future.set_result(answer)
    return True
