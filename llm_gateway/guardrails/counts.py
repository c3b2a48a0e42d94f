"""Counts of the guardrails in this process, for whoever shows them. Pure."""

from collections import Counter
from threading import Lock
from typing import Final

SIDES: Final = ("request", "answer")
REDACTED, BLOCKED = "redacted", "blocked"
ACTIONS: Final = (REDACTED, BLOCKED)
_counts: Counter[tuple[str, str]] = Counter()
_lock = Lock()  # large texts are looked at in threads


def add(side: str, action: str, number: int = 1) -> None:
    """Count what was found on a side of calls, one of SIDES, and done with it, one of ACTIONS."""
    with _lock:
        _counts[side, action] += number


def figures() -> dict[tuple[str, str], int]:
    """Return {(side, action): number} since this process began: finds that were replaced, texts that did not pass."""
    return {(side, action): _counts[side, action] for side in SIDES for action in ACTIONS}
