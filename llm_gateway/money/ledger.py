"""The ledger: records of a journal become rows of calls and attempts, and what was spent is counted, all at once.

Everything here runs in the transaction of its caller, which also moves the journal's cursor: a call is counted exactly
once. Rows are written and windows locked in one order, so that several processes do not wait in a circle.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from django.db.models import F

from llm_gateway.models import Attempt, Call
from llm_gateway.money import books, records

logger = logging.getLogger(__name__)
ENDED: Final = [
    "status", "provider", "model", "error", "is_cached", "is_estimated", "input_tokens", "output_tokens",
    "cached_input_tokens", "cache_write_tokens", "reasoning_tokens", "cost_usd_micros", "saved_usd_micros", "price",
    "latency_ms", "first_token_ms",
]  # fmt: skip
MOST: Final = 2**53
LENGTHS: Final = {
    name: field.max_length for name in ENDED if (field := Call._meta.get_field(name)) and hasattr(field, "max_length")
}


def write(found: Sequence[records.Record], *, holder: str) -> int:
    """Write the records of one process's journal, in their order; return how many calls ended."""
    begins = [record for record in found if isinstance(record, records.Begin)]
    ends = {record.call_id: record for record in reversed(found) if isinstance(record, records.End)}  # the first counts
    new = _begun(begins, holder)
    attempts = _grouped(found)
    for call_id, call in new.items():
        call.attempts = len(attempts.get(call_id, ()))
    ended = [call for call_id, call in new.items() if call_id in ends]
    for call in ended:
        _finish(call, ends[call.call_id])
    Call.objects.bulk_create(new.values(), batch_size=500)
    earlier = list(Call.objects.filter(pk__in=ends.keys() - new.keys(), status=Call.Status.RUNNING, holder=holder))
    for call in earlier:
        _finish(call, ends[call.call_id])
    Call.objects.bulk_update(earlier, [*ENDED, "finished_at"], batch_size=200)
    _attempts(attempts, new)
    books.count([*ended, *earlier])
    return len(ended) + len(earlier)


def lose(holder: str, *, now: datetime) -> int:
    """End the calls that a dead process left open: nobody knows what they cost, so they cost what they reserved."""
    lost = list(Call.objects.filter(holder=holder, status=Call.Status.RUNNING).select_for_update().order_by("pk"))
    for call in lost:
        call.status, call.finished_at, call.is_estimated = Call.Status.LOST, now, True
        call.cost_usd_micros = call.reserved_usd_micros
    Call.objects.bulk_update(lost, ["status", "finished_at", "is_estimated", "cost_usd_micros"], batch_size=200)
    books.count(lost)
    return len(lost)


def _begun(begins: Sequence[records.Begin], holder: str) -> dict[str, Call]:
    """Return a row for each call that begins; one whose row is there already was read before."""
    known = set(Call.objects.filter(pk__in={begin.call_id for begin in begins}).values_list("pk", flat=True))
    if known:
        logger.error("%d calls of %s are in the ledger already", len(known), holder)
    return {
        begin.call_id: Call(
            call_id=begin.call_id,
            organization_id=begin.organization_id,
            key_id=begin.key_id,
            user=_fit(begin.user, 150),
            orchestrator_id=_fit(begin.orchestrator_id, 50),
            surface=_fit(begin.surface, 20),
            requested_model=_fit(begin.requested_model, 200),
            scope_model=_fit(begin.scope_model, 200),
            scope_key=begin.scope_key or begin.key_id,
            is_stream=begin.is_stream,
            reserved_usd_micros=begin.reserved_usd_micros,
            leases=begin.leases,
            started_at=moment(begin.at),
            holder=holder,
        )
        for begin in begins
        if begin.call_id not in known
    }


def _finish(call: Call, end: records.End) -> None:
    for name in ENDED:
        setattr(call, name, _fit(getattr(end, name), LENGTHS.get(name)))
    call.finished_at = moment(end.at)


def _fit(value: Any, length: int | None) -> Any:
    """Return a value that the column takes: what a client or a provider made up must not stop the ledger."""
    if isinstance(value, str):
        return value.replace("\0", "")[:length]
    return max(0, min(value, MOST)) if type(value) is int else value


def _grouped(found: Iterable[records.Record]) -> dict[str, list[records.Attempt]]:
    grouped: dict[str, list[records.Attempt]] = {}
    for record in found:
        if isinstance(record, records.Attempt):
            grouped.setdefault(record.call_id, []).append(record)
    return grouped


def _attempts(grouped: Mapping[str, Sequence[records.Attempt]], new: Mapping[str, Call]) -> None:
    """Write the attempts of known calls, and count them on those that are in the ledger already."""
    earlier = grouped.keys() - new.keys()
    owners = dict(Call.objects.filter(pk__in=earlier).values_list("pk", "organization_id")) if earlier else {}
    for pk in sorted(owners):
        Call.objects.filter(pk=pk).update(attempts=F("attempts") + len(grouped[pk]))
    owners |= {pk: call.organization_id for pk, call in new.items()}
    rows = [_attempt(record, owners[pk]) for pk, group in grouped.items() if pk in owners for record in group]
    Attempt.objects.bulk_create(rows, batch_size=500, ignore_conflicts=True)


def _attempt(record: records.Attempt, organization_id: str) -> Attempt:
    return Attempt(
        call_id=record.call_id,
        organization_id=organization_id,
        number=record.number,
        provider=_fit(record.provider, 50),
        model=_fit(record.model, 200),
        http_status=record.http_status,
        error=_fit(record.error, 100),
        latency_ms=record.latency_ms,
        first_token_ms=record.first_token_ms,
        started_at=moment(record.at),
    )


def moment(seconds: float) -> datetime:
    """Return seconds since 1970 as a moment, to the microsecond."""
    return datetime.fromtimestamp(seconds, UTC)
