"""Deadlines: all limits of time of all calls, over one timer. As `asyncio.timeout`, which takes a timer for each."""

import asyncio
import math
from types import TracebackType
from typing import Final

EARLY_SECONDS: Final = 0.001  # a loop's clock may ring so much too soon
REST_SECONDS: Final = 0.05  # between two rings: each looks at all limits, and 20,000 that end one by one are many looks


class Bell:
    """The timer of a loop: it rings when the first of all limits is over, or sooner, and then looks which are.

    Most calls have the same limits, so the one of a new call is hardly ever the next to ring, and takes no timer.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.limits: dict[Limit, None] = {}  # those of one task in the order in which they lie in each other
        self._rings_at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def ring_by(self, at: float) -> None:
        """See to it that it rings at `at` (the loop's clock) or sooner."""
        if at < self._rings_at:
            if self._timer is not None:
                self._timer.cancel()
            self._rings_at, self._timer = at, self.loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._rings_at, self._timer = math.inf, None
        now = self.loop.time() + EARLY_SECONDS
        for limit in self.limits:
            if limit.at <= now and not limit.is_over:
                limit.is_over = True
                limit.task.cancel()
        first = min((limit.at for limit in self.limits if not limit.is_over), default=math.inf)
        self.ring_by(max(first, now + REST_SECONDS))


_bell: Bell | None = None


def bell() -> Bell:
    """Return the running loop's bell."""
    global _bell
    loop = asyncio.get_running_loop()
    if _bell is None or _bell.loop is not loop:
        _bell = Bell(loop)
    return _bell


class Deadlines:
    """The limits that hold for the task that makes it."""

    __slots__ = ("_bell", "_task")

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._bell = task, bell()

    def within(self, seconds: float) -> "Limit":
        """Return a block that raises TimeoutError when it takes longer; blocks may lie in each other."""
        return Limit(self._bell, self._task, self._bell.loop.time() + seconds)


class Limit:
    """One block that must be over at `at` (the loop's clock)."""

    __slots__ = ("_bell", "_cancelling", "at", "is_over", "task")

    def __init__(self, bell: Bell, task: "asyncio.Task[object]", at: float) -> None:
        self._bell, self.task, self.at, self.is_over = bell, task, at, False

    def renew(self, seconds: float) -> None:
        """Let the rest of the block take so long from now."""
        self.at = self._bell.loop.time() + seconds
        self._bell.ring_by(self.at)

    def lift(self) -> None:
        """Take the limit away for the rest of the block."""
        self.at = math.inf

    def __enter__(self) -> "Limit":
        self._cancelling = self.task.cancelling()
        self._bell.limits[self] = None
        self._bell.ring_by(self.at)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._bell.limits[self]
        if self.is_over and self.task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
