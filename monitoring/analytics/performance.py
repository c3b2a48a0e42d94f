"""Performance: latency, throughput, errors and availability over a period, as series, percentiles and groups (API §3).

Calls of the controller's API are what is measured in all, by organization and by endpoint. By orchestrator it is the
`api_latency_ms` of its samples and its messages; by model the calls through the gateway. Availability is read from
events (`availability.py`), by endpoint it is the share of calls without 5xx.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.conf import settings

from monitoring.analytics import availability, orchestrator_calls
from monitoring.analytics.api_calls import Key, Summed, Where, summed
from monitoring.analytics.figures import Figure, Shares, of_calls, of_rates
from monitoring.metrics import call_spans, series

TYPES: Final = ("latency", "throughput", "error_rate", "availability")
GROUPS: Final = ("organization", "endpoint", "model", "orchestrator")
UNITS: Final = {"latency": "ms", "throughput": "per second", "error_rate": "ratio", "availability": "ratio"}
MAX_POINTS: Final = 120
MAX_GROUPS: Final = 200
# which calls, dimensions, seconds of a bucket (None: one), whether histograms are wanted → what they come to
Reader = Callable[[Where, Sequence[str], int | None, bool], Mapping[Key, Summed]]
_readers: dict[str, tuple[str, Reader]] = {}


def install(readers: Mapping[str, tuple[str, Reader]]) -> None:
    """Name, by dimension, who counts the calls of other rooms and what these are; called by `moolai/wiring.py`."""
    _readers.clear()
    _readers.update(readers)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for: `percentiles` are numbers between 0 and 100; `organizations` None means all there are."""

    metric_type: str
    organizations: Collection[str] | None
    start_at: datetime
    end_at: datetime
    percentiles: Sequence[float]
    group_by: str | None = None


def build(asked: Asked, *, now: datetime) -> dict[str, Any]:
    """Return the performance of a period; statements are as many however much is stored."""
    since, until = _span(asked, now=now)
    step = _step(asked, since, until, now=now)
    basis, found, note = "nothing", Shares.none(), ""
    if since < until:
        basis, found, note = _measured(asked, since, until, step=step, now=now)
    return {
        "metric_type": asked.metric_type,
        "unit": UNITS[asked.metric_type],
        "basis": basis,
        "note": note,
        "start_date": asked.start_at,
        "end_date": asked.end_at,
        "measured_from": since,
        "group_by": asked.group_by,
        "step_seconds": step,
        "summary": found.total.summary(),
        "percentiles": found.total.told(asked.percentiles),
        "series": [_point(at, figure, asked) for at, figure in sorted(found.series.items())],
        "groups": _groups(found.groups, asked),
        "groups_total": len(found.groups),
    }


def _span(asked: Asked, *, now: datetime) -> tuple[datetime, datetime]:
    """Return what can be measured of the period; of calls whole hours or days where nothing finer is kept."""
    since, until = max(asked.start_at, _kept_since(asked, now=now)), min(asked.end_at, now)
    if _is_of_calls(asked):
        return call_spans.kept(since, now=now), call_spans.kept(until, now=now)
    return since, until


def _kept_since(asked: Asked, *, now: datetime) -> datetime:
    """Return from when on the rows are there that are read."""
    days = settings.METRICS_DAILY_RETENTION_DAYS
    if asked.group_by == "model":
        days = settings.LLM_CALL_RETENTION_DAYS
    if asked.group_by == "orchestrator":
        days = {"latency": settings.METRICS_DAILY_RETENTION_DAYS}.get(
            asked.metric_type, settings.MESSAGE_RETENTION_DAYS
        )
    if _is_of_events(asked):
        days = settings.EVENT_RETENTION_DAYS
    return now - timedelta(days=days) if days else asked.start_at


def _is_of_events(asked: Asked) -> bool:
    return asked.metric_type == "availability" and asked.group_by not in ("endpoint", "model")


def _is_of_calls(asked: Asked) -> bool:
    return asked.group_by in (None, "organization", "endpoint") and not _is_of_events(asked)


def _step(asked: Asked, since: datetime, until: datetime, *, now: datetime) -> int:
    """Return how many seconds a point covers: as few as come to no more than MAX_POINTS."""
    if asked.group_by == "orchestrator" and not _is_of_events(asked):
        return orchestrator_calls.step(since, until)
    least = max(60.0, (until - since).total_seconds() / MAX_POINTS)
    if _is_of_calls(asked):
        least = max(least, call_spans.resolution(since, until, now=now))
    return next((step for step in series.STEPS if step >= least), -(-int(least) // 86_400) * 86_400)


def _measured(asked: Asked, since: datetime, until: datetime, *, step: int, now: datetime) -> tuple[str, Shares, str]:
    if _is_of_events(asked):
        whose = availability.Whose(asked.organizations, since, until)
        return "status events", availability.read(whose, group_by=asked.group_by, step=step, most=MAX_GROUPS), ""
    where = Where(asked.organizations, since, until, now=now)
    if asked.group_by == "orchestrator":
        basis, read = orchestrator_calls.reader(asked.metric_type, now=now)
    elif asked.group_by in _readers:
        basis, read = _readers[asked.group_by]
    else:
        basis, read = "calls of the API", _of_api
    if read is _of_api:
        where = _whole_minutes(where, now=now)
    return basis, (_durations if asked.metric_type == "latency" else _rates)(asked, where, read, step), ""


def _whole_minutes(where: Where, *, now: datetime) -> Where:
    """Widen a span to the minutes that calls are counted by: a rate is of as many seconds as its calls."""
    since, until = where.since.replace(second=0, microsecond=0), where.until.replace(second=0, microsecond=0)
    until = until if until == where.until else min(now, until + timedelta(minutes=1))
    return replace(where, since=since, until=until)


def _of_api(where: Where, by: Sequence[str], step: int | None, has_buckets: bool) -> Mapping[Key, Summed]:
    return summed(where, by=by, step_seconds=step, has_buckets=has_buckets)


def _durations(asked: Asked, where: Where, read: Reader, step: int) -> Shares:
    by_time = {key[0]: calls for key, calls in read(where, (), step, True).items()}
    total = Summed()
    for calls in by_time.values():
        total.add(calls)
    groups = read(where, [asked.group_by], None, True) if asked.group_by else {}
    return Shares(
        of_calls(total),
        {at: of_calls(calls) for at, calls in by_time.items()},
        {str(key[1]): of_calls(calls) for key, calls in groups.items()},
    )


def _rates(asked: Asked, where: Where, read: Reader, step: int) -> Shares:
    """Return rates in all, per bucket, and per group; percentiles are those of the buckets."""
    by_time: dict[int, Summed] = defaultdict(Summed)
    groups: dict[str, dict[int, Summed]] = defaultdict(dict)
    for (at, *keys), calls in read(where, [asked.group_by] if asked.group_by else (), step, False).items():
        by_time[at].add(calls)
        if keys:
            groups[str(keys[0])][at] = calls
    spread = (where.since.timestamp(), where.until.timestamp(), step)
    total, points = of_rates(by_time, asked.metric_type, *spread)
    by_group = {key: of_rates(buckets, asked.metric_type, *spread)[0] for key, buckets in groups.items()}
    return Shares(total, points, by_group)


def _point(at: int, figure: Figure, asked: Asked) -> dict[str, Any]:
    told = {
        "timestamp": datetime.fromtimestamp(at, UTC),
        "value": figure.value,
        "sample_count": figure.sample_count,
    }
    return told | ({"percentiles": figure.told(asked.percentiles)} if asked.metric_type == "latency" else {})


def _groups(groups: Mapping[str, Figure], asked: Asked) -> list[dict[str, Any]]:
    """Return the groups that matter most: those that were least available, else those with most samples."""

    def place(key: str) -> tuple[float, str]:
        figure = groups[key]
        return (figure.value or 0.0 if _is_of_events(asked) else -figure.sample_count), key

    return [
        {"key": key, **groups[key].summary(), "percentiles": groups[key].told(asked.percentiles)}
        for key in sorted(groups, key=place)[:MAX_GROUPS]
    ]
