"""A place in what the feed reads: what happened after it can be told again, by any process."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Every event up to `event` and every sample up to `sample` was told, and every change until `at_ms` (epoch)."""

    at_ms: int
    event: int
    sample: int


NOWHERE = Place(0, 0, 0)  # too old for anybody: who was told only half of a snapshot begins anew
