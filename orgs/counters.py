"""Counters: refusals are counted in memory, and written once a second in one statement; no query per request.

The hub's clock writes them. What a killed process had not written is lost: at most a second's worth of refusals.
"""

import threading
from collections import Counter as Tally
from datetime import datetime, timedelta
from typing import Final

from django.db import DatabaseError, InterfaceError, connection
from django.db.models import Sum
from django.utils import timezone

from orgs.models import Counter

OTHERS: Final = "others"
MAX_SUBJECTS: Final = 500  # per name between two writes; further ones are counted together
KEPT: Final = timedelta(days=2)
_ADD: Final = """
INSERT INTO counters (name, subject, minute, number) VALUES {rows}
ON CONFLICT (name, subject, minute) DO UPDATE SET number = counters.number + excluded.number
"""
_lock: Final = threading.Lock()
_pending: Tally[tuple[str, str]] = Tally()


def add(name: str, subject: str = "") -> None:
    """Count one more; callable from any thread and from the event loop."""
    key = (name, subject[:120])
    with _lock:
        if key not in _pending and len(_pending) >= MAX_SUBJECTS:
            key = (name, OTHERS)
        _pending[key] += 1


def is_pending() -> bool:
    """Whether there is anything to write."""
    return bool(_pending)


def flush(*, now: datetime | None = None) -> int:
    """Write what was counted, in one statement; return how many rows that were. It is kept when that fails."""
    with _lock:
        taken = dict(_pending)
        _pending.clear()
    if not taken:
        return 0
    minute = (now or timezone.now()).replace(second=0, microsecond=0)
    moment = connection.ops.adapt_datetimefield_value(minute)
    values = [part for (name, subject), number in sorted(taken.items()) for part in (name, subject, moment, number)]
    try:
        with connection.cursor() as cursor:
            cursor.execute(_ADD.format(rows=",".join(["(%s, %s, %s, %s)"] * len(taken))), values)
    except (DatabaseError, InterfaceError):
        with _lock:
            _pending.update(taken)
        raise
    return len(taken)


def by_subject(name: str, *, seconds: float, now: datetime) -> dict[str, int]:
    """Return how often `name` was counted in the last `seconds`, to the minute, by subject."""
    rows = Counter.objects.filter(name=name, minute__gt=now - timedelta(seconds=seconds)).order_by()
    return dict(rows.values_list("subject").annotate(total=Sum("number")))
