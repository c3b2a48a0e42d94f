"""Seats: how many subscribers a process takes, in all and of one caller; taken in threads, given back on the loop."""

import threading
from collections import Counter

from django.conf import settings

from moolai.errors import AppError
from orgs import counters

RETRY_SECONDS = 5


class Seats:
    """Counts open streams by caller."""

    def __init__(self) -> None:
        self.is_closed = False  # while the process ends
        self._taken: Counter[str] = Counter()
        self._total = 0
        self._lock = threading.Lock()

    def take(self, caller_id: str) -> None:
        """Count one more; raises `rate_limited` for a caller who has enough, `overloaded` when there is no room."""
        with self._lock:
            if self._taken[caller_id] >= settings.STREAMS_PER_CALLER:
                counters.add("rate_limit.hit", caller_id)
                detail = f"At most {settings.STREAMS_PER_CALLER} streams at a time; close one of yours."
                problem = AppError("rate_limited", detail)
                problem.retry_after_seconds = RETRY_SECONDS
                raise problem
            if self.is_closed or self._total >= settings.STREAMS_MAX:
                raise AppError("overloaded", "No more streams here now; try again in a few seconds.")
            self._taken[caller_id] += 1
            self._total += 1

    def give_back(self, caller_id: str) -> None:
        """Count one less."""
        with self._lock:
            self._total -= 1
            self._taken[caller_id] -= 1
            if not self._taken[caller_id]:
                del self._taken[caller_id]


SEATS = Seats()
