"""How long to wait before the next attempt (PROTOCOL §3). Pure arithmetic: no socket, no clock, no sleep."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

UNAUTHENTICATED, FORBIDDEN, SUPERSEDED = 4401, 4403, 4409
NORMAL, ABNORMAL, UNSUPPORTED, POLICY, OVERLOAD = 1000, 1006, 1003, 1008, 1013

PATIENT = frozenset({1002, UNSUPPORTED, 1007, POLICY, 1009, UNAUTHENTICATED, FORBIDDEN})
"""Closes that trying again soon cannot cure; 1002, 1007 and 1009 are as much our own fault as 1003 is."""

PATIENT_SECONDS, PATIENT_MAX_SECONDS = 60.0, 600.0
SUPERSEDED_SECONDS, SUSPENDED_SECONDS = 60.0, 300.0
RETRY_AFTER_MAX_SECONDS = 3600.0
GROWTH = 1.5
"""Slow enough that a fleet is back within about as long as the controller was away."""
STABLE_SECONDS = 10.0
"""A session that lasted this long starts the backoff anew; one refused at once does not."""
ACCEPTED_FAILURES = 2
"""A shorter one shows that the controller works: of the failures before it only so many still count."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Say how an attempt ended: close code, last fatal error code, the server's wish, and how long the session held."""

    code: int
    error: str | None = None
    retry_after_ms: float | None = None
    lasted_seconds: float = 0.0

    @property
    def is_suspended(self) -> bool:
        """Tell whether the organization is suspended."""
        return self.error == "organization_suspended"

    @property
    def is_refused(self) -> bool:
        """Tell whether the credential was refused; a suspended organization may come back with the same one."""
        return self.code in (UNAUTHENTICATED, FORBIDDEN) and not self.is_suspended

    @property
    def needs_credential(self) -> bool:
        """Tell whether a new credential may cure it, so that `set_credential` ends the wait."""
        return self.code in PATIENT or self.is_suspended

    def __str__(self) -> str:
        return f"{self.code} {self.error}" if self.error else str(self.code)


class Reconnect:
    """Turn the end of each attempt into seconds to wait. `random` returns floats in [0, 1)."""

    def __init__(self, *, random: Callable[[], float]) -> None:
        self._random = random
        self._min_seconds, self._max_seconds = 1.0, 30.0
        self._failures = 0
        self._refusals = 0

    def adopt(self, bounds: object) -> None:
        """Take `{"min_ms", "max_ms"}` from a handshake_ack; ignore what makes no sense."""
        if not isinstance(bounds, Mapping):
            return
        low, high = milliseconds(bounds.get("min_ms")), milliseconds(bounds.get("max_ms"))
        if low and high and low <= high:
            self._min_seconds, self._max_seconds = low / 1000, high / 1000

    def forgive(self) -> None:
        """Forget earlier failures: the credential changed, or the last session was stable."""
        self._failures = self._refusals = 0

    def delay(self, ended: Ended) -> float:
        """Return the seconds to wait after `ended`; the server's `retry_after_ms` is a minimum."""
        if ended.lasted_seconds >= STABLE_SECONDS:
            self.forgive()
        elif ended.lasted_seconds > 0:
            self._failures = min(self._failures, ACCEPTED_FAILURES)
        seconds = self._own_delay(ended)
        if ended.retry_after_ms is None:
            return seconds
        spread = self._random() * self._min_seconds
        return max(seconds, min(ended.retry_after_ms / 1000, RETRY_AFTER_MAX_SECONDS) + spread)

    def _own_delay(self, ended: Ended) -> float:
        if ended.is_suspended:
            return SUSPENDED_SECONDS
        if ended.code in PATIENT:
            self._refusals += 1
            return float(min(PATIENT_SECONDS * 2 ** min(self._refusals - 1, 10), PATIENT_MAX_SECONDS))
        if ended.code == SUPERSEDED:
            return SUPERSEDED_SECONDS + self._random() * self._max_seconds
        self._failures += 1
        cap: float = min(self._min_seconds * 2 * GROWTH ** min(self._failures - 1, 50), self._max_seconds)
        return self._min_seconds + self._random() * (cap - self._min_seconds)


CODES = {
    "unauthenticated": UNAUTHENTICATED,
    "token_expired": UNAUTHENTICATED,
    "superseded": SUPERSEDED,
    "database_unavailable": OVERLOAD,
    "overloaded": OVERLOAD,
    "duplicate_instance": OVERLOAD,
    "internal_error": 1011,
    "server_shutdown": 1012,
    "register_timeout": 4408,
}


def refused(error: object, *, close_code: int, retry_after_ms: float | None) -> Ended:
    """Return the end of an attempt whose `register` was refused; the error speaks where the close code is lost."""
    name = error if isinstance(error, str) else None
    if close_code in (NORMAL, 1005, ABNORMAL):
        close_code = CODES.get(name or "", FORBIDDEN if retry_after_ms is None else OVERLOAD)
    return Ended(close_code, name, retry_after_ms)


def rejected(status: int, retry_after: str | None) -> Ended:
    """Return the end of an attempt that an HTTP status answered instead of an upgrade."""
    codes = {401: UNAUTHENTICATED, 403: FORBIDDEN, 408: OVERLOAD, 425: OVERLOAD, 429: OVERLOAD}
    code = codes.get(status, OVERLOAD if status >= 500 else POLICY)
    wish = float(retry_after) * 1000 if retry_after is not None and retry_after.isdecimal() else None
    return Ended(code, f"http_{status}", wish)


def milliseconds(value: Any) -> float | None:
    """Return a wire value as milliseconds, or None when it is not a finite number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        return None
    return float(value)
