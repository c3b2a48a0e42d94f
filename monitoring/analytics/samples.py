"""Samples and roll-ups as a source of queries: every column of `user_system_performance`. Reads rows."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final

from django.db import connections, router
from django.db.models import QuerySet

from monitoring.analytics.catalog import MEASURED, Cell, Metric, Source, Wanted, too_many
from monitoring.metrics import aggregates, reading, sources, spans, statistics
from monitoring.metrics.spans import Part
from monitoring.models import ALL, NUMBERS, MetricRollup, SystemMetric

NAME: Final = "samples"
COLUMNS: Final = {"organization": "organization_id", "orchestrator": "orchestrator_id"}
MAX_AGGREGATES: Final = 200_000  # of roll-ups, read at once: one with its histogram takes about a kilobyte
LEVELS: Final = {60: spans.RAW, 3600: spans.HOURLY, 86_400: spans.DAILY}
UNITS: Final = {"percent": "percent", "ms": "ms", "mb": "MB", "gb": "GB", "s": "MB/s"}


def read(wanted: Wanted) -> Iterator[Cell]:
    """Yield what the columns come to: from samples where they are few, from roll-ups where the span is wide."""
    since = _since(wanted)
    level = LEVELS.get(wanted.step_seconds or 0) or spans.resolution(since, wanted.end_at, now=wanted.now)
    for part in spans.parts(since, min(wanted.end_at, wanted.now), level=level, now=wanted.now):
        yield from (_sampled if part.level == spans.RAW else _rolled_up)(wanted, part)


def _since(wanted: Wanted) -> datetime:
    """Return from when on: the beginning of the hour or day where nothing finer is kept, but no bucket earlier."""
    if wanted.step_seconds == 60:
        return wanted.start_at
    since = statistics.kept(wanted.start_at, now=wanted.now)
    return max(since, spans.floor(wanted.start_at, spans.HOURLY)) if wanted.step_seconds == 3600 else since


def _rolled_up(wanted: Wanted, part: Part) -> Iterator[Cell]:
    rows = MetricRollup.objects.filter(resolution=part.level).order_by()
    rows = _whose(rows.filter(start_at__gte=part.start_at, start_at__lt=part.end_at), wanted)
    names, keys = wanted.metrics, [COLUMNS[name] for name in wanted.dimensions]
    most = MAX_AGGREGATES // len(names)
    found = list(rows.values_list("start_at", *keys, *(f"columns__{name}" for name in names))[: most + 1])
    if len(found) > most:
        raise too_many()
    for row in found:
        at, whose = int(row[0].timestamp()), row[1 : 1 + len(keys)]
        for name, aggregate in zip(names, row[1 + len(keys) :], strict=True):
            if aggregate is not None:
                yield Cell(name, at, whose, aggregate)


def _whose(rows: QuerySet[MetricRollup], wanted: Wanted) -> QuerySet[MetricRollup]:
    """Narrow roll-ups to those of the orchestrators, of the organizations, or of all, as they are asked for."""
    orchestrators = wanted.filters.get("orchestrator")
    is_fine = orchestrators is not None or "orchestrator" in wanted.dimensions
    if wanted.organizations is None and not is_fine and "organization" not in wanted.dimensions:
        return rows.filter(organization_id=ALL, orchestrator_id=ALL)
    if wanted.organizations is None:  # there may be roll-ups of whom there are no samples any more
        rows = rows.exclude(organization_id=ALL)
    else:
        rows = rows.filter(organization_id__in=[name for name in wanted.organizations if name != ALL])
    if orchestrators is not None:
        return rows.filter(orchestrator_id__in=[name for name in orchestrators if name != ALL])
    return rows.exclude(orchestrator_id=ALL) if is_fine else rows.filter(orchestrator_id=ALL)


def _sampled(wanted: Wanted, part: Part) -> Iterable[Cell]:
    if connections[router.db_for_read(SystemMetric)].vendor == "postgresql":
        return _counted(wanted, part)
    return _gathered(wanted, part)


def _gathered(wanted: Wanted, part: Part) -> Iterator[Cell]:
    """Aggregate samples here, where the database cannot make histograms."""
    rows = SystemMetric.objects.filter(organization_id__in=sources.organizations(wanted.organizations)).order_by()
    if (orchestrators := wanted.filters.get("orchestrator")) is not None:
        rows = rows.filter(orchestrator_id__in=orchestrators)
    rows = rows.filter(timestamp__gte=part.start_at, timestamp__lt=part.end_at)
    keys, step = [COLUMNS[name] for name in wanted.dimensions], wanted.step_seconds
    places: dict[tuple[Any, ...], list[tuple[Any, ...]]] = defaultdict(list)
    for at, *row in rows.values_list("timestamp", *keys, *wanted.metrics).iterator(chunk_size=2000):
        moment = int(at.timestamp() if step else part.start_at.timestamp())
        places[moment - moment % (step or 1), *row[: len(keys)]].append(tuple(row[len(keys) :]))
    for (bucket, *whose), values in places.items():
        found = aggregates.of_values(dict(zip(wanted.metrics, zip(*values, strict=True), strict=True)))
        yield from (Cell(name, bucket, tuple(whose), aggregate) for name, aggregate in found.items())


def _counted(wanted: Wanted, part: Part) -> Iterator[Cell]:
    """Count, in the database and in one pass, the values of each column by their bucket of the histogram."""
    pairs = ", ".join(f"('{name}', s.\"{name}\")" for name in reading.known(wanted.metrics))
    step, keys = wanted.step_seconds, [f"s.{COLUMNS[name]}" for name in wanted.dimensions]
    bucket = f"(floor(date_part('epoch', s.timestamp) / {step}) * {step})::bigint" if step else "%s::bigint"
    groups = ", ".join(str(number) for number in range(1, len(keys) + 4))
    orchestrators = wanted.filters.get("orchestrator")
    statement = (
        f"SELECT x.name, {bucket}, width_bucket(x.value, %s::float8[]){''.join(f', {key}' for key in keys)}, "  # noqa: S608 — our own names
        "count(*), sum(x.value), min(x.value), max(x.value) "
        f"FROM user_system_performance s CROSS JOIN LATERAL (VALUES {pairs}) AS x(name, value) "
        "WHERE s.organization_id = ANY(%s) AND s.timestamp >= %s AND s.timestamp < %s AND x.value IS NOT NULL "
        f"{'AND s.orchestrator_id = ANY(%s) ' if orchestrators is not None else ''}GROUP BY {groups}"
    )
    values: list[Any] = [] if step else [int(part.start_at.timestamp())]
    values += [reading.BOUNDS, sources.organizations(wanted.organizations), part.start_at, part.end_at]
    with connections[router.db_for_read(SystemMetric)].cursor() as cursor:
        cursor.execute(statement, values if orchestrators is None else [*values, list(orchestrators)])
        for name, at, index, *row in cursor.fetchall():
            count, total, low, high = row[len(keys) :]
            yield Cell(name, at, tuple(row[: len(keys)]), [count, total, low, high, [index, count]])


def _unit(column: str) -> str:
    return UNITS.get(column.rsplit("_", 1)[-1], "")


SOURCE: Final = Source(
    NAME,
    [
        Metric(name, MEASURED, _unit(name), "A column of the samples (API §5).", tuple(COLUMNS), NAME)
        for name in NUMBERS
    ],
    read,
)
