"""What series and statistics read: samples and roll-ups of a part of time, as aggregates. Reads rows."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson
from django.core.exceptions import EmptyResultSet
from django.db import connections, models, router
from django.db.models import Count, Max, Min, QuerySet, Sum

from monitoring.metrics import aggregates, histogram, sources
from monitoring.metrics.aggregates import Aggregate
from monitoring.metrics.spans import Part
from monitoring.models import ALL, NUMBERS, MetricRollup, SystemMetric

Point = tuple[int, str, Aggregate]  # epoch seconds of the bucket's beginning, column, aggregate
BOUNDS: Final = "{" + ",".join(map(repr, histogram.BOUNDS)) + "}"  # as PostgreSQL writes an array


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose rows: these organizations' (None: all), of one orchestrator or (None) of everything in them."""

    organizations: Collection[str] | None
    orchestrator_id: str | None = None

    def samples(self, part: Part) -> QuerySet[SystemMetric]:
        """Return the samples of a part."""
        rows = SystemMetric.objects.filter(organization_id__in=sources.organizations(self.organizations)).order_by()
        if self.orchestrator_id is not None:
            rows = rows.filter(orchestrator_id=self.orchestrator_id)
        return rows.filter(timestamp__gte=part.start_at, timestamp__lt=part.end_at)

    def rollups(self, part: Part) -> QuerySet[MetricRollup]:
        """Return the roll-ups of a part."""
        rows = MetricRollup.objects.filter(resolution=part.level).order_by()
        rows = rows.filter(start_at__gte=part.start_at, start_at__lt=part.end_at)
        if self.orchestrator_id is None and self.organizations is None:
            return rows.filter(organization_id=ALL, orchestrator_id=ALL)
        of = ALL if self.orchestrator_id is None else self.orchestrator_id
        return rows.filter(organization_id__in=sources.of_rollups(self.organizations), orchestrator_id=of)


def known(columns: Collection[str]) -> list[str]:
    """Return the columns, once each; raises ValueError for a name that is none."""
    if unknown := set(columns) - set(NUMBERS):
        raise ValueError(f"there is no column {', '.join(sorted(unknown))}")
    return list(dict.fromkeys(columns))


class Bucket(models.Func):
    """The beginning of the bucket of so many seconds, in epoch seconds."""

    output_field = models.BigIntegerField()

    def as_sql(self, compiler: Any, connection: Any, **extra: Any) -> Any:  # type: ignore[override]
        """Divide whole seconds, and multiply them again."""
        template = (
            "(floor(date_part('epoch', %(expressions)s) / %(step)s) * %(step)s)::bigint"
            if connection.vendor == "postgresql"
            else "(CAST(strftime('%%%%s', %(expressions)s) AS INTEGER) / %(step)s * %(step)s)"
        )
        return super().as_sql(compiler, connection, template=template, **extra)


def bucketed_samples(whose: Whose, part: Part, *, columns: Sequence[str], step_seconds: int) -> list[Point]:
    """Return the aggregates of samples in buckets of `step_seconds`, without histograms."""
    wanted: dict[str, models.Aggregate] = {}
    for name in columns:
        wanted |= {f"{name}__n": Count(name), f"{name}__s": Sum(name), f"{name}__a": Min(name), f"{name}__z": Max(name)}
    rows = whose.samples(part).annotate(bucket=Bucket("timestamp", step=int(step_seconds))).values("bucket")
    found = cast(Iterable[tuple[Any, ...]], rows.annotate(**wanted).values_list("bucket", *wanted))
    return [
        (row[0], name, [*row[1 + 4 * index : 5 + 4 * index], []])
        for row in found
        for index, name in enumerate(columns)
        if row[1 + 4 * index]
    ]


def rolled_up(whose: Whose, part: Part, *, columns: Sequence[str]) -> list[Point]:
    """Return the aggregates of roll-ups, each at its beginning."""
    return _picked(whose, part, "columns", columns)


def summaries(whose: Whose, part: Part, *, columns: Sequence[str]) -> list[Point]:
    """Return the same without histograms, which is much less to read."""
    return [(at, name, [*summary, []]) for at, name, summary in _picked(whose, part, "summaries", columns)]


def _picked(whose: Whose, part: Part, field: str, columns: Sequence[str]) -> list[Point]:
    rows, alias = whose.rollups(part), router.db_for_read(MetricRollup)
    if connections[alias].vendor == "postgresql":
        found = _unpacked(rows.values_list("start_at", field), alias, field, columns)
    else:
        found = list(rows.values_list("start_at", *(f"{field}__{name}" for name in columns)))
    return [
        (int(start.timestamp()), name, aggregate)
        for start, *values in found
        for name, aggregate in zip(columns, values, strict=True)
        if aggregate is not None
    ]


def _unpacked(rows: QuerySet[Any, Any], alias: str, field: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return the moment and the values of JSON rows; each is decompressed once, however many columns are asked for."""
    try:
        inner, parameters = rows.query.get_compiler(alias).as_sql()
    except EmptyResultSet:  # of no organization at all
        return []
    names = [f'"{name}"' for name in known(columns)]
    statement = (
        f"SELECT r.start_at, {', '.join(f'x.{name}' for name in names)} FROM ({inner}) AS r "  # noqa: S608 — our own names
        f'CROSS JOIN LATERAL jsonb_to_record(r."{field}") AS x({", ".join(f"{name} jsonb" for name in names)})'
    )
    with connections[alias].cursor() as cursor:
        cursor.execute(statement, parameters)
        return [(at, *(value and orjson.loads(value) for value in values)) for at, *values in cursor.fetchall()]


def summed_samples(whose: Whose, parts: Sequence[Part], *, columns: Sequence[str]) -> list[tuple[str, Aggregate]]:
    """Return the aggregates of all samples of these parts, with histograms."""
    if not parts:
        return []
    if connections[router.db_for_read(SystemMetric)].vendor == "postgresql":
        return _counted(whose, parts, known(columns))
    rows = [row for part in parts for row in whose.samples(part).values_list(*columns)]
    values = list(zip(*rows, strict=True))
    return list(aggregates.of_values(dict(zip(columns, values, strict=False))).items())


def _counted(whose: Whose, parts: Sequence[Part], columns: Sequence[str]) -> list[tuple[str, Aggregate]]:
    """Sum the values up in the database, and count those of each column by their bucket of the histogram.

    Two passes over the same pages, of which one only counts and the other groups by nothing, are less than half the
    work of one that sums up each bucket. One statement: both see the same rows.
    """
    spans = " OR ".join(["timestamp >= %s AND timestamp < %s"] * len(parts))
    rows = f"user_system_performance WHERE organization_id = ANY(%s) AND ({spans})"
    limits: list[Any] = [sources.organizations(whose.organizations)]
    limits += [moment for part in parts for moment in (part.start_at, part.end_at)]
    if whose.orchestrator_id is not None:
        rows, limits = f"{rows} AND orchestrator_id = %s", [*limits, whose.orchestrator_id]
    totals = ", ".join(f'sum("{name}"), min("{name}"), max("{name}")' for name in columns)
    counted = ", ".join(f'width_bucket("{name}", bounds) AS "{name}"' for name in columns)
    sets = ", ".join(f'("{name}")' for name in columns)
    statement = (
        f"SELECT NULL::float8[], count(*), * FROM (SELECT {counted} FROM (SELECT %s::float8[] AS bounds OFFSET 0) AS h,"  # noqa: S608 — our own names
        f" {rows}) AS b GROUP BY GROUPING SETS ({sets}) "
        f"UNION ALL SELECT ARRAY[{totals}], 0{', NULL' * len(columns)} FROM {rows}"
    )
    with connections[router.db_for_read(SystemMetric)].cursor() as cursor:
        cursor.execute(statement, [BOUNDS, *limits, *limits])
        *histograms, (sums, *_) = cursor.fetchall()
    return [
        (name, [sum(flat[1::2]), *sums[3 * index : 3 * index + 3], flat])
        for index, (name, flat) in enumerate(zip(columns, _flat(histograms, len(columns)), strict=True))
        if flat
    ]


def _flat(rows: Iterable[Sequence[Any]], columns: int) -> list[list[int]]:
    """Return the histogram of each column: in a row only the column that it is grouped by has a bucket."""
    found: list[list[int]] = [[] for _ in range(columns)]
    for _, times, *buckets in rows:
        for flat, bucket in zip(found, buckets, strict=True):
            if bucket is not None:
                flat += [bucket, times]
    return found


def gathered(points: Sequence[Point]) -> dict[str, dict[int, Aggregate]]:
    """Return {column: {epoch seconds: aggregate}}, several aggregates of one bucket merged."""
    found: dict[str, dict[int, list[Aggregate]]] = defaultdict(lambda: defaultdict(list))
    for at, name, aggregate in points:
        found[name][at].append(aggregate)
    return {name: {at: aggregates.merge(parts) for at, parts in buckets.items()} for name, buckets in found.items()}
