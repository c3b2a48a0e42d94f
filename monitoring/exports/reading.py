"""The rows of an export in batches: samples by ranges of their key, or the rows of a query, window by window."""

from collections.abc import Collection, Iterator
from datetime import datetime
from itertools import islice
from math import ceil
from typing import Any, Final

from django.db.models import Q, QuerySet

from monitoring.analytics import query, samples
from monitoring.analytics.spec import BUCKETS
from monitoring.exports.columns import NUMBER, TEXT, TIMESTAMP, Column, Row
from monitoring.exports.wish import Wish
from monitoring.metrics import sources
from monitoring.models import SystemMetric

BATCH: Final = 2_000
IDENTITY: Final = ("timestamp", "organization_id", "orchestrator_id")
Batch = tuple[list[Row], int]  # rows, and how far these and all before them get, in the units of `total`


def columns(wish: Wish) -> list[Column]:
    """Return the columns: time and place first, then the metrics in the order they were asked for."""
    names = (*IDENTITY, *wish.spec.metrics) if wish.is_raw else wish.spec.columns
    kinds = {"timestamp": TIMESTAMP, **dict.fromkeys(wish.spec.metrics, NUMBER)}
    return [Column(name, kinds.get(name, TEXT)) for name in names]


def total(wish: Wish, *, organizations: Collection[str] | None, most: int, now: datetime) -> int:
    """Return how much there is to do: samples, counted up to `most` + 1, or buckets of time."""
    if wish.is_raw:
        rows = _samples(wish, now=now).filter(organization_id__in=_scope(wish, organizations))
        return rows.order_by()[: most + 1].count()
    if wish.spec.bucket is None:
        return 1
    return ceil((wish.spec.end_at - wish.spec.start_at).total_seconds() / BUCKETS[wish.spec.bucket][0])


def batches(wish: Wish, *, organizations: Collection[str] | None, now: datetime) -> Iterator[Batch]:
    """Yield the rows as of `now`: samples by organization and time, a query's rows by time and dimensions."""
    if wish.is_raw:
        return _raw(wish, organizations=organizations, now=now)
    return _queried(wish, organizations=organizations, now=now)


def _scope(wish: Wish, organizations: Collection[str] | None) -> list[str]:
    wanted = wish.spec.filters.get("organization")
    found = sources.organizations(organizations)
    return found if wanted is None else sorted(set(found) & set(wanted))


def _samples(wish: Wish, *, now: datetime) -> QuerySet[SystemMetric]:
    rows = SystemMetric.objects.order_by("timestamp", "id")
    rows = rows.filter(timestamp__gte=wish.spec.start_at, timestamp__lt=min(wish.spec.end_at, now))
    for name, values in wish.spec.filters.items():
        if name != "organization":
            rows = rows.filter(**{f"{samples.COLUMNS[name]}__in": list(values)})
    return rows


def _raw(wish: Wish, *, organizations: Collection[str] | None, now: datetime) -> Iterator[Batch]:
    """Yield samples of one organization after the other: its index begins with it, and then has the time.

    One that has none is an empty batch: whoever writes them renews its lease between them.
    """
    done, names = 0, (*IDENTITY, *wish.spec.metrics)
    for organization_id in _scope(wish, organizations):
        following = rows = _samples(wish, now=now).filter(organization_id=organization_id)
        yield [], done
        while found := list(following.values_list(*names, "id")[:BATCH]):
            done += len(found)
            yield [row[:-1] for row in found], done
            at, pk = found[-1][0], found[-1][-1]
            following = rows.filter(Q(timestamp__gt=at) | Q(timestamp=at, pk__gt=pk), timestamp__gte=at)


def _queried(wish: Wish, *, organizations: Collection[str] | None, now: datetime) -> Iterator[Batch]:
    rows, names = query.rows(wish.spec, organizations=organizations, now=now), wish.spec.columns
    while found := list(islice(rows, BATCH)):
        yield [[row[name] for name in names] for row in found], _buckets(wish, found[-1])


def _buckets(wish: Wish, row: dict[str, Any]) -> int:
    """Return how many buckets of time are through with `row`."""
    if wish.spec.bucket is None:
        return 1
    passed: float = (row["timestamp"] - wish.spec.start_at).total_seconds()
    return max(1, ceil(passed / BUCKETS[wish.spec.bucket][0]))
