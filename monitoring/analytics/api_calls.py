"""Calls of our own API, summed up in the database by time and by what they belong to; a source of queries."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.db import connections, router
from django.utils import timezone

from monitoring.analytics.catalog import COUNTED, MEASURED, Cell, Metric, Source, Wanted, counted, unit_seconds
from monitoring.metrics import call_spans, histogram
from monitoring.models import ALL, RequestMetric

NAME: Final = "api"
COLUMNS: Final = {
    "organization": "organization_id", "endpoint": "route", "method": "method", "status_class": "status_class",
}  # fmt: skip
NUMBERS: Final = (
    "coalesce(sum(m.count), 0), "
    "coalesce(sum(CASE WHEN m.status_class = '5xx' THEN m.count ELSE 0 END), 0), "
    "coalesce(sum(CASE WHEN m.status_class = '4xx' THEN m.count ELSE 0 END), 0), "
    "coalesce(sum(m.rate_limited), 0), coalesce(sum(m.unauthenticated), 0), coalesce(sum(m.sum_ms), 0), "
    "coalesce(max(m.max_ms), 0)"
)
COUNTS: Final = {
    "api_requests": ("count", "Calls of the controller's API."),
    "api_errors": ("server_errors", "Calls answered 5xx."),
    "api_client_errors": ("client_errors", "Calls answered 4xx."),
    "api_rate_limited": ("rate_limited", "Calls answered 429."),
    "api_unauthenticated": ("unauthenticated", "Calls answered 401."),
}
DURATION: Final = "api_request_ms"
KEPT: Final = "METRICS_HOURLY_RETENTION_DAYS"
Key = tuple[Any, ...]  # the bucket's beginning in epoch seconds (0 without buckets), the values of the dimensions


@dataclass(slots=True)
class Summed:
    """What some calls come to; `buckets` is the histogram of their milliseconds, where it was asked for."""

    count: int = 0
    server_errors: int = 0
    client_errors: int = 0
    rate_limited: int = 0
    unauthenticated: int = 0
    sum_ms: float = 0.0
    max_ms: float = 0.0
    buckets: histogram.Counts = field(default_factory=dict)

    def add(self, other: "Summed") -> None:
        """Add other calls."""
        self.count += other.count
        self.server_errors += other.server_errors
        self.client_errors += other.client_errors
        self.rate_limited += other.rate_limited
        self.unauthenticated += other.unauthenticated
        self.sum_ms += other.sum_ms
        self.max_ms = max(self.max_ms, other.max_ms)
        histogram.merge(self.buckets, other.buckets)

    def quantile(self, q: float) -> float | None:
        """Return the milliseconds below which the share `q` of the calls lies."""
        return histogram.quantile(self.buckets, q, high=self.max_ms)


@dataclass(frozen=True, slots=True)
class Where:
    """Which calls: of these organizations (None: all, and nobody's), of a span, that match the filters."""

    organizations: Collection[str] | None
    since: datetime
    until: datetime
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    now: datetime = field(default_factory=timezone.now)

    def condition(self, adapt: Any, *, by: Sequence[str], step: int | None) -> tuple[str, list[Any]]:
        """Return the SQL and its values: of the longest rows that lie whole in buckets of `step` seconds.

        Of hours and days the sums over routes, and over organizations, are read where nobody asks for single ones.
        """
        found = call_spans.parts(self.since, self.until, now=self.now, coarsest=call_spans.coarsest(step))
        one, kind = "m.span_seconds = %s AND m.minute_at >= %s AND m.minute_at < %s", self._kind(by)
        spans = [one if part.span_seconds == call_spans.MINUTE else f"{one} AND {kind}" for part in found]
        parts = [f"({' OR '.join(spans) or '1 = 0'})"]
        values = [value for part in found for value in (part.span_seconds, adapt(part.start_at), adapt(part.end_at))]
        chosen = dict(self.filters)
        if self.organizations is not None:
            chosen["organization"] = list(self.organizations)
        for name, wanted in chosen.items():
            parts.append(f"m.{COLUMNS[name]} IN ({','.join(['%s'] * len(wanted))})" if wanted else "1 = 0")
            values += wanted
        return " AND ".join(parts), values

    def _kind(self, by: Sequence[str]) -> str:
        asked = {*by, *self.filters}
        if asked & {"endpoint", "method"}:
            return f"m.route <> '{ALL}'"
        is_by_organization = "organization" in asked or self.organizations is not None
        return f"m.route = '{ALL}' AND m.organization_id {'<>' if is_by_organization else '='} '{ALL}'"


def summed(
    where: Where, *, by: Sequence[str] = (), step_seconds: int | None = None, has_buckets: bool = False
) -> dict[Key, Summed]:
    """Return {(bucket's beginning, *dimensions): calls}: one statement, and one more for histograms.

    Both read days, hours and minutes along an index, the longest that lie whole in the buckets.
    """
    found = {tuple(row[: len(by) + 1]): Summed(*row[len(by) + 1 :]) for row in _rows(where, by, step_seconds, NUMBERS)}
    if has_buckets:
        for *key, index, number in _histograms(where, by, step_seconds):
            found[tuple(key)].buckets[int(index)] = int(number)
    return {key: calls for key, calls in found.items() if calls.count}


def _head(by: Sequence[str], step: int | None, vendor: str) -> str:
    epoch = (
        "date_part('epoch', m.minute_at)" if vendor == "postgresql" else "CAST(strftime('%%s', m.minute_at) AS INTEGER)"
    )
    whole = f"(floor({epoch} / {step}) * {step})::bigint" if vendor == "postgresql" else f"{epoch} / {step} * {step}"
    return ", ".join([whole if step else "0", *(f"m.{COLUMNS[name]}" for name in by)])


def _rows(where: Where, by: Sequence[str], step: int | None, numbers: str) -> list[tuple[Any, ...]]:
    connection = connections[router.db_for_read(RequestMetric)]
    condition, values = where.condition(connection.ops.adapt_datetimefield_value, by=by, step=step)
    head, places = _head(by, step, connection.vendor), ", ".join(map(str, range(2, len(by) + 2)))
    groups = ", ".join(filter(None, ["1" if step else "", places]))
    statement = f"SELECT {head}, {numbers} FROM request_metrics m WHERE {condition}"  # noqa: S608 — our own names
    with connection.cursor() as cursor:
        cursor.execute(f"{statement} GROUP BY {groups}" if groups else statement, values)
        return [(int(row[0]), *row[1 : len(by) + 1], *map(_plain, row[len(by) + 1 :])) for row in cursor.fetchall()]


def _plain(number: Any) -> Any:
    """Return a sum as a plain number: PostgreSQL sums whole numbers up to decimals."""
    return number if isinstance(number, float | int) else int(number)


def _histograms(where: Where, by: Sequence[str], step: int | None) -> list[tuple[Any, ...]]:
    connection = connections[router.db_for_read(RequestMetric)]
    condition, values = where.condition(connection.ops.adapt_datetimefield_value, by=by, step=step)
    head = _head(by, step, connection.vendor)
    each = "jsonb_each_text(m.buckets)" if connection.vendor == "postgresql" else "json_each(m.buckets)"
    number = "b.value::bigint" if connection.vendor == "postgresql" else "b.value"
    places = ", ".join(map(str, range(2 - bool(step), len(by) + 3)))
    statement = (
        f"SELECT {head}, b.key, sum({number}) FROM request_metrics m, {each} AS b "  # noqa: S608 — our own names
        f"WHERE {condition} GROUP BY {places}"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


# --- as a source of queries -------------------------------------------------------------------------------------------


def read(wanted: Wanted) -> Iterator[Cell]:
    """Yield counts by the hour (or the minute), and the durations by the query's buckets."""
    where = Where(wanted.organizations, wanted.start_at, wanted.end_at, wanted.filters, wanted.now)
    if counts := [name for name in wanted.metrics if name in COUNTS]:
        for (at, *keys), calls in summed(where, by=wanted.dimensions, step_seconds=unit_seconds(wanted)).items():
            yield from (counted(name, at, tuple(keys), getattr(calls, COUNTS[name][0])) for name in counts)
    if DURATION in wanted.metrics:
        found = summed(where, by=wanted.dimensions, step_seconds=wanted.step_seconds, has_buckets=True)
        for (at, *keys), calls in found.items():
            low = histogram.quantile(calls.buckets, 0) or 0.0
            flat = [part for pair in sorted(calls.buckets.items()) for part in pair]
            yield Cell(DURATION, at, tuple(keys), [calls.count, calls.sum_ms, low, calls.max_ms, flat])


SOURCE: Final = Source(
    NAME,
    [
        *(Metric(name, COUNTED, "calls", text, tuple(COLUMNS), NAME, KEPT) for name, (_, text) in COUNTS.items()),
        Metric(DURATION, MEASURED, "ms", "How long the calls took.", tuple(COLUMNS), NAME),
    ],
    read,
)
