"""Events and wake-ups: a committed row says what happened, a wake-up only makes readers look sooner.

Readers keep a cursor (see `Cursor`); a lost wake-up costs them at most their own tick of one second.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from orgs.gaps import Gap, Gaps
from orgs.models import Event

logger = logging.getLogger(__name__)
# PostgreSQL ends a statement of ours after 30 s and a transaction that does nothing for 60 s (moolai/environment.py);
# events are among the last statements of theirs. No transaction lives so long after it has recorded one.
GAP_SECONDS: Final = 600.0
MAX_GAPS: Final = 10_000  # 2 parameters each stay below SQLite's 32,766; 2 MB
GAPS_AT_START: Final = 1000
_NEWER: Final = 'SELECT "events".* FROM "events" WHERE id > %s'
_SINGLE: Final = ' UNION ALL SELECT "events".* FROM "events" WHERE id IN ({})'  # most gaps; planned better than a join
_RANGES: Final = """
UNION ALL SELECT "events".* FROM (VALUES {}) AS gap JOIN "events" ON id BETWEEN gap.column1 AND gap.column2
"""
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

    Ids are given before the commit, so rows may appear below the newest one read. Such gaps are kept as ranges and
    asked for again until they are GAP_SECONDS old (then they were rolled back). With MAX_GAPS of them the cursor goes
    no further before some are closed or given up: an event may be late, and is never lost.
    """

    def __init__(self) -> None:
        self.is_behind = False  # whether the last read was a full page: more is waiting
        self.is_waiting = False  # whether it stopped because there are too many gaps
        recent = list(Event.objects.order_by("-id").values_list("id", flat=True)[:GAPS_AT_START])
        self._last = recent[0] if recent else 0
        below = [] if len(recent) == GAPS_AT_START else [0]  # nothing is known of what lies under a full page
        until = time.monotonic() + GAP_SECONDS
        pairs = pairwise(reversed([*recent, *below]))
        self._gaps = Gaps([Gap(a + 1, b - 1, until) for a, b in pairs if a + 1 < b][-MAX_GAPS:], most=MAX_GAPS)

    def saved(self) -> dict[str, Any]:
        """Return the place as JSON, for `restored` in another process: {"last", "gaps": [[first, last, until], …]}.

        `until` is in seconds since 1970 there.
        """
        shift = time.time() - time.monotonic()
        return {"last": self._last, "gaps": [[gap.first, gap.last, round(gap.until + shift, 3)] for gap in self._gaps]}

    @classmethod
    def restored(cls, saved: Mapping[str, Any]) -> "Cursor":
        """Return a cursor at a place out of `saved`; gaps that are overdue meanwhile are asked for once more."""
        shift = time.time() - time.monotonic()
        cursor = cls.__new__(cls)
        cursor.is_behind = cursor.is_waiting = False
        cursor._last = int(saved["last"])
        cursor._gaps = Gaps([Gap(first, last, until - shift) for first, last, until in saved["gaps"]], most=MAX_GAPS)
        return cursor

    @property
    def missing(self) -> int:
        """How many ranges of ids below the newest one read have not appeared yet."""
        return len(self._gaps)

    @property
    def floor(self) -> int:
        """The id up to which everything was read: nothing at or below it can still appear."""
        return next((gap.first - 1 for gap in self._gaps), self._last)

    def place(self) -> tuple[int, Gaps]:
        """Return where the cursor is, for `go_back`."""
        return self._last, self._gaps

    def go_back(self, place: tuple[int, Gaps]) -> None:
        """Read again from `place`: what was read since could not be acted upon."""
        self._last, self._gaps = place

    def read(self, *, limit: int = 1000) -> list[Event]:
        """Return the events since the last read, oldest first: one indexed SELECT."""
        asked_at = time.monotonic()
        rows = self._ask(limit)
        self.is_behind, was_waiting, self.is_waiting = len(rows) >= limit, self.is_waiting, False
        below = rows[-1].id + 1 if self.is_behind else float("inf")
        self._gaps, now = self._gaps.copy(), time.monotonic()
        for index, row in enumerate(rows):
            if not self._pass(row.id, now=now, asked_at=asked_at):
                rows, below, self.is_behind, self.is_waiting = rows[:index], row.id, False, True
                break
        if self.is_waiting and not was_waiting:
            logger.warning("%d gaps among the events: newer ones wait until some are closed", self.missing)
        self._gaps.give_up(asked_at=asked_at, below=below)
        return rows

    def _ask(self, limit: int) -> list[Event]:
        statement, values = _NEWER, [self._last]
        if single := [gap.first for gap in self._gaps if gap.first == gap.last]:
            statement += _SINGLE.format(",".join(["%s"] * len(single)))
            values += single
        if ranges := [gap for gap in self._gaps if gap.first < gap.last]:
            statement += _RANGES.format(",".join(["(%s, %s)"] * len(ranges)))
            values += [bound for gap in ranges for bound in (gap.first, gap.last)]
        return list(Event.objects.raw(statement + " ORDER BY id LIMIT %s", [*values, limit]))

    def _pass(self, pk: int, *, now: float, asked_at: float) -> bool:
        """Note that the event `pk` was read; False when that would leave more than MAX_GAPS."""
        if pk <= self._last:
            return self._gaps.close(pk, asked_at=asked_at)
        if not self._gaps.open(self._last + 1, pk - 1, until=now + GAP_SECONDS):
            return False
        self._last = pk
        return True
