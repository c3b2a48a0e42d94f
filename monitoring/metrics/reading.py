"""What series and statistics read: samples and roll-ups of a part of time, as aggregates. Reads rows."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

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
        return rows.filter(organization_id__in=sources.organizations(self.organizations), orchestrator_id=of)


def known(columns: Collection[str]) -> list[str]:
    """Return the columns, once each; raises ValueError for a name that is none."""
    if unknown := set(columns) - set(NUMBERS):
        raise ValueError(f"there is no column {', '.join(sorted(unknown))}")
    return list(dict.fromkeys(columns))


class _Bucket(models.Func):
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
    rows = whose.samples(part).annotate(bucket=_Bucket("timestamp", step=int(step_seconds))).values("bucket")
    found = cast(Iterable[tuple[Any, ...]], rows.annotate(**wanted).values_list("bucket", *wanted))
    return [
        (row[0], name, [*row[1 + 4 * index : 5 + 4 * index], []])
        for row in found
        for index, name in enumerate(columns)
        if row[1 + 4 * index]
    ]


def rolled_up(whose: Whose, part: Part, *, columns: Sequence[str]) -> list[Point]:
    """Return the aggregates of roll-ups, each at its beginning."""
    rows = whose.rollups(part).values_list("start_at", *(f"columns__{name}" for name in columns))
    return [
        (int(start.timestamp()), name, aggregate)
        for start, *found in rows
        for name, aggregate in zip(columns, found, strict=True)
        if aggregate is not None
    ]


def summed_samples(whose: Whose, part: Part, *, columns: Sequence[str]) -> list[tuple[str, Aggregate]]:
    """Return the aggregates of all samples of a part, with histograms."""
    if connections[router.db_for_read(SystemMetric)].vendor == "postgresql":
        return _counted(whose, part, columns)
    values = list(zip(*whose.samples(part).values_list(*columns), strict=True))
    return list(aggregates.of_values(dict(zip(columns, values, strict=False))).items())


def _counted(whose: Whose, part: Part, columns: Sequence[str]) -> list[tuple[str, Aggregate]]:
    """Count, in the database and in one pass, the values of each column by their bucket of the histogram."""
    pairs = ", ".join(f"('{name}', s.\"{name}\")" for name in known(columns))
    statement = (
        f"SELECT x.name, width_bucket(x.value, %s::float8[]), count(*), sum(x.value), min(x.value), max(x.value) "  # noqa: S608 — our own names
        f"FROM user_system_performance s CROSS JOIN LATERAL (VALUES {pairs}) AS x(name, value) "
        "WHERE s.organization_id = ANY(%s) AND s.timestamp >= %s AND s.timestamp < %s "
        "AND (%s::text IS NULL OR s.orchestrator_id = %s) AND x.value IS NOT NULL GROUP BY 1, 2"
    )
    homes, orchestrator_id = sources.organizations(whose.organizations), whose.orchestrator_id
    with connections[router.db_for_read(SystemMetric)].cursor() as cursor:
        cursor.execute(statement, [BOUNDS, homes, part.start_at, part.end_at, orchestrator_id, orchestrator_id])
        return [
            (name, [count, total, low, high, [index, count]])
            for name, index, count, total, low, high in cursor.fetchall()
        ]


def gathered(points: Sequence[Point]) -> dict[str, dict[int, Aggregate]]:
    """Return {column: {epoch seconds: aggregate}}, several aggregates of one bucket merged."""
    found: dict[str, dict[int, list[Aggregate]]] = defaultdict(lambda: defaultdict(list))
    for at, name, aggregate in points:
        found[name][at].append(aggregate)
    return {name: {at: aggregates.merge(parts) for at, parts in buckets.items()} for name, buckets in found.items()}
