"""What the calls of our API come to over a span: counts, errors, percentiles; in all and by route. Reads rows."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from django.db.models import Max, QuerySet, Sum
from django.utils import timezone

from monitoring.metrics import call_spans, histogram
from monitoring.models import RequestMetric


@dataclass(slots=True)
class Calls:
    """Counts of calls and the histogram of their milliseconds."""

    count: int = 0
    client_errors: int = 0
    server_errors: int = 0
    sum_ms: float = 0.0
    max_ms: float = 0.0
    buckets: histogram.Counts = field(default_factory=dict)

    def add(self, status_class: str, count: int, sum_ms: float, max_ms: float, buckets: Mapping[str, int]) -> None:
        """Add a row."""
        self.count += count
        self.client_errors += count if status_class == "4xx" else 0
        self.server_errors += count if status_class == "5xx" else 0
        self.sum_ms += sum_ms
        self.max_ms = max(self.max_ms, max_ms)
        histogram.merge(self.buckets, {int(index): number for index, number in buckets.items()})

    def quantile(self, q: float) -> float | None:
        """Return the milliseconds below which the share `q` of the calls lies."""
        return histogram.quantile(self.buckets, q, high=self.max_ms)

    @property
    def error_rate(self) -> float | None:
        """The share of calls that failed on our side (5xx), 0 to 1; None without calls."""
        return self.server_errors / self.count if self.count else None

    def told(self) -> dict[str, Any]:
        """Return the numbers as the API answers them."""
        return {
            "count": self.count,
            "client_errors": self.client_errors,
            "server_errors": self.server_errors,
            "error_rate": self.error_rate,
            "avg_ms": self.sum_ms / self.count if self.count else None,
            "p50_ms": self.quantile(0.5),
            "p95_ms": self.quantile(0.95),
            "p99_ms": self.quantile(0.99),
            "max_ms": self.max_ms if self.count else None,
        }


def by_route(
    *,
    organizations: Collection[str] | None,
    since: datetime,
    until: datetime,
    routes: Collection[str] | None = None,
    now: datetime | None = None,
) -> dict[tuple[str, str], Calls]:
    """Return {(method, route): calls} of these organizations (None: all, and nobody's), row by row.

    Histograms of days, of hours at both ends and of minutes around them are read; `routes` (None: all) says of which
    routes that is needed.
    """
    found: dict[tuple[str, str], Calls] = defaultdict(Calls)
    columns = ("method", "route", "status_class", "count", "sum_ms", "max_ms", "buckets")
    rows = _rows(organizations, since, until, now)
    if routes is not None:
        rows = rows.filter(route__in=list(routes))
    for method, route, *numbers in rows.values_list(*columns).iterator(chunk_size=2000):
        found[method, route].add(*numbers)
    return dict(found)


def counted(
    *, organizations: Collection[str] | None, since: datetime, until: datetime, now: datetime | None = None
) -> dict[tuple[str, str], Calls]:
    """Return the same without histograms, summed up by the database: a row for each route and class of statuses."""
    found: dict[tuple[str, str], Calls] = defaultdict(Calls)
    rows = _rows(organizations, since, until, now).values_list("method", "route", "status_class")
    summed = rows.annotate(calls=Sum("count"), spent=Sum("sum_ms"), slowest=Max("max_ms"))
    for method, route, *numbers in cast(Iterable[tuple[Any, ...]], summed):
        found[method, route].add(*(*numbers, {}))
    return dict(found)


def _rows(
    organizations: Collection[str] | None, since: datetime, until: datetime, now: datetime | None
) -> QuerySet[RequestMetric]:
    parts = call_spans.parts(since, until, now=now or timezone.now())
    rows = RequestMetric.objects.filter(call_spans.matching(parts)).order_by()
    return rows if organizations is None else rows.filter(organization_id__in=list(organizations))


def together(found: Mapping[tuple[str, str], Calls]) -> Calls:
    """Return all calls as one."""
    total = Calls()
    for calls in found.values():
        total.count += calls.count
        total.client_errors += calls.client_errors
        total.server_errors += calls.server_errors
        total.sum_ms += calls.sum_ms
        total.max_ms = max(total.max_ms, calls.max_ms)
        histogram.merge(total.buckets, calls.buckets)
    return total
