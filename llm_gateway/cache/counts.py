"""Counts of the cache in this process, for whoever shows them. Pure."""

from collections import Counter
from typing import Final

NAMES: Final = ("hits", "shared_hits", "misses", "stored", "evicted", "entries", "bytes", "saved_usd_micros")
_counts: Counter[str] = Counter()


def add(name: str, number: int = 1) -> None:
    """Add to one of NAMES; `entries` and `bytes` also go down."""
    _counts[name] += number


def figures() -> dict[str, int]:
    """Return what this process's cache did since it began, and what it holds now (`entries`, `bytes`).

    `hits` holds `shared_hits`, which came from Redis; `saved_usd_micros` is what the answers had cost.
    """
    return {name: _counts[name] for name in NAMES}
