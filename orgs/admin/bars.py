"""Bars: what took how long, side by side on one line of time (drawn by `templates/console/time.html`)."""

from dataclasses import dataclass
from typing import Final

LEAST_PERCENT: Final = 0.6  # a bar that is shorter than that is not seen
LAST_PERCENT: Final = 99.6  # a mark that is further right is not seen


@dataclass(frozen=True, slots=True)
class Bar:
    """One stretch of time; `left`, `width` and `mark` (None: there is none) are percent of the whole line."""

    label: str
    note: str
    tone: str
    text: str
    left: str
    width: str
    mark: str | None = None


def draw(
    label: str,
    note: str,
    *,
    tone: str,
    text: str,
    start: float,
    length: float,
    whole: float,
    mark: float | None = None,
) -> Bar:
    """Return a stretch as a bar; times are counted from the line's begin, in any one unit, and `whole` is above 0."""
    left = min(100 - LEAST_PERCENT, start / whole * 100)
    width = max(LEAST_PERCENT, min(100 - left, length / whole * 100))
    at = f"{min(LAST_PERCENT, mark / whole * 100):.2f}" if mark is not None else None
    return Bar(label, note, tone, text, f"{left:.2f}", f"{width:.2f}", at)
