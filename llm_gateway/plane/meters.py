"""Meters: the headers that tell a caller how much of its limits per minute is left.

Ours (`X-RateLimit-Limit`, `-Remaining`, `-Reset` in seconds since 1970) are of the limit that is nearest to its end,
OpenAI's (`x-ratelimit-limit-requests`, …, `-reset-requests` as `12s`) of requests and tokens each. What other processes
hold counts as used.
"""

import math
import time
from collections.abc import Iterable

from llm_gateway.money.slices import Slice
from llm_gateway.plane.exchange import Headers


def headers(slices: Iterable[Slice]) -> Headers:
    """Return the headers for the slices of limits per minute that a call took from; none without such a limit."""
    nearest: dict[str, Slice] = {}
    for part in slices:
        known = nearest.get(part.unit)
        if known is None or _remaining(part) < _remaining(known):
            nearest[part.unit] = part
    if not nearest:
        return []
    first = min(nearest.values(), key=lambda part: _remaining(part) / part.limit)
    told = _told(first, "", str(math.ceil(first.end_at)))
    seconds = f"{max(0, math.ceil(first.end_at - time.time()))}s"
    for unit, part in nearest.items():
        told += _told(part, f"-{unit}", seconds)
    return told


def _told(part: Slice, suffix: str, reset: str) -> Headers:
    found = {"limit": str(part.limit), "remaining": str(_remaining(part)), "reset": reset}
    return [(f"x-ratelimit-{name}{suffix}".encode(), text.encode()) for name, text in found.items()]


def _remaining(part: Slice) -> int:
    return max(0, part.left + part.free)
