"""Circuit breakers: a provider's model that keeps failing is left alone for a while, then tried by one call. Pure."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

FAILURES: Final = 5  # in a row
OPEN_SECONDS: Final = 5.0
MAX_OPEN_SECONDS: Final = 60.0
PROBE_SECONDS: Final = 30.0  # a probe that says nothing for so long is no probe any more
FORGET_SECONDS: Final = 60.0  # failures further apart than that are not "in a row"
MAX_BREAKERS: Final = 10_000
Key = tuple[str, str]  # the provider's key and the model


@dataclass(slots=True)
class Breaker:
    """What is known of one provider and model: only those that failed lately have one."""

    failures: int = 0
    failed_at: float = 0.0
    openings: int = 0
    opens_until: float = 0.0
    probe_until: float = 0.0


class Breakers:
    """The breakers of one process; `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._all: dict[Key, Breaker] = {}

    def is_open(self, key: Key) -> bool:
        """Whether calls are to go elsewhere; false also when a probe is due."""
        breaker = self._all.get(key)
        if breaker is None or not breaker.openings:
            return False
        return self.clock() < max(breaker.opens_until, breaker.probe_until)

    def enter(self, key: Key) -> bool:
        """Take the right to call; false while the breaker is open, and for all but one once it is half-open."""
        if self.is_open(key):
            return False
        breaker = self._all.get(key)
        if breaker is not None and breaker.openings:
            breaker.probe_until = self.clock() + PROBE_SECONDS
        return True

    def succeed(self, key: Key) -> None:
        """Note an answer: the breaker is closed."""
        self._all.pop(key, None)

    def leave(self, key: Key) -> None:
        """Note that a call ended without saying anything of the provider, as when its caller left."""
        breaker = self._all.get(key)
        if breaker is not None:
            breaker.probe_until = 0.0

    def fail(self, key: Key) -> None:
        """Note a failure; after FAILURES in a row, or a failed probe, the breaker opens, each time for longer."""
        now = self.clock()
        if key not in self._all and len(self._all) >= MAX_BREAKERS:
            del self._all[next(iter(self._all))]
        breaker = self._all.setdefault(key, Breaker())
        if now - breaker.failed_at > FORGET_SECONDS and not breaker.openings:
            breaker.failures = 0
        breaker.failures += 1
        breaker.failed_at = now
        if breaker.failures >= FAILURES or breaker.openings:
            breaker.opens_until = now + min(MAX_OPEN_SECONDS, OPEN_SECONDS * 2**breaker.openings)
            breaker.openings = min(breaker.openings + 1, 10)
            breaker.probe_until = 0.0

    def seconds_left(self, key: Key) -> float:
        """Return how long the breaker stays open."""
        breaker = self._all.get(key)
        return max(0.0, breaker.opens_until - self.clock()) if breaker is not None else 0.0

    def state(self, key: Key) -> str:
        """Return `closed`, `open` or `half_open`."""
        breaker = self._all.get(key)
        if breaker is None or not breaker.openings:
            return "closed"
        return "open" if self.clock() < breaker.opens_until else "half_open"

    def all_states(self) -> list[tuple[Key, str]]:
        """Return every breaker that is not closed, and how it is; safe in any thread."""
        return [(key, state) for key in list(self._all) if (state := self.state(key)) != "closed"]

    def states(self, source_key: str) -> dict[str, str]:
        """Return the models of a provider whose breaker is not closed, and how it is."""
        found = {key[1]: self.state(key) for key in list(self._all) if key[0] == source_key}
        return {model: state for model, state in found.items() if state != "closed"}
