"""One thing after the other: the order in which what came down is handled. Knows nothing of frames."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

Job = Callable[[], Awaitable[None]]


class Lane:
    """Run jobs one at a time, in order of arrival; a task exists only while there is something to do."""

    def __init__(self, *, log: logging.LoggerAdapter[logging.Logger], limit: int = 256) -> None:
        self._jobs: deque[Job] = deque()
        self._limit = limit
        self._worker: asyncio.Task[None] | None = None
        self._log = log

    def submit(self, job: Job) -> bool:
        """Append a job; return False when the lane is full, for the caller to let the sender repeat itself."""
        if len(self._jobs) >= self._limit:
            return False
        self._jobs.append(job)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return True

    async def settle(self, timeout_seconds: float) -> None:
        """Wait until everything is done, at most `timeout_seconds`; at once when called by a job of this lane."""
        if self._worker is not None and self._worker is not asyncio.current_task():
            await asyncio.wait({self._worker}, timeout=timeout_seconds)

    def close(self) -> None:
        """Drop what waits and cancel what runs."""
        self._jobs.clear()
        if self._worker is not None:
            self._worker.cancel()

    async def _work(self) -> None:
        try:
            while self._jobs:
                try:
                    await self._jobs.popleft()()
                except Exception:
                    self._log.exception("a job of the inbox failed")
        finally:
            self._worker = None
