"""Leases: a process takes a slice of a window from its row and spends only that; what it does not need goes back.

Everything here is one short transaction that locks windows in one order, so that processes never wait in a circle.
`spent + leased` of a window never grows beyond its limit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.db import OperationalError, transaction
from django.db.models import F, Q

from llm_gateway.models import BudgetLease, BudgetWindow
from llm_gateway.money import rows
from llm_gateway.money.slices import Name

HUNGRY_SECONDS: Final = 5.0  # so long others give back what they do not need after somebody got too little
SHARE: Final = 8  # a slice is at most this part of what is left, and so many times what is needed now
SLICES: Final = {"usd_micros": 1024, "requests": 1024, "tokens": 1024, "calls": 8}
CHUNK: Final = 100  # names in one condition: SQLite's expressions have a depth
_LOCK: Final = """
SELECT id FROM budget_windows
WHERE (subject, unit, "window", start_at) IN (SELECT subject, unit, span, start_at FROM given) ORDER BY id {lock}
"""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a process wants of one window: `need` now and at best more, and what it gives `back`.

    `granted` is what it believes to hold in all: where the row says otherwise, an earlier answer was lost on its way,
    and what it gives back went back then.
    """

    organization_id: str
    name: Name
    end_at: int
    limit: int
    need: int = 0
    back: int = 0
    granted: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """What a process holds of a window: the id of its lease, what was granted to it in all `before` and now.

    `is_short` when it got less than it needed; `is_wanted` when somebody did within the last seconds; `left` is what no
    process holds.
    """

    lease: int
    before: int
    granted: int
    is_short: bool
    is_wanted: bool
    left: int = 0


def exchange(asks: Sequence[Ask], *, holder: str, now: float) -> dict[Name, Grant]:
    """Give back and take, all in one transaction; return what the process holds of each window afterwards."""
    names = {ask.name for ask in asks}
    found = _exchange(asks, names, holder, now)
    if found is None:
        _make_missing(asks)
        found = _exchange(asks, names, holder, now)
    if found is None:
        raise OperationalError("A window was deleted meanwhile.")
    return found


def _exchange(asks: Sequence[Ask], names: set[Name], holder: str, now: float) -> dict[Name, Grant] | None:
    """Do it in one transaction; None where a window's row is missing."""
    with transaction.atomic():
        windows = locked(names)
        if len(windows) < len(names):
            return None
        leases = _leases(windows.values(), holder)
        moment = datetime.fromtimestamp(now, UTC)
        found = {ask.name: _serve(ask, windows[ask.name], leases[windows[ask.name].pk], moment) for ask in asks}
        BudgetWindow.objects.bulk_update(windows.values(), ["leased", "hungry_at"])
        BudgetLease.objects.bulk_update(leases.values(), ["granted"])
        return found


def _make_missing(asks: Iterable[Ask]) -> None:
    """Make the rows of windows that are not there yet, in a transaction of its own: nothing is locked meanwhile."""
    wanted = {ask.name: ask for ask in asks}
    there = set(map(name_of, _found(wanted)))
    missing = [row_of(wanted[name]) for name in sorted(wanted.keys() - there)]
    if missing:
        BudgetWindow.objects.bulk_create(missing, ignore_conflicts=True)


def row_of(ask: Ask) -> BudgetWindow:
    """Return a new, empty window."""
    subject, unit, window, start_at = ask.name
    return BudgetWindow(
        organization_id=ask.organization_id,
        subject=subject,
        unit=unit,
        window=window,
        start_at=start_at,
        end_at=ask.end_at,
    )


def lock(names: Iterable[Name]) -> list[int]:
    """Lock those of the windows that are there in the order of their ids, as every transaction does; return these."""
    found = rows.run(_LOCK, list(names), subject="text", unit="text", span="text", start_at="bigint")
    return [pk for (pk,) in found]


def locked(names: Iterable[Name]) -> dict[Name, BudgetWindow]:
    """Lock those of the windows that are there, and return them."""
    return {name_of(row): row for row in BudgetWindow.objects.filter(pk__in=lock(names))}


def _found(names: Iterable[Name]) -> list[BudgetWindow]:
    """Return those of the windows that are there."""
    wanted, found = sorted(names), list[BudgetWindow]()
    for place in range(0, len(wanted), CHUNK):
        chunk = Q()
        for subject, unit, window, start_at in wanted[place : place + CHUNK]:
            chunk |= Q(subject=subject, unit=unit, window=window, start_at=start_at)
        found += BudgetWindow.objects.filter(chunk)
    return found


def name_of(row: BudgetWindow) -> Name:
    """Return how a window is named."""
    return row.subject, row.unit, row.window, row.start_at


def _leases(windows: Iterable[BudgetWindow], holder: str) -> dict[int, BudgetLease]:
    """Return the process's lease of each window; the windows are locked, so nobody else makes or frees one."""
    ids = [row.pk for row in windows]
    found = {lease.window_id: lease for lease in BudgetLease.objects.filter(window__in=ids, holder=holder)}
    missing = [BudgetLease(window_id=pk, holder=holder) for pk in ids if pk not in found]
    return found | {lease.window_id: lease for lease in BudgetLease.objects.bulk_create(missing)}


def _serve(ask: Ask, window: BudgetWindow, lease: BudgetLease, now: datetime) -> Grant:
    """Move what is given back and what is granted between a window and a lease."""
    back = ask.back if lease.granted == ask.granted else 0
    room = max(0, ask.limit - window.spent - window.leased + back)
    extra = min(max(0, room - ask.need) // SHARE, ask.need * SLICES[window.unit])
    granted = min(room, ask.need) + extra
    is_short = granted < ask.need
    is_wanted = window.hungry_at is not None and now - window.hungry_at < timedelta(seconds=HUNGRY_SECONDS)
    before = lease.granted
    window.leased += granted - back
    lease.granted += granted - back
    if is_short:
        window.hungry_at = now
    left = max(0, ask.limit - window.spent - window.leased)
    return Grant(lease.pk, before, lease.granted, is_short, is_wanted, left)


@transaction.atomic
def release(holder: str, *, units: Sequence[str] = ()) -> int:
    """Give back what a process holds that is dead and whose journal was counted; return how many leases that were.

    `units` narrows it.
    """
    wanted = Q(leases__holder=holder) & (Q(unit__in=units) if units else Q())
    ids = list(BudgetWindow.objects.filter(wanted).values_list("pk", flat=True))
    held = list(BudgetWindow.objects.filter(pk__in=ids).select_for_update().order_by("pk"))
    leases = list(BudgetLease.objects.filter(window__in=held, holder=holder))
    for lease in leases:
        BudgetWindow.objects.filter(pk=lease.window_id).update(leased=F("leased") - (lease.granted - lease.settled))
    BudgetLease.objects.filter(pk__in=[lease.pk for lease in leases]).delete()
    return len(leases)
