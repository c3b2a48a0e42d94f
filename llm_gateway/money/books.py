"""The books: what finished calls add to budgets, to the leases they were paid from, and to each hour's spending.

Runs in the transaction that writes the calls (`ledger.py`).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from django.db import connection

from llm_gateway.models import Call
from llm_gateway.money import leases, limits, rows, windows
from llm_gateway.money.rows import MOST, Row
from llm_gateway.money.slices import Name

ROWS: Final = 200  # of one statement
_SPENT: Final = """
INSERT INTO budget_windows (organization_id, subject, unit, "window", start_at, end_at, spent, leased) VALUES {rows}
ON CONFLICT (subject, unit, "window", start_at) DO UPDATE SET
    spent = {least}(budget_windows.spent + excluded.spent, {most})
"""
_HOURS: Final = """
INSERT INTO llm_spending (organization_id, hour_at, key_id, model, provider,
                          requests, failed, input_tokens, output_tokens, cost_usd_micros, cached,
                          saved_usd_micros) VALUES {rows}
ON CONFLICT (organization_id, hour_at, key_id, model, provider) DO UPDATE SET
    requests = llm_spending.requests + excluded.requests,
    failed = llm_spending.failed + excluded.failed,
    input_tokens = {least}(llm_spending.input_tokens + excluded.input_tokens, {most}),
    output_tokens = {least}(llm_spending.output_tokens + excluded.output_tokens, {most}),
    cost_usd_micros = {least}(llm_spending.cost_usd_micros + excluded.cost_usd_micros, {most}),
    cached = llm_spending.cached + excluded.cached,
    saved_usd_micros = {least}(llm_spending.saved_usd_micros + excluded.saved_usd_micros, {most})
"""
_PAID: Final = {"pk": "bigint", "micros": "bigint"}
_LEASES: Final = "SELECT window_id, micros FROM given JOIN budget_leases ON id = pk"
_LOCK_OF_LEASES: Final = """
SELECT id FROM budget_windows WHERE id IN (SELECT window_id FROM given JOIN budget_leases ON budget_leases.id = pk)
ORDER BY id {lock}
"""
_SETTLED: Final = """
UPDATE budget_leases SET settled = {least}(settled + (SELECT micros FROM given WHERE pk = id), {most})
WHERE id IN (SELECT pk FROM given)
"""
_NOT_LEASED: Final = """
UPDATE budget_windows SET leased = {greatest}(leased - (SELECT micros FROM given WHERE pk = id), -{most} / 2)
WHERE id IN (SELECT pk FROM given)
"""  # it never makes up for what was spent
HOUR: Final = 3600
MODEL_LENGTH: Final = 200
BILLED: Final = (Call.Status.COMPLETED, Call.Status.LOST)


def count(calls: Sequence[Row]) -> None:
    """Add finished calls to everything that is kept of them.

    A call is {column: value}, and `at`: when it began, in seconds since 1970. Sums stay at MOST: what providers make up
    must not stop the books, which are those of everybody.
    """
    _spend(calls)
    _settle(calls)
    _add_hours(calls)


def _spend(calls: Iterable[Row]) -> None:
    """Add what the calls cost to the windows they were begun in, whether or not these have a limit now."""
    cost: Counter[tuple[str, str, str, int]] = Counter()
    for call in calls:
        if call["cost_usd_micros"]:
            day = int(call["at"]) // windows.DAY
            cost[call["organization_id"], call["scope_key"], call["scope_model"], day] += call["cost_usd_micros"]
    spent: Counter[tuple[str, Name, int]] = Counter()
    for (owner, key, model, day), micros in cost.items():
        for subject in _subjects(owner, key, fit(model)):
            for window, start_at, end_at in _spans(day):
                spent[owner, (subject, "usd_micros", window, start_at), end_at] += micros
    found = [(owner, *name, end_at, min(micros, MOST), 0) for (owner, name, end_at), micros in spent.items()]
    leases.lock({name for _, name, _ in spent})  # those that are there, in everybody's order; then come new ones
    _insert(_SPENT, sorted(found, key=lambda row: row[1:5]))


def _subjects(owner: str, key: str, model: str) -> Iterator[str]:
    """Yield what limits may be kept for: an organization, a key, a model under both its names."""
    yield limits.subject(limits.ORGANIZATION, owner)
    if key:
        yield limits.subject(limits.KEY, owner, key)
    if model:
        names = {model, model.partition("/")[2] or model}
        yield from (limits.subject(limits.MODEL, owner, name) for name in names)


def fit(text: str) -> str:
    """Return the name of a model as its column has it: what a client made up must not stop the ledger."""
    return text if len(text) <= MODEL_LENGTH and "\0" not in text else text.replace("\0", "")[:MODEL_LENGTH]


@lru_cache(maxsize=64)
def _spans(day: int) -> list[tuple[str, int, int]]:
    """Return the windows of budgets that hold on a day: name, beginning, end."""
    at = day * windows.DAY
    return [(str(window), windows.start(window, at), int(windows.end(window, at))) for window in windows.BUDGETS]


def _settle(calls: Iterable[Row]) -> None:
    """Take what the calls cost off the leases they were reserved from; leases that were released are no more."""
    settled: Counter[int] = Counter()
    for call in calls:
        for lease in call["leases"]:
            settled[lease] += call["cost_usd_micros"]
    paid = [(pk, min(micros, MOST)) for pk, micros in settled.items() if micros]
    if not paid:
        return
    rows.run(_LOCK_OF_LEASES, paid, **_PAID)
    of_windows: Counter[int] = Counter()
    for window, micros in rows.run(_LEASES, paid, **_PAID):
        of_windows[window] += micros
    rows.run(_SETTLED, paid, **_PAID)
    rows.run(_NOT_LEASED, [(pk, min(micros, MOST)) for pk, micros in of_windows.items()], **_PAID)


def _add_hours(calls: Iterable[Row]) -> None:
    hours: dict[tuple[str, int, str, str, str], list[int]] = {}
    for call in calls:
        model = fit(call["model"] or call["requested_model"])
        key = (call["organization_id"], int(call["at"]) // HOUR, call["key_id"], model, call["provider"])
        row = hours.get(key)
        if row is None:
            row = hours[key] = [0] * 7
        cost = call["cost_usd_micros"]
        is_billed = cost > 0 or call["status"] in BILLED
        row[0] += is_billed
        row[1] += not is_billed
        row[2] += max(0, call["input_tokens"])
        row[3] += max(0, call["output_tokens"])
        row[4] += cost
        row[5] += bool(call["is_cached"])
        row[6] += call["saved_usd_micros"]
    adapt = connection.ops.adapt_datetimefield_value
    found = [((key[0], datetime.fromtimestamp(key[1] * HOUR, UTC), *key[2:]), row) for key, row in hours.items()]
    kept = [(key, [min(number, MOST) for number in row]) for key, row in sorted(found)]
    _insert(_HOURS, [(key[0], adapt(key[1]), *key[2:], *row) for key, row in kept])


def _insert(statement: str, values: Sequence[tuple[Any, ...]]) -> None:
    """Run the statement for all rows of values, some at a time, in their order."""
    least = "LEAST" if connection.vendor == "postgresql" else "MIN"
    with connection.cursor() as cursor:
        for place in range(0, len(values), ROWS):
            chunk = values[place : place + ROWS]
            marks = "(" + ", ".join(["%s"] * len(chunk[0])) + ")"
            given = [value for row in chunk for value in row]
            cursor.execute(statement.format(rows=", ".join([marks] * len(chunk)), least=least, most=MOST), given)
