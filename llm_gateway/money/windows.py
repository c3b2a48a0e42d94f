"""Windows of time that limits hold for, in seconds since 1970 (UTC); pure arithmetic."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

MINUTE: Final = 60
DAY: Final = 86_400
FOREVER: Final = 253_402_300_800.0  # the year 10000: the end of what does not end
_MONDAY: Final = 4 * DAY  # 1970-01-05 was the first Monday


class Window(StrEnum):
    """How long a limit is counted before it begins anew; weeks begin on Monday (ISO 8601)."""

    MINUTE = "minute"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


BUDGETS: Final = (Window.DAY, Window.WEEK, Window.MONTH, Window.TOTAL)


def start(window: str, now: float) -> int:
    """Return when the window that holds at `now` began."""
    moment = int(now)
    match window:
        case Window.MINUTE:
            return moment - moment % MINUTE
        case Window.DAY:
            return moment - moment % DAY
        case Window.WEEK:
            return moment - (moment - _MONDAY) % (7 * DAY)
        case Window.MONTH:
            at = datetime.fromtimestamp(moment, UTC)
            return int(datetime(at.year, at.month, 1, tzinfo=UTC).timestamp())
    return 0


def end(window: str, now: float) -> float:
    """Return when the window that holds at `now` ends: the first moment of the next one; FOREVER for `total`."""
    began = start(window, now)
    match window:
        case Window.MINUTE:
            return began + MINUTE
        case Window.DAY:
            return began + DAY
        case Window.WEEK:
            return began + 7 * DAY
        case Window.MONTH:
            later = datetime.fromtimestamp(began, UTC) + timedelta(days=32)
            return datetime(later.year, later.month, 1, tzinfo=UTC).timestamp()
    return FOREVER
