"""Deadlines: all limits of time of one call, over one timer. As `asyncio.timeout`, which takes a timer for each."""

import asyncio
import math
from types import TracebackType
from typing import Final

EARLY_SECONDS: Final = 0.001  # a loop's clock may ring so much too soon


class Deadlines:
    """The limits that hold for the task that makes it; `close` ends it."""

    __slots__ = ("_limits", "_loop", "_rings_at", "_timer", "task")

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self._loop = asyncio.get_running_loop()
        self._limits: list[Limit] = []
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf

    def within(self, seconds: float) -> "Limit":
        """Return a block that raises TimeoutError when it takes longer; blocks may lie in each other."""
        return Limit(self, self._loop.time() + seconds)

    def close(self) -> None:
        """Let go of the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def enter(self, limit: "Limit") -> None:
        """Count a limit; the timer is left alone where it rings sooner anyway."""
        self._limits.append(limit)
        if limit.at < self._rings_at or self._timer is None:
            self._ring_at(limit.at)

    def leave(self, limit: "Limit") -> None:
        """Forget a limit."""
        self._limits.remove(limit)

    def _ring_at(self, at: float) -> None:
        self.close()
        self._rings_at = at
        self._timer = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer, now = None, self._loop.time() + EARLY_SECONDS
        for limit in self._limits:
            if limit.at <= now and not limit.is_over:
                limit.is_over = True
                self.task.cancel()
        rest = min((limit.at for limit in self._limits if not limit.is_over), default=math.inf)
        if rest < math.inf:
            self._ring_at(rest)


class Limit:
    """One block that must be over at `at` (the loop's clock)."""

    __slots__ = ("_cancelling", "_deadlines", "at", "is_over")

    def __init__(self, deadlines: Deadlines, at: float) -> None:
        self._deadlines, self.at, self.is_over = deadlines, at, False

    def lift(self) -> None:
        """Take the limit away for the rest of the block."""
        self.at = math.inf

    def __enter__(self) -> "Limit":
        self._cancelling = self._deadlines.task.cancelling()
        self._deadlines.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.leave(self)
        if self.is_over and self._deadlines.task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
