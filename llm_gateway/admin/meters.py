"""Meters of budgets: what is spent of each limit in the window that runs, as a bar. One query for all of them."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.db.models import Q
from django.utils.html import format_html
from django.utils.safestring import SafeString

from llm_gateway.admin import words
from llm_gateway.models import BudgetWindow
from llm_gateway.money import limits, windows
from orgs.admin.base import until
from orgs.models import SpendingLimit

NEAR, SPENT = 0.8, 1.0
WINDOWS: Final = {"day": "today", "week": "this week", "month": "this month", "total": "in all"}


@dataclass(frozen=True, slots=True)
class Meter:
    """How one limit stands: micro-dollars; `budget` None is no budget, `ends` says when it begins anew."""

    spent: int
    reserved: int
    budget: int | None
    window: str
    ends: str

    @property
    def share(self) -> float:
        """Which part of the budget is spent, 0 to 1 and beyond."""
        if self.budget is None:
            return 0.0
        return self.spent / self.budget if self.budget else 1.0

    @property
    def tone(self) -> str:
        """Return the colour of the bar."""
        return "red" if self.share >= SPENT else "amber" if self.share >= NEAR else "green"


def read(rows: Collection[SpendingLimit], *, now: datetime) -> dict[int, Meter]:
    """Return {primary key: meter} of these limits; their keys must have been read along."""
    names = {row.pk: _name(row, now.timestamp()) for row in rows}
    wanted = Q(pk__in=[])
    for subject, window, start_at in names.values():
        wanted |= Q(subject=subject, window=window, start_at=start_at)
    found = {
        (one.subject, one.window, one.start_at): one
        for one in BudgetWindow.objects.filter(wanted, unit=BudgetWindow.Unit.USD_MICROS)
    }
    return {row.pk: _meter(row, found.get(names[row.pk]), now) for row in rows}


def show(meter: Meter) -> SafeString:
    """Show a meter as a bar with its numbers."""
    spent = words.usd(meter.spent)
    if meter.budget is None:
        text, ends = f"{spent} {WINDOWS[meter.window]}", "no budget"
        return format_html('<span class="gw-meter"><b>{}</b><small>{}</small></span>', text, ends)
    bar = '<progress class="mo-bar mo-bar-{}" max="1000" value="{}" aria-label="{} of {} spent"></progress>'
    budget = words.usd(meter.budget)
    drawn = format_html(bar, meter.tone, min(1000, round(meter.share * 1000)), spent, budget)
    below = f"{meter.share * 100:.0f} % {WINDOWS[meter.window]}{meter.ends}"
    element = '<span class="gw-meter"><b>{} of {}</b>{}<small>{}</small></span>'
    return format_html(element, spent, budget, drawn, below)


def facts(meter: Meter) -> list[tuple[str, Any]]:
    """Return the numbers of a meter for a list of facts."""
    left = None if meter.budget is None else max(0, meter.budget - meter.spent - meter.reserved)
    return [
        ("Spent", f"{words.usd(meter.spent)} {WINDOWS[meter.window]}"),
        ("Reserved", f"{words.usd(meter.reserved)}: held by processes for calls under way and the next ones"),
        ("Left", "not limited" if left is None else words.usd(left)),
    ]


def _name(row: SpendingLimit, now: float) -> tuple[str, str, int]:
    kind, name = limits.ORGANIZATION, ""
    if row.key is not None:
        kind, name = limits.KEY, row.counted_as or row.key.key_id
    elif row.model:
        kind, name = limits.MODEL, row.model
    subject = limits.subject(kind, row.organization_id, name)
    return subject, row.budget_window, windows.start(row.budget_window, now)


def _meter(row: SpendingLimit, found: BudgetWindow | None, now: datetime) -> Meter:
    ends = ""
    if row.budget_window != windows.Window.TOTAL:
        end = datetime.fromtimestamp(windows.end(row.budget_window, now.timestamp()), UTC)
        ends = f", resets {until(end, now=now)}"
    spent, reserved = (found.spent, found.leased) if found else (0, 0)
    return Meter(spent, reserved, row.budget_usd_micros, row.budget_window, ends)
