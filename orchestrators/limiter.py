"""The frame budget and the strikes of one socket."""

import time

from orchestrators import protocol


class Limiter:
    """The frame budget and the strikes of one socket (PROTOCOL §3)."""

    __slots__ = ("_burst", "_rate", "_strikes", "_tokens", "_updated")

    def __init__(self, *, rate: float, burst: float) -> None:
        self._rate, self._burst, self._tokens = rate, burst, burst
        self._updated = time.monotonic()
        self._strikes: list[float] = []

    def take(self, now: float) -> bool:
        """Spend one frame at monotonic time `now`; False when there is none left."""
        tokens = self._tokens + (now - self._updated) * self._rate
        self._updated = now
        tokens = min(tokens, self._burst)
        if tokens < 1.0:
            self._tokens = tokens
            return False
        self._tokens = tokens - 1.0
        return True

    def strike(self, now: float) -> bool:
        """Count one error; True when it is one too many within the window."""
        oldest = now - protocol.STRIKE_WINDOW_SECONDS
        self._strikes = [*(moment for moment in self._strikes if moment > oldest), now]
        return len(self._strikes) >= protocol.MAX_STRIKES
