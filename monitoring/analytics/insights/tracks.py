"""Tracks: what calls and samples came to, hour by hour or day by day. Reads rows."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from monitoring.analytics import samples
from monitoring.analytics.api_calls import Summed, Where, summed
from monitoring.analytics.catalog import Wanted
from monitoring.analytics.insights.finding import Looked
from monitoring.metrics import aggregates, call_spans
from monitoring.metrics.aggregates import Aggregate

HOUR: Final = 3600
DAY: Final = 86_400
FEW_CALLS: Final = 20  # a share or a mean of fewer calls says nothing


@dataclass(frozen=True, slots=True)
class Subject:
    """What a track is of; `least` is the difference from which on it matters, `is_bad` whether more of it is worse."""

    topic: str
    label: str
    unit: str
    least: float
    is_bad: bool = True


@dataclass(frozen=True, slots=True)
class Track:
    """Values by the beginning of their hour or day, in epoch seconds."""

    subject: Subject
    values: Mapping[int, float]


CALLS: Final[Mapping[Subject, Callable[[Summed], float | None]]] = {
    Subject("api_requests", "calls of the API", "calls", 20, is_bad=False): lambda calls: float(calls.count),
    Subject("api_error_rate", "share of calls answered 5xx", "ratio", 0.01): lambda calls: (
        calls.server_errors / calls.count if calls.count >= FEW_CALLS else None
    ),
    Subject("api_request_ms", "mean duration of calls", "ms", 20): lambda calls: (
        calls.sum_ms / calls.count if calls.count >= FEW_CALLS else None
    ),
}
SAMPLES: Final = (
    Subject("cpu_usage_percent", "processor use", "percent", 10),
    Subject("memory_percent", "memory in use", "percent", 5),
    Subject("storage_percent", "disk in use", "percent", 2),
    Subject("api_latency_ms", "latency that orchestrators tell", "ms", 50),
    Subject("db_latency_ms", "latency of the database", "ms", 20),
)


def kept_calls(looked: Looked, step: int) -> datetime:
    """Return from when on calls are kept by hours or days (`step` seconds), or `since` where that is later."""
    since = call_spans.kept_since(step, now=looked.now)
    return max(looked.since, since) if since else looked.since


def read(looked: Looked, *, step: int) -> list[Track]:
    """Return the tracks of whole hours or days (`step` seconds); of calls, those without any are 0."""
    return [*_calls(looked, step), *_samples(looked, step)]


def _whole(looked: Looked, step: int, since: datetime) -> tuple[int, int]:
    """Return the beginning of the first whole bucket, and the end of the last one."""
    return -int(-since.timestamp() // step) * step, int(looked.until.timestamp() // step) * step


def _calls(looked: Looked, step: int) -> list[Track]:
    since = kept_calls(looked, step)
    first, end = _whole(looked, step, since)
    found = summed(Where(looked.organizations, since, looked.until, now=looked.now), step_seconds=step)
    by_time = {key[0]: calls for key, calls in found.items() if first <= key[0] < end}
    buckets = {at: by_time.get(at, Summed()) for at in range(min(by_time, default=end), end, step)}
    return [_of_calls(subject, value, buckets) for subject, value in CALLS.items()]


def _of_calls(subject: Subject, value: Callable[[Summed], float | None], buckets: Mapping[int, Summed]) -> Track:
    values = {at: value(calls) for at, calls in buckets.items()}
    return Track(subject, {at: number for at, number in values.items() if number is not None})


def _samples(looked: Looked, step: int) -> list[Track]:
    first, end = _whole(looked, step, looked.since)
    names: Sequence[str] = [subject.topic for subject in SAMPLES]
    wanted = Wanted(tuple(names), looked.organizations, looked.since, looked.until, {}, (), step, looked.now)
    cells: dict[str, dict[int, list[Aggregate]]] = defaultdict(lambda: defaultdict(list))
    for cell in samples.read(wanted):
        cells[cell.metric][cell.at - cell.at % step].append(cell.aggregate)
    tracks = []
    for subject in SAMPLES:
        merged = {at: aggregates.merge(found) for at, found in cells[subject.topic].items() if first <= at < end}
        tracks.append(Track(subject, {at: total / count for at, (count, total, *_) in sorted(merged.items())}))
    return tracks
