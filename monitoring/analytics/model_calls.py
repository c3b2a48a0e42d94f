"""Calls of models through the gateway, summed up from the ledger's rows: performance by model, a source of queries."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from django.db.models import Case, Count, F, FloatField, IntegerField, Max, Min, Q, QuerySet, Sum, Value, When
from django.db.models.functions import Cast, Floor, Greatest, Ln

from llm_gateway.models import Call
from monitoring.analytics.api_calls import Key, Summed, Where
from monitoring.analytics.catalog import (
    COUNTED,
    MEASURED,
    Cell,
    Metric,
    Source,
    Wanted,
    counted,
    too_many,
    unit_seconds,
)
from monitoring.metrics import histogram
from monitoring.metrics.reading import Bucket

NAME: Final = "model calls"
BASIS: Final = "gateway calls"
KEPT: Final = "LLM_CALL_RETENTION_DAYS"
MAX_ROWS: Final = 200_000
COLUMNS: Final = {"organization": "organization_id", "model": "asked", "provider": "provider", "api_key": "key_id"}
DURATION: Final = "model_call_ms"
# A client that leaves is no failure of the model.
FAILED: Final = Q(status__in=(Call.Status.FAILED, Call.Status.LOST))
COUNTS: Final[Mapping[str, tuple[str, Any, str]]] = {
    "model_calls": ("calls", Count("pk"), "Calls of models that ended."),
    "model_calls_failed": ("calls", Count("pk", filter=FAILED), "Those that failed, or were lost with their process."),
    "model_tokens": ("tokens", Sum("input_tokens") + Sum("output_tokens"), "Tokens, in and out."),
    "model_cost_usd": ("USD", Sum("cost_usd_micros"), "What they cost."),
}
_FIRST: Final = histogram.BOUNDS[0]
_BELOW: Final = 1 - histogram.FIRST_OCTAVE * histogram.STEPS_PER_OCTAVE
_SLOT: Final = Case(
    When(latency_ms__lt=_FIRST, then=Value(0)),
    default=Cast(
        Floor(Ln(Greatest(F("latency_ms"), Value(_FIRST), output_field=FloatField()))
              * (histogram.STEPS_PER_OCTAVE / math.log(2))), IntegerField(),
    ) + _BELOW,
    output_field=IntegerField(),
)  # fmt: skip


def performance(where: Where, by: Sequence[str], step: int | None, has_buckets: bool) -> Mapping[Key, Summed]:
    """Return {(bucket's beginning, *dimensions): calls}; with histograms only calls whose duration is known."""
    wanted = Wanted((), where.organizations, where.since, where.until, {}, tuple(by), step, where.now)
    found: dict[Key, Summed] = defaultdict(Summed)
    if has_buckets:
        for key, slot, number, total, _, most in _durations(wanted, step):
            found[key].add(Summed(count=number, sum_ms=total, max_ms=most, buckets={slot: number}))
        return found
    sums = {"calls": Count("pk"), "failures": Count("pk", filter=FAILED)}
    for at, *keys, number, failed in _grouped(wanted, step, sums):
        found[(int(at), *keys)] = Summed(count=number, server_errors=failed)
    return found


def read(wanted: Wanted) -> Iterator[Cell]:
    """Yield counts by their units and durations by the query's buckets; raises `invalid_field` beyond MAX_ROWS."""
    if names := [name for name in wanted.metrics if name in COUNTS]:
        sums = {name: COUNTS[name][1] for name in names}
        for at, *rest in _grouped(wanted, unit_seconds(wanted), sums):
            keys, numbers = tuple(rest[: len(wanted.dimensions)]), rest[len(wanted.dimensions) :]
            for name, number in zip(names, numbers, strict=True):
                scale = 1e-6 if name == "model_cost_usd" else 1
                yield counted(name, int(at), keys, (number or 0) * scale)
    if DURATION in wanted.metrics:
        for key, slot, number, total, least, most in _durations(wanted, wanted.step_seconds):
            yield Cell(DURATION, key[0], key[1:], [number, total, least, most, [slot, number]])


def _durations(wanted: Wanted, step: int | None) -> Iterator[tuple[Key, int, int, float, float, float]]:
    """Yield (bucket and dimensions, place in the histogram, number, sum, smallest, largest) of milliseconds."""
    sums = {"n": Count("pk"), "total": Sum("latency_ms"), "least": Min("latency_ms"), "most": Max("latency_ms")}
    for at, *rest in _grouped(wanted, step, sums, by_slot=True):
        slot, number, total, least, most = rest[-5:]
        yield (int(at), *rest[:-5]), int(slot), number, total, least, most


def _grouped(wanted: Wanted, step: int | None, sums: Mapping[str, Any], *, by_slot: bool = False) -> list[Any]:
    rows = _rows(wanted).annotate(at=Bucket("started_at", step=step) if step else Value(0))
    keys = ["at", *(COLUMNS[name] for name in wanted.dimensions)]
    if by_slot:
        rows, keys = rows.filter(latency_ms__isnull=False).annotate(slot=_SLOT), [*keys, "slot"]
    found = list(rows.values(*keys).annotate(**sums).values_list(*keys, *sums)[: MAX_ROWS + 1])
    if len(found) > MAX_ROWS:
        raise too_many()
    return found


def _rows(wanted: Wanted) -> QuerySet[Any]:
    """Return the calls of a span that ended, each with the model it was for."""
    named = Case(When(model="", then=F("requested_model")), default=F("model"))
    rows = Call.objects.filter(started_at__gte=wanted.start_at, started_at__lt=wanted.end_at, finished_at__isnull=False)
    chosen = dict(wanted.filters)
    if wanted.organizations is not None:
        chosen["organization"] = tuple(wanted.organizations)
    wheres = {f"{COLUMNS[name]}__in": list(values) for name, values in chosen.items()}
    return rows.order_by().annotate(asked=named).filter(**wheres)


SOURCE: Final = Source(
    NAME,
    [
        *(Metric(name, COUNTED, unit, text, tuple(COLUMNS), NAME, KEPT) for name, (unit, _, text) in COUNTS.items()),
        Metric(DURATION, MEASURED, "ms", "How long calls of models took.", tuple(COLUMNS), NAME, KEPT),
    ],
    read,
)
