"""Rate limits: how many calls of a route a credential (or an address) may make in a window (API §2).

The counts are in Redis where there is one, so that web processes share them; while it does not answer, each process
counts for itself. A window begins with the first call in it and is over `window_seconds` later.
"""

import logging
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import redis
from django.conf import settings

logger = logging.getLogger(__name__)
UNITS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
TIMEOUT_SECONDS: Final = 0.25
PAUSE_SECONDS: Final = 5.0
MAX_WINDOWS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Rate:
    """`limit` calls in `window_seconds`."""

    limit: int
    window_seconds: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where a caller stands after a call: `used` includes it; the window ends in `reset_seconds`."""

    limit: int
    used: int
    reset_seconds: int

    @property
    def is_over(self) -> bool:
        """Whether the call is one too many."""
        return self.used > self.limit

    @property
    def remaining(self) -> int:
        """How many calls are left in the window."""
        return max(0, self.limit - self.used)


@lru_cache
def parse(text: str) -> Rate:
    """Return the rate written as `600/minute` (second, minute, hour, day); raises ValueError."""
    number, _, unit = text.partition("/")
    if not number.isascii() or not number.isdigit() or int(number) < 1 or unit not in UNITS:
        raise ValueError(f"{text!r} is no rate: write it as 600/minute (second, minute, hour or day).")
    return Rate(int(number), UNITS[unit])


def count(bucket: str, rate: Rate) -> Verdict:
    """Count one call in `bucket` and return where that leaves it."""
    if settings.REDIS_URL and time.monotonic() >= _redis.asleep_until:
        try:
            return _redis.count(bucket, rate)
        except (redis.RedisError, OSError, ValueError):  # redis-py's word for a socket that a timeout closed
            _redis.asleep_until = time.monotonic() + PAUSE_SECONDS
            logger.warning("Redis does not answer: each web process counts its own calls")
    return _memory.count(bucket, rate)


class _Memory:
    """Counts of this process: {bucket: [end of the window, calls]}."""

    def __init__(self) -> None:
        self.windows: dict[str, list[float]] = {}
        self.lock = threading.Lock()

    def count(self, bucket: str, rate: Rate) -> Verdict:
        now = time.monotonic()
        with self.lock:
            window = self.windows.get(bucket)
            if window is None or window[0] <= now:
                if len(self.windows) >= MAX_WINDOWS:
                    self._forget(now)
                window = self.windows[bucket] = [now + rate.window_seconds, 0]
            window[1] += 1
            return Verdict(rate.limit, int(window[1]), max(1, round(window[0] - now)))

    def _forget(self, now: float) -> None:
        self.windows = {bucket: window for bucket, window in self.windows.items() if window[0] > now}
        if len(self.windows) >= MAX_WINDOWS:  # somebody makes addresses up: begin anew rather than grow
            self.windows = {}


class _Redis:
    """Counts that all web processes share; one round trip each."""

    def __init__(self) -> None:
        self.asleep_until = 0.0
        self._clients: dict[str, Any] = {}

    def count(self, bucket: str, rate: Rate) -> Verdict:
        key = f"{settings.CHANNEL_PREFIX}.rate.{bucket}"
        with self._client().pipeline(transaction=True) as pipeline:
            pipeline.set(key, 0, ex=rate.window_seconds, nx=True)
            pipeline.incr(key)
            pipeline.pttl(key)
            _, used, left_ms = pipeline.execute()
        return Verdict(rate.limit, int(used), max(1, round(left_ms / 1000)))

    def _client(self) -> Any:
        if settings.REDIS_URL not in self._clients:
            limits = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS}
            self._clients[settings.REDIS_URL] = redis.Redis.from_url(settings.REDIS_URL, **limits)
        return self._clients[settings.REDIS_URL]


_memory, _redis = _Memory(), _Redis()
