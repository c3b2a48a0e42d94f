"""Counts: what this process says of its calls since it began, for a scrape. Additions on the loop, nothing else. Pure.

Labels are bounded: providers of organizations are one (`organization`), models are those that answered a common
provider's call, MAX_MODELS of them, and `other`.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

BOUNDS_SECONDS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
)  # fmt: skip
MAX_MODELS: Final = 200
OTHER: Final = "other"
OWN: Final = "organization"
ANSWERED, REFUSED, BROKEN, STOPPED = "answered", "refused", "failed", "interrupted"
RESULTS: Final = (ANSWERED, REFUSED, BROKEN, STOPPED)
REASONS: Final = ("budget", "requests", "tokens", "parallel")


class Histogram:
    """How many values lie up to each of BOUNDS_SECONDS, and their sum."""

    __slots__ = ("places", "sum_seconds")

    def __init__(self) -> None:
        self.places = [0] * (len(BOUNDS_SECONDS) + 1)
        self.sum_seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count a value."""
        self.places[bisect_left(BOUNDS_SECONDS, seconds)] += 1
        self.sum_seconds += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        """Return (upper bound, how many are not above it), as Prometheus has it."""
        found, below = [], 0
        for bound, count in zip((*BOUNDS_SECONDS, "+Inf"), list(self.places), strict=True):
            below += count
            found.append((str(bound), float(below)))
        return found


@dataclass(slots=True)
class OfModel:
    """What a provider's model was used for."""

    calls: Counter[str] = field(default_factory=Counter)  # by status
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd_micros: int = 0


@dataclass(slots=True)
class OfProvider:
    """How a provider answers: each request to it, and the calls that it ended."""

    attempts: Counter[str] = field(default_factory=Counter)  # by result
    retries: int = 0
    duration: Histogram = field(default_factory=Histogram)
    first_token: Histogram = field(default_factory=Histogram)


class Counts:
    """All counts of a process; written on the event loop, read from any thread."""

    def __init__(self) -> None:
        self.models: dict[tuple[str, str], OfModel] = {}
        self.providers: dict[str, OfProvider] = {}
        self.refusals: Counter[str] = Counter()
        self.in_flight = 0

    def model(self, provider: str, model: str, *, is_proven: bool) -> OfModel:
        """Return a model's counts; a new name counts as `other` until it answered, and where there are too many."""
        found = self.models.get((provider, model))
        if found is None:
            if provider == OWN or not is_proven or len(self.models) >= MAX_MODELS:
                model = OTHER
            found = self.models.setdefault((provider, model), OfModel())
        return found

    def provider(self, name: str) -> OfProvider:
        """Return a provider's counts."""
        found = self.providers.get(name)
        return found if found is not None else self.providers.setdefault(name, OfProvider())


def result(error: str, http_status: int | None) -> str:
    """Return how a request to a provider ended, in one of RESULTS."""
    if not error:
        return ANSWERED
    if error == STOPPED:
        return STOPPED
    return REFUSED if http_status is not None and 400 <= http_status < 500 and http_status not in (408, 429) else BROKEN


COUNTS: Final = Counts()
