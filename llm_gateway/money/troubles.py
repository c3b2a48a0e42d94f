"""Troubles: what goes wrong each second is told when it begins, once a minute while it lasts, and when it is over."""

import logging
from typing import Final

from orchestrators import database

logger = logging.getLogger(__name__)
EVERY_SECONDS: Final = 60.0


class Trouble:
    """What keeps one repeated piece of work from being done, for the log.

    Errors of the `expected` kinds are `waits` with their reason; others are `fails`, with a traceback each kind.
    """

    def __init__(self, *, expected: tuple[type[Exception], ...], waits: str, fails: str, over: str) -> None:
        self.expected, self.waits, self.fails, self.over = expected, waits, fails, over
        self._kinds: set[str] = set()
        self._told_at = 0.0

    def meet(self, error: Exception, *, now: float) -> None:
        """Tell of an error, where that is new or was not told for a minute; `now` is of a clock in seconds."""
        is_expected = isinstance(error, self.expected)
        kind = "" if is_expected else type(error).__name__
        is_new = kind not in self._kinds
        if not is_new and now - self._told_at < EVERY_SECONDS:
            return
        self._kinds.add(kind)
        self._told_at = now
        if is_expected:
            logger.warning("%s: %s", self.waits, database.reason(error))
        elif is_new:
            logger.error("%s", self.fails, exc_info=error)
        else:
            logger.error("%s, still: %s", self.fails, kind)

    def end(self) -> None:
        """Tell that the work was done again, if it was not before."""
        if self._kinds:
            self._kinds.clear()
            logger.info("%s", self.over)
