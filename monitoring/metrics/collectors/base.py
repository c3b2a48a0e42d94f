"""What a collector is: a class with the columns it fills and a `read`; registering it is all there is to do."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, TypeVar

logger = logging.getLogger(__name__)
Values = Mapping[str, float | None]
MIN_SECONDS: Final = 0.1  # two readings of a counter closer than this say little
MAX_SECONDS: Final = 300.0  # a rate since longer ago than this is not how it is now


class Collector:
    """A source of columns. `read` returns values by column; what it leaves out, or None, is unknown here.

    Whatever it raises makes its columns null, is logged once, and fails nobody else.
    """

    columns: ClassVar[tuple[str, ...]] = ()

    def read(self) -> Values:
        """Read the source now."""
        raise NotImplementedError

    def is_warm(self, *, now: float) -> bool:
        """Whether `read` can tell everything; a rate cannot before its second reading. `now` is monotonic."""
        return True


class RateCollector(Collector):
    """A source of counters that only grow; its columns are their growth per second since the reading before."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the clock, in seconds that only grow."""
        self._clock = clock
        self._lock = threading.Lock()
        self._before: tuple[float, dict[str, float]] | None = None
        self._rates: dict[str, float | None] = {}

    def counters(self) -> dict[str, float]:
        """Return the counters now."""
        raise NotImplementedError

    def values(self, rates: dict[str, float | None], *, counters: dict[str, float]) -> Values:
        """Return the columns of these growths per second; None where a counter is new or was set back."""
        return rates

    def is_warm(self, *, now: float) -> bool:
        """Whether there is a reading that is not too old."""
        return self._before is not None and now - self._before[0] <= MAX_SECONDS

    def read(self) -> Values:
        """Read the counters and compare them with the reading before."""
        with self._lock:
            now, counters = self._clock(), dict(self.counters())
            if self._before is None or now - self._before[0] > MAX_SECONDS:
                self._rates = {}
            elif now - self._before[0] < MIN_SECONDS:
                return self.values(self._rates, counters=counters)
            else:
                self._rates = _growth(self._before, now, counters)
            self._before = (now, counters)
            return self.values(self._rates, counters=counters)


def _growth(before: tuple[float, dict[str, float]], now: float, counters: dict[str, float]) -> dict[str, float | None]:
    at, old = before
    found: dict[str, float | None] = {}
    for name, value in counters.items():
        grown = value - old[name] if name in old else -1.0
        found[name] = grown / (now - at) if grown >= 0 else None  # set back: a restart, a wrap, a device that went
    return found


Kind = TypeVar("Kind", bound=type[Collector])
_registered: list[Collector] = []
_failing: set[str] = set()


def register(kind: Kind) -> Kind:
    """Have an instance of the class take part in every collection of this process."""
    _registered.append(kind())
    return kind


def read_all() -> dict[str, float | None]:
    """Return the values of every registered collector by column; None where a source cannot tell."""
    found: dict[str, float | None] = {}
    for collector in _registered:
        values = _read(collector)
        found |= {name: values.get(name) for name in collector.columns}
    return found


def are_warm() -> bool:
    """Whether every collector can tell everything with one reading."""
    now = time.monotonic()
    return all(collector.is_warm(now=now) for collector in _registered)


def _read(collector: Collector) -> Values:
    name = type(collector).__name__
    try:
        values = collector.read()
    except Exception as error:
        if name not in _failing:
            logger.warning("the collector %s fails, its columns are null: %s", name, error)
        _failing.add(name)
        return {}
    _failing.discard(name)
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: Any) -> float | None:
    return None if value is None else float(value)
