"""What orchestrators' calls come to: the latency that their samples tell, and how their messages fared. Reads rows."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from django.utils import timezone

from monitoring.analytics import catalog, records, samples
from monitoring.analytics.api_calls import Key, Summed, Where
from monitoring.analytics.catalog import Cell, Wanted
from monitoring.metrics import aggregates, spans

LATENCY: Final = "api_latency_ms"
STEPS: Final = {spans.RAW: 60, spans.HOURLY: 3600, spans.DAILY: 86_400}
Reader = Callable[[Where, Sequence[str], int | None, bool], Mapping[Key, Summed]]


def step(since: datetime, until: datetime) -> int:
    """Return how many seconds a bucket covers: what the rows are kept by."""
    return STEPS[spans.resolution(since, until, now=timezone.now())]


def reader(metric_type: str, *, now: datetime) -> tuple[str, Reader]:
    """Return what is read for a type, and who reads it."""

    def latencies(where: Where, by: Sequence[str], step: int | None, has_buckets: bool) -> Mapping[Key, Summed]:
        return _latencies(samples.read(_wanted((LATENCY,), where, by, step, now=now)), step)

    def messages(where: Where, by: Sequence[str], step: int | None, has_buckets: bool) -> Mapping[Key, Summed]:
        return _messages(records.read(_wanted(("messages", "messages_failed"), where, by, step, now=now)), step)

    if metric_type == "latency":
        return f"{LATENCY} of the samples", latencies
    return "messages to and from orchestrators", messages


def _wanted(names: tuple[str, ...], where: Where, by: Sequence[str], step: int | None, *, now: datetime) -> Wanted:
    return Wanted(names, where.organizations, where.since, where.until, {}, tuple(by), step, now, catalog.EVER)


def _latencies(cells: Iterable[Cell], step: int | None) -> Mapping[Key, Summed]:
    found: dict[Key, Summed] = defaultdict(Summed)
    for cell in cells:
        count, total, _, high, flat = cell.aggregate
        calls = Summed(count=count, sum_ms=total, max_ms=high, buckets=aggregates.counts_of(flat))
        found[_place(cell, step)].add(calls)
    return found


def _messages(cells: Iterable[Cell], step: int | None) -> Mapping[Key, Summed]:
    found: dict[Key, Summed] = defaultdict(Summed)
    for cell in cells:
        number = int(cell.aggregate[1])
        calls = Summed(count=number) if cell.metric == "messages" else Summed(server_errors=number)
        found[_place(cell, step)].add(calls)
    return found


def _place(cell: Cell, step: int | None) -> Key:
    return (cell.at - cell.at % step if step else 0, *cell.keys)
