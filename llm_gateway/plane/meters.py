"""Meters: the headers that tell a caller how much of its limits per minute is left.

Ours (`X-RateLimit-Limit`, `-Remaining`, `-Reset` in seconds since 1970) are of the limit that is nearest to its end,
OpenAI's (`x-ratelimit-limit-requests`, …, `-reset-requests` as `12s`) of requests and tokens each. What other processes
hold counts as used.
"""

import math
import time
from collections.abc import Iterable
from typing import Final

from llm_gateway.money.slices import Slice
from llm_gateway.plane.exchange import Headers

NAMES: Final = {
    suffix: tuple(f"x-ratelimit-{name}{suffix}".encode() for name in ("limit", "remaining", "reset"))
    for suffix in ("", "-requests", "-tokens")
}


def headers(slices: Iterable[Slice]) -> Headers:
    """Return the headers for the slices of limits per minute that a call took from; none without such a limit."""
    nearest: dict[str, tuple[int, Slice]] = {}
    for part in slices:
        remaining = max(0, part.left + part.free)
        known = nearest.get(part.unit)
        if known is None or remaining < known[0]:
            nearest[part.unit] = remaining, part
    if not nearest:
        return []
    remaining, first = min(nearest.values(), key=lambda one: one[0] / one[1].limit)
    told = _told(first, remaining, "", b"%d" % math.ceil(first.end_at))
    seconds = b"%ds" % max(0, math.ceil(first.end_at - time.time()))
    for unit, (remaining, part) in nearest.items():
        told += _told(part, remaining, f"-{unit}", seconds)
    return told


def _told(part: Slice, left: int, suffix: str, reset: bytes) -> Headers:
    limit, remaining, until = NAMES[suffix]
    return [(limit, b"%d" % part.limit), (remaining, b"%d" % left), (until, reset)]
