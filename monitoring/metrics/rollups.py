"""Hourly and daily roll-ups: each marked bucket is computed anew from what lies below it, however often that happens.

An orchestrator's hour comes from samples, an organization's from its orchestrators' hours, the hour of all from the
organizations'; a day comes from its hours. Marks are rows of the transaction that stored the samples: whoever sees a
mark sees its samples, and what is stored later has a mark of its own. One process computes at a time.
"""

import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

import orjson
from django.db import connections, router, transaction
from django.db.models import Count, QuerySet
from django.db.models.functions import TruncHour

from monitoring.metrics import aggregates
from monitoring.metrics.aggregates import Columns
from monitoring.metrics.spans import SETTLED
from monitoring.metrics.storage import HOUR, hour_of
from monitoring.models import ALL, NUMBERS, MetricMark, MetricRollup, SystemMetric

BATCH: Final = 50  # buckets of one transaction: on SQLite everybody else waits for it
MAX_MARKS: Final = 5_000  # read at once
MAX_COMPACTED: Final = 10  # moments of one run
BUDGET_SECONDS: Final = 20.0
LOCK: Final = 0x6D6F6F6C  # of pg_try_advisory_xact_lock
DAY: Final = timedelta(days=1)
OVER: Final = DAY + SETTLED["daily"]  # after its beginning a day is read: what comes late is to be in it at once
HOURLY, DAILY = MetricRollup.Resolution.HOURLY, MetricRollup.Resolution.DAILY
STORE: Final = """
INSERT INTO metric_rollups (resolution, organization_id, orchestrator_id, start_at, samples, columns, summaries)
VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (organization_id, orchestrator_id, resolution, start_at)
DO UPDATE SET samples = excluded.samples, columns = excluded.columns, summaries = excluded.summaries
"""
Source = tuple[str, str]  # organization id, orchestrator id
Bucket = tuple[str, datetime]  # resolution, start
Buckets = dict[Bucket, set[Source]]


def run(*, now: datetime, budget_seconds: float = BUDGET_SECONDS) -> int:
    """Compute the buckets that are due, until none is left or the time is up; return how many.

    Nothing when another process does it.
    """
    until, done = time.monotonic() + budget_seconds, 0
    while time.monotonic() < until and (computed := _step(now=now)):
        done += computed
    _compact(now=now)
    return done


def mark_all(*, now: datetime) -> None:
    """Mark every hour that has samples, due at once: for what was stored or changed beside `storage`."""
    hours = SystemMetric.objects.annotate(hour=TruncHour("timestamp")).order_by()
    touched: Buckets = defaultdict(set)
    for start, *source in hours.values_list("hour", "organization_id", "orchestrator_id").distinct():
        touched[HOURLY, start].add((source[0], source[1]))
    _write(touched, due_at=now)


def _step(*, now: datetime) -> int:
    """Take the marks that are due, compute one batch of the lowest, and write the others back; return how many."""
    alias = router.db_for_write(MetricMark)
    with transaction.atomic(using=alias):
        due = _taken(MetricMark.objects.filter(due_at__lte=now)) if _is_alone(alias) else {}
        if not due:
            return 0
        batch = _lowest(due)
        for (resolution, start), sources in batch.items():
            _compute(resolution, start, sources)
            due[resolution, start] -= sources
        hours, days = _above(batch)
        over = {(resolution, start): days[resolution, start] for resolution, start in days if start <= now - OVER}
        _write(_joined(due, hours, over), due_at=now)
        _write({bucket: days[bucket] for bucket in days.keys() - over.keys()}, due_at=hour_of(now) + HOUR)
        return sum(map(len, batch.values()))


def _compact(*, now: datetime) -> None:
    """Make one mark of all that wait for the same moment."""
    alias = router.db_for_write(MetricMark)
    with transaction.atomic(using=alias):
        if not _is_alone(alias):
            return
        waiting = MetricMark.objects.filter(due_at__gt=now).values("due_at", "resolution", "start_at")
        counted = waiting.annotate(marks=Count("pk")).filter(marks__gt=1).order_by("-marks")
        for due_at, resolution, start in counted.values_list("due_at", "resolution", "start_at")[:MAX_COMPACTED]:
            same = MetricMark.objects.filter(due_at=due_at, resolution=resolution, start_at=start)
            _write(_taken(same), due_at=due_at)


def _taken(marks: QuerySet[MetricMark]) -> Buckets:
    """Delete marks and return their buckets, each once, however many marks it had."""
    rows = list(marks.order_by("due_at", "id")[:MAX_MARKS])
    MetricMark.objects.filter(pk__in=[mark.pk for mark in rows]).delete()
    return _joined(
        *({(mark.resolution, mark.start_at): {(one, other) for one, other in mark.sources}} for mark in rows)
    )


def _is_alone(alias: str) -> bool:
    """Lock out other processes until the transaction ends; SQLite's transactions do so themselves."""
    if connections[alias].vendor != "postgresql":
        return True
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        return bool(cursor.fetchone()[0])


def _level(resolution: str, source: Source) -> int:
    """Return the order of computing: orchestrators, organizations, all; then days."""
    return 3 if resolution == DAILY else source.count(ALL)


def _lowest(due: Buckets) -> Buckets:
    """Return up to BATCH buckets of the lowest level, oldest first."""
    found = sorted(
        (_level(resolution, source), start, resolution, source)
        for (resolution, start), sources in due.items()
        for source in sources
    )
    batch: Buckets = defaultdict(set)
    for level, start, resolution, source in found[:BATCH]:
        if level == found[0][0]:
            batch[resolution, start].add(source)
    return batch


def _above(batch: Buckets) -> tuple[Buckets, Buckets]:
    """Return the hours and the days that a batch of hours touches."""
    hours: Buckets = defaultdict(set)
    days: Buckets = defaultdict(set)
    for (resolution, start), sources in batch.items():
        if resolution == HOURLY:
            above = {(organization_id, ALL) if other != ALL else (ALL, ALL) for organization_id, other in sources}
            hours[resolution, start] = above - sources
            days[DAILY, start.replace(hour=0)] |= sources
    return hours, days


def _joined(*all_buckets: Buckets) -> Buckets:
    joined: Buckets = defaultdict(set)
    for buckets in all_buckets:
        for bucket, sources in buckets.items():
            joined[bucket] |= sources
    return joined


def _write(buckets: Buckets, *, due_at: datetime) -> None:
    MetricMark.objects.bulk_create(
        MetricMark(resolution=resolution, start_at=start, due_at=due_at, sources=sorted(sources))
        for (resolution, start), sources in buckets.items()
        if sources
    )


# --- computing ------------------------------------------------------------------------------------------------------


def _compute(resolution: str, start: datetime, sources: Iterable[Source]) -> None:
    """Compute the buckets of one hour or day and store them.

    A bucket that would lose samples stays as it is: the samples below it were let go by retention.
    """
    rows = [_row(resolution, start, source) for source in sorted(sources)]
    known = MetricRollup.objects.filter(resolution=resolution, start_at=start)
    had = {
        (row[0], row[1]): row[2]
        for row in known.filter(organization_id__in={row.organization_id for row in rows}).values_list(
            "organization_id", "orchestrator_id", "samples"
        )
    }
    _store(
        [row for row in rows if row.samples and row.samples >= had.get((row.organization_id, row.orchestrator_id), 0)]
    )


def _store(rows: Iterable[MetricRollup]) -> None:
    """Insert or replace; row by row, because an array of JSON texts would have every quote escaped."""
    connection = connections[router.db_for_write(MetricRollup)]
    adapt = connection.ops.adapt_datetimefield_value
    with connection.cursor() as cursor:
        cursor.executemany(
            STORE,
            [
                [row.resolution, row.organization_id, row.orchestrator_id, adapt(row.start_at), row.samples,
                 orjson.dumps(row.columns).decode(), orjson.dumps(aggregates.summaries(row.columns)).decode()]
                for row in rows
            ],
        )  # fmt: skip


def _row(resolution: str, start: datetime, source: Source) -> MetricRollup:
    samples, columns = _from_samples(start, source) if _level(resolution, source) == 0 else _from_rollups(
        resolution, start, source
    )  # fmt: skip
    return MetricRollup(
        resolution=resolution,
        organization_id=source[0],
        orchestrator_id=source[1],
        start_at=start,
        samples=samples,
        columns=columns,
    )


def _from_samples(start: datetime, source: Source) -> tuple[int, Columns]:
    organization_id, orchestrator_id = source
    rows = SystemMetric.objects.filter(
        organization_id=organization_id,
        orchestrator_id=orchestrator_id,
        timestamp__gte=start,
        timestamp__lt=start + HOUR,
    )
    values = list(rows.order_by().values_list(*NUMBERS))
    return len(values), aggregates.of_values(
        dict(zip(NUMBERS, zip(*values, strict=True), strict=True)) if values else {}
    )


def _from_rollups(resolution: str, start: datetime, source: Source) -> tuple[int, Columns]:
    organization_id, orchestrator_id = source
    rows = MetricRollup.objects.filter(resolution=HOURLY)
    if resolution == DAILY:
        hours = [start + HOUR * number for number in range(24)]
        rows = rows.filter(organization_id=organization_id, orchestrator_id=orchestrator_id, start_at__in=hours)
    elif organization_id == ALL:
        rows = rows.filter(start_at=start, orchestrator_id=ALL).exclude(organization_id=ALL)
    else:
        rows = rows.filter(start_at=start, organization_id=organization_id).exclude(orchestrator_id=ALL)
    found = list(rows.order_by().values_list("samples", "columns"))
    return sum(samples for samples, _ in found), aggregates.merged(columns for _, columns in found)
