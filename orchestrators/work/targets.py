"""When a task is to be over: a time, or how long from now."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.utils.dateparse import parse_datetime

from moolai.errors import InvalidInput

LONGEST: Final = timedelta(days=365)
UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SPAN: Final = re.compile(r"([0-9]{1,9})([smhd])")


def parse(value: Any, *, now: datetime) -> datetime | None:
    """Return the moment of `2026-11-21T12:00:00Z`, of `4h` (s, m, h, d) or of whole seconds from now; None for none.

    Raises `invalid_field` for anything else, and for more than a year.
    """
    if value is None:
        return None
    found = _span(value, now) if not isinstance(value, str) or _SPAN.fullmatch(value) else _moment(value)
    if found is None or found > now + LONGEST:
        raise InvalidInput(fields={"sla_target": "Give a time in ISO 8601, a span such as 4h, or seconds from now."})
    return found


def _span(value: Any, now: datetime) -> datetime | None:
    if isinstance(value, str) and (match := _SPAN.fullmatch(value)):
        value = int(match[1]) * UNITS[match[2]]
    is_span = type(value) is int and 0 < value <= LONGEST.total_seconds()
    return now + timedelta(seconds=value) if is_span else None


def _moment(text: str) -> datetime | None:
    try:
        found = parse_datetime(text)
    except ValueError:
        return None
    if found is None or not 1970 <= found.year <= 9000:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
