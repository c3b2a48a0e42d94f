"""The ledger: records of a journal become rows of calls and attempts, and what was spent is counted, all at once.

Everything here runs in the transaction of its caller, which also moves the journal's cursor: a call is counted exactly
once. Rows are written and windows locked in one order, so that several processes do not wait in a circle. Calls are
plain dictionaries of columns: this runs beside the event loop that serves, for every call there is.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from django.db.models import F

from llm_gateway.models import Attempt, Call
from llm_gateway.money import books, records, rows
from llm_gateway.money.records import Document

logger = logging.getLogger(__name__)
ENDED: Final = (
    "status", "provider", "model", "error", "is_cached", "is_estimated", "input_tokens", "output_tokens",
    "cached_input_tokens", "cache_write_tokens", "reasoning_tokens", "cost_usd_micros", "saved_usd_micros", "price",
    "latency_ms", "first_token_ms", "finished_at", "attempts",
)  # fmt: skip
LOST: Final = ("status", "finished_at", "is_estimated", "cost_usd_micros", "provider", "model")
BLANK: Final = rows.blank(Call)  # what records of an older version may leave out
BLANK_ATTEMPT: Final = rows.blank(Attempt)

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # rows are given UTC


def write(found: Sequence[records.Record], *, holder: str) -> int:
    """Write records of one process's journal, in their order; return how many calls ended."""
    return write_documents([records.document(record) for record in found], holder=holder)


def write_documents(found: Sequence[tuple[str, Document]], *, holder: str) -> int:
    """Write records as `records.documents` reads them: (letter of the kind, what it holds)."""
    begins, ends, attempts = list[Document](), dict[str, Document](), dict[str, list[Document]]()
    for letter, values in found:
        if letter == records.BEGIN:
            begins.append(values)
        elif letter == records.END:
            ends.setdefault(values["call_id"], values)  # the first counts
        elif letter == records.ATTEMPT:
            attempts.setdefault(values["call_id"], []).append(values)
    calls = _begun(begins, holder)
    calls |= _earlier(ends.keys() - calls.keys(), holder)
    ended = [_finish(calls[call_id], end) for call_id, end in ends.items() if call_id in calls]
    for call_id, group in attempts.items():
        if call_id in calls:
            calls[call_id]["attempts"] += len(group)
    rows.put(Call, list(calls.values()), replacing=ENDED)
    _attempts(attempts, calls)
    books.count(ended)
    return len(ended)


def lose(holder: str, *, now: datetime) -> int:
    """End the calls that a dead process left open: nobody knows what they cost, so they cost what they reserved."""
    lost = list(Call.objects.filter(holder=holder, status=Call.Status.RUNNING).select_for_update().order_by("pk"))
    for call in lost:
        call.status, call.finished_at, call.is_estimated = Call.Status.LOST, now, True
        call.cost_usd_micros = call.reserved_usd_micros
        if "/" in call.scope_model:  # whom it was to ask first
            call.provider, _, call.model = call.scope_model.partition("/")
    Call.objects.bulk_update(lost, LOST, batch_size=200)
    books.count([_columns(call) for call in lost])
    return len(lost)


def _begun(begins: Sequence[Document], holder: str) -> dict[str, Document]:
    """Return a row for each call that begins; one whose row is there already was read before."""
    known = rows.known(Call, [begin["call_id"] for begin in begins])
    if known:
        logger.error("%d calls of %s are in the ledger already", len(known), holder)
    fresh = [begin for begin in begins if begin["call_id"] not in known]
    return {begin["call_id"]: _row(begin, holder) for begin in fresh}


def _row(begin: Document, holder: str) -> Document:
    row = BLANK | begin
    row["holder"], row["started_at"] = holder, _written(begin["at"])
    row["scope_key"] = row["scope_key"] or row["key_id"]
    return row


def _earlier(wanted: Iterable[str], holder: str) -> dict[str, Document]:
    """Return the rows of calls that an earlier batch began and that are still open."""
    found = list(wanted)
    if not found:
        return {}
    calls = Call.objects.filter(pk__in=found, status=Call.Status.RUNNING, holder=holder)
    return {call.pk: _columns(call) for call in calls}


def _columns(call: Call) -> Document:
    """Return a call as its record would make it."""
    row = {name: getattr(call, name) for name in BLANK}
    return row | {"at": call.started_at.timestamp(), "started_at": rows.moment(call.started_at)}


def _finish(call: Document, end: Document) -> Document:
    at = call["at"]
    call.update(end)
    call["at"], call["finished_at"] = at, _written(end["at"])
    for name in ("cost_usd_micros", "saved_usd_micros"):
        if not 0 <= call[name] <= rows.MOST:
            call[name] = max(0, min(call[name], rows.MOST))
    return call


def _attempts(grouped: Mapping[str, Sequence[Document]], calls: Mapping[str, Document]) -> None:
    """Write the attempts of known calls, and count them on those that are in the ledger already."""
    earlier = grouped.keys() - calls.keys()
    owners: dict[str, str] = {}
    if earlier:
        owners = dict(Call.objects.filter(pk__in=earlier).values_list("pk", "organization_id"))
    for pk in sorted(owners):
        Call.objects.filter(pk=pk).update(attempts=F("attempts") + len(grouped[pk]))
    owners |= {pk: call["organization_id"] for pk, call in calls.items()}
    found = [_attempt(one, owners[pk]) for pk, group in grouped.items() if pk in owners for one in group]
    rows.put(Attempt, found)


def _attempt(found: Document, organization_id: str) -> Document:
    row = BLANK_ATTEMPT | found
    row["organization_id"], row["started_at"] = organization_id, _written(found["at"])
    return row


def _written(seconds: float) -> str:
    """Return seconds since 1970 as `rows.moment` writes them, to the microsecond."""
    second = int(seconds)
    micros = round((seconds - second) * 1_000_000)
    if micros == 1_000_000:
        second, micros = second + 1, 0
    return f"{_second(second)}.{micros:06}" if micros else _second(second)


@lru_cache(maxsize=1024)
def _second(second: int) -> str:
    return str(_EPOCH + timedelta(seconds=second))
