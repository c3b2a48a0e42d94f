"""Rows of calls as processes store them: of each minute's row also its hour and its day, and the sums of these."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from monitoring.metrics import requests
from monitoring.metrics.call_spans import DAY, HOUR
from monitoring.models import ALL, RequestMetric


def with_hours_and_days(minutes: Iterable[RequestMetric]) -> Iterator[RequestMetric]:
    """Yield the rows of minutes, then those of their hours and days, then the sums of these."""
    found: dict[tuple[object, ...], RequestMetric] = {}
    for row in minutes:
        yield row
        for span in (HOUR, DAY):
            start = int(row.minute_at.timestamp()) // span * span
            for route, home in ((row.route, row.organization_id), (ALL, row.organization_id), (ALL, ALL)):
                method = ALL if route == ALL else row.method
                key = (row.node, home, route, method, row.status_class, span, start)
                if key in found:
                    _add(found[key], row)
                else:
                    found[key] = _copy(row, span, start)
                    found[key].route, found[key].method, found[key].organization_id = route, method, home
    yield from found.values()


def store(minutes: Iterable[RequestMetric]) -> None:
    """Store rows of minutes with their hours and days."""
    requests.store(list(with_hours_and_days(minutes)))


def _copy(row: RequestMetric, span: int, start: int) -> RequestMetric:
    names = [field.attname for field in RequestMetric._meta.concrete_fields if field.attname != "id"]
    columns = {name: getattr(row, name) for name in names}
    whole = {"span_seconds": span, "minute_at": datetime.fromtimestamp(start, UTC), "buckets": dict(row.buckets)}
    return RequestMetric(**columns | whole)


def _add(whole: RequestMetric, row: RequestMetric) -> None:
    for name in ("count", "unauthenticated", "rate_limited", "sum_ms"):
        setattr(whole, name, getattr(whole, name) + getattr(row, name))
    whole.max_ms = max(whole.max_ms, row.max_ms)
    for index, number in row.buckets.items():
        whole.buckets[index] = whole.buckets.get(index, 0) + number
