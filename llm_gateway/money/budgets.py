"""Budgets as people see them: what is set, what is spent, what processes hold, what is left, and until when."""

from collections.abc import Iterable, Mapping, Sequence
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


def of_keys(rows: Sequence[SpendingLimit], *, now: datetime) -> dict[int, tuple[int, datetime | None]]:
    """Return {id of a key's limit: (micro-dollars spent, when its window ends)} of those that have a budget.

    The key that a rotated one succeeded has spent its part of it. A budget in total never ends: None.
    """
    limited = [row for row in rows if row.budget_usd_micros is not None]
    found = _windows(limited, now.timestamp()) if limited else {}
    return {row.pk: _spent(row, found, now.timestamp()) for row in limited}


def _spent(
    row: SpendingLimit, found: Mapping[tuple[str, str, int], BudgetWindow], now: float
) -> tuple[int, datetime | None]:
    window = found.get(_name(row, now))
    return window.spent if window else 0, _end(row, now)


def _end(row: SpendingLimit, now: float) -> datetime | None:
    if row.budget_window == windows.Window.TOTAL:
        return None
    return datetime.fromtimestamp(windows.end(row.budget_window, now), UTC)


def _subject(row: SpendingLimit) -> str:
    if row.key is not None:
        return limits.subject(limits.KEY, row.organization_id, row.counted_as or row.key.key_id)
    kind = limits.MODEL if row.model else limits.ORGANIZATION
    return limits.subject(kind, row.organization_id, row.model)


def _name(row: SpendingLimit, now: float) -> tuple[str, str, int]:
    return _subject(row), row.budget_window, windows.start(row.budget_window, now)


def _windows(found: Iterable[SpendingLimit], now: float) -> dict[tuple[str, str, int], BudgetWindow]:
    subjects: dict[tuple[str, int], list[str]] = {}  # by window: there are four, however many rows
    for row in found:
        subject, window, start_at = _name(row, now)
        subjects.setdefault((window, start_at), []).append(subject)
    wanted = Q(pk__in=[])
    for (window, start_at), names in subjects.items():
        wanted |= Q(subject__in=names, window=window, start_at=start_at)
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
        "window_ends_at": _end(row, now),
    }
