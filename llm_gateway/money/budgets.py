"""Budgets as people see them: what is set, what is spent, what processes hold, what is left, and until when."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from django.db.models import Q

from llm_gateway.models import BudgetWindow
from llm_gateway.money import limits, windows
from orgs import spending
from orgs.models import Organization, SpendingLimit


def report(organization: Organization, *, now: datetime) -> dict[str, Any]:
    """Return the limits of an organization and of its models, each with how its budget stands."""
    own, by_model = spending.of(organization)
    own = own or SpendingLimit(organization=organization)
    rows = _windows([own, *by_model], now.timestamp())
    told = [_told(row, rows, now.timestamp()) for row in by_model]
    return {"organization_id": organization.pk, **_told(own, rows, now.timestamp()), "by_model": told}


def used(*, now: datetime) -> dict[str, tuple[int, int]]:
    """Return {organization id: (micro-dollars spent, budget)} of every organization that has a budget."""
    limited = list(SpendingLimit.objects.filter(key=None, model="", budget_usd_micros__isnull=False))
    rows = _windows(limited, now.timestamp())
    found = {}
    for limit in limited:
        row = rows.get(_name(limit, now.timestamp()))
        found[limit.organization_id] = (row.spent if row else 0, limit.budget_usd_micros or 0)
    return found


def _subject(row: SpendingLimit) -> str:
    kind = limits.MODEL if row.model else limits.ORGANIZATION
    return limits.subject(kind, row.organization_id, row.model)


def _name(row: SpendingLimit, now: float) -> tuple[str, str, int]:
    return _subject(row), row.budget_window, windows.start(row.budget_window, now)


def _windows(found: Iterable[SpendingLimit], now: float) -> dict[tuple[str, str, int], BudgetWindow]:
    wanted = Q(pk__in=[])
    for row in found:
        subject, window, start_at = _name(row, now)
        wanted |= Q(subject=subject, window=window, start_at=start_at)
    rows = BudgetWindow.objects.filter(wanted, unit=BudgetWindow.Unit.USD_MICROS)
    return {(row.subject, row.window, row.start_at): row for row in rows}


def _told(row: SpendingLimit, rows: dict[tuple[str, str, int], BudgetWindow], now: float) -> dict[str, Any]:
    """Return a limit with the state of its window; what processes hold is reserved, also what no call needs yet."""
    name = _name(row, now)
    window = rows.get(name) or BudgetWindow(spent=0, leased=0)
    left = None if row.budget_usd_micros is None else row.budget_usd_micros - window.spent - window.leased
    is_endless = row.budget_window == windows.Window.TOTAL
    return {
        **({"model": row.model} if row.model else {}),
        **spending.read(row),
        "spent_usd": spending.usd(window.spent),
        "reserved_usd": spending.usd(window.leased),
        "left_usd": None if left is None else spending.usd(max(0, left)),
        "window_starts_at": None if is_endless else datetime.fromtimestamp(name[2], UTC),
        "window_ends_at": None if is_endless else datetime.fromtimestamp(windows.end(row.budget_window, now), UTC),
    }
