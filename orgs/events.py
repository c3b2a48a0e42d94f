"""Events and wake-ups: a committed row says what happened, a wake-up only makes readers look sooner.

Readers keep a cursor (see `Cursor`); a lost wake-up costs them at most their own tick of one second.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from orgs.models import Event

GAP_SECONDS: Final = 60.0
MAX_GAPS: Final = 1000
GAPS_AT_START: Final = 100
_listeners: list[Callable[[], None]] = []


def on_wake(listener: Callable[[], None]) -> None:
    """Call `listener`, from any thread, after each transaction that recorded an event in this process."""
    _listeners.append(listener)


def wake() -> None:
    """Tell this process's listeners to look at the events now."""
    for listener in _listeners:
        listener()


def record(
    kind: str, *, organization_id: str = "", orchestrator_id: str = "", data: Mapping[str, Any] | None = None
) -> None:
    """Write one event in the running transaction, and wake readers up once it is committed."""
    record_many(
        [Event(kind=kind, organization_id=organization_id, orchestrator_id=orchestrator_id, data=dict(data or {}))]
    )


def record_many(rows: Iterable[Event]) -> None:
    """Write several events in one statement, and wake readers up once they are committed."""
    now, rows = timezone.now(), list(rows)
    for row in rows:
        row.created_at = now
    if rows:
        Event.objects.bulk_create(rows)
        transaction.on_commit(wake)


class Cursor:
    """A reader's place among the events: each row is returned once, also one that was committed out of order.

    Ids are given before the commit, so a row may appear below the newest one read; such gaps are asked for again
    until they are GAP_SECONDS old (then they were rolled back).
    """

    def __init__(self) -> None:
        self.is_behind = False  # whether the last read was a full page: more is waiting
        recent = list(Event.objects.order_by("-id").values_list("id", flat=True)[:GAPS_AT_START])
        self._last = recent[0] if recent else 0
        missing = set(range(max(1, self._last - GAPS_AT_START), self._last)) - set(recent)
        self._gaps: dict[int, float] = dict.fromkeys(missing, time.monotonic() + GAP_SECONDS)

    def place(self) -> tuple[int, dict[int, float]]:
        """Return where the cursor is, for `go_back`."""
        return self._last, dict(self._gaps)

    def go_back(self, place: tuple[int, dict[int, float]]) -> None:
        """Read again from `place`: what was read since could not be acted upon."""
        self._last, self._gaps = place

    def read(self, *, limit: int = 1000) -> list[Event]:
        """Return the events since the last read, oldest first: one indexed SELECT."""
        condition = Q(id__gt=self._last)
        if self._gaps:
            condition |= Q(id__in=list(self._gaps))
        rows = list(Event.objects.filter(condition).order_by("id")[:limit])
        self.is_behind = len(rows) >= limit
        now = time.monotonic()
        for row in rows:
            self._gaps.pop(row.id, None)
            if row.id > self._last:
                first = max(self._last + 1, row.id - MAX_GAPS)
                self._gaps.update(dict.fromkeys(range(first, row.id), now + GAP_SECONDS))
                self._last = row.id
        self._gaps = {missing: until for missing, until in self._gaps.items() if until > now}
        return rows
