"""The books: what finished calls add to budgets, to the leases they were paid from, and to each hour's spending.

Runs in the transaction that writes the calls (`ledger.py`).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from django.db import connection

from llm_gateway.models import BudgetLease, BudgetWindow, Call
from llm_gateway.money import leases, limits, windows
from llm_gateway.money.slices import Name

ROWS: Final = 200  # of one statement
_SPENT: Final = """
INSERT INTO budget_windows (organization_id, subject, unit, "window", start_at, end_at, spent, leased) VALUES {rows}
ON CONFLICT (subject, unit, "window", start_at) DO UPDATE SET spent = budget_windows.spent + excluded.spent
"""
_HOURS: Final = """
INSERT INTO llm_spending (organization_id, hour_at, key_id, model, provider,
                          requests, failed, input_tokens, output_tokens, cost_usd_micros, cached,
                          saved_usd_micros) VALUES {rows}
ON CONFLICT (organization_id, hour_at, key_id, model, provider) DO UPDATE SET
    requests = llm_spending.requests + excluded.requests,
    failed = llm_spending.failed + excluded.failed,
    input_tokens = llm_spending.input_tokens + excluded.input_tokens,
    output_tokens = llm_spending.output_tokens + excluded.output_tokens,
    cost_usd_micros = llm_spending.cost_usd_micros + excluded.cost_usd_micros,
    cached = llm_spending.cached + excluded.cached,
    saved_usd_micros = llm_spending.saved_usd_micros + excluded.saved_usd_micros
"""
BILLED: Final = (Call.Status.COMPLETED, Call.Status.LOST)


def count(calls: Sequence[Call]) -> None:
    """Add finished calls to everything that is kept of them."""
    _spend(calls)
    _settle(calls)
    _add_hours(calls)


def is_billed(call: Call) -> bool:
    """Whether a call counts as one that was billed: it was answered, or it cost something."""
    return call.status in BILLED or call.cost_usd_micros > 0


def subjects(call: Call) -> Iterator[str]:
    """Yield what limits of the call may be kept for: its organization, its key, its model under both its names."""
    yield limits.subject(limits.ORGANIZATION, call.organization_id)
    if call.scope_key:
        yield limits.subject(limits.KEY, call.organization_id, call.scope_key)
    if call.scope_model:
        names = {call.scope_model, call.scope_model.partition("/")[2] or call.scope_model}
        yield from (limits.subject(limits.MODEL, call.organization_id, name) for name in names)


def _spend(calls: Sequence[Call]) -> None:
    """Add what the calls cost to the windows they were begun in, whether or not these have a limit now."""
    spent: Counter[tuple[str, Name, int]] = Counter()
    for call in calls:
        if call.cost_usd_micros:
            spans = _spans(int(call.started_at.timestamp()) // windows.DAY)
            for subject in subjects(call):
                for window, start_at, end_at in spans:
                    spent[call.organization_id, (subject, "usd_micros", window, start_at), end_at] += (
                        call.cost_usd_micros
                    )
    rows = [(owner, *name, end_at, micros, 0) for (owner, name, end_at), micros in spent.items()]
    leases.locked({name for _, name, _ in spent})  # those that are there, in everybody's order; then come new ones
    _insert(_SPENT, sorted(rows, key=lambda row: row[1:5]))


@lru_cache(maxsize=64)
def _spans(day: int) -> list[tuple[str, int, int]]:
    """Return the windows of budgets that hold on a day: name, beginning, end."""
    at = day * windows.DAY
    return [(str(window), windows.start(window, at), int(windows.end(window, at))) for window in windows.BUDGETS]


def _settle(calls: Sequence[Call]) -> None:
    """Take what the calls cost off the leases they were reserved from; leases that were released are no more."""
    settled: Counter[int] = Counter()
    for call in calls:
        for lease in call.leases:
            settled[lease] += call.cost_usd_micros
    wanted = [pk for pk, micros in settled.items() if micros]
    if not wanted:
        return
    ids = list(BudgetLease.objects.filter(pk__in=wanted).values_list("window", flat=True))
    held = {row.pk: row for row in BudgetWindow.objects.filter(pk__in=ids).select_for_update().order_by("pk")}
    rows = list(BudgetLease.objects.filter(pk__in=wanted, window__in=held))
    for lease in rows:
        lease.settled += settled[lease.pk]
        held[lease.window_id].leased -= settled[lease.pk]
    BudgetLease.objects.bulk_update(rows, ["settled"], batch_size=ROWS)
    BudgetWindow.objects.bulk_update(held.values(), ["leased"], batch_size=ROWS)


def _add_hours(calls: Iterable[Call]) -> None:
    adapt = connection.ops.adapt_datetimefield_value
    hours: dict[tuple[str, datetime, str, str, str], list[int]] = {}
    for call in calls:
        hour = call.started_at.replace(minute=0, second=0, microsecond=0)
        key = (call.organization_id, hour, call.key_id, call.model or call.requested_model, call.provider)
        row = hours.setdefault(key, [0] * 7)
        billed = is_billed(call)
        tokens = (call.input_tokens, call.output_tokens)
        saved = (int(call.is_cached), call.saved_usd_micros)
        for place, number in enumerate((int(billed), int(not billed), *tokens, call.cost_usd_micros, *saved)):
            row[place] += number
    rows = [(key[0], adapt(key[1]), *key[2:], *numbers) for key, numbers in sorted(hours.items())]
    _insert(_HOURS, rows)


def _insert(statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Run the statement for all rows, some at a time, in their order."""
    with connection.cursor() as cursor:
        for place in range(0, len(rows), ROWS):
            chunk = rows[place : place + ROWS]
            marks = "(" + ", ".join(["%s"] * len(chunk[0])) + ")"
            values = [value for row in chunk for value in row]
            cursor.execute(statement.format(rows=", ".join([marks] * len(chunk))), values)
