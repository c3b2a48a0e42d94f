"""Samples into their table: in bulk, each id once, with the marks that have their hours rolled up."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Final

import orjson
from django.db import connections, models, router, transaction
from django.utils import timezone
from psycopg.types.json import Jsonb

from monitoring.models import MetricMark, MetricRollup, SystemMetric

HOUR: Final = timedelta(hours=1)
GRACE: Final = timedelta(minutes=2)  # an hour is rolled up this long after its end: most of what is under way is in
FIELDS: Final = [field for field in SystemMetric._meta.concrete_fields if not field.primary_key]
NAMES: Final = ", ".join(f'"{field.column}"' for field in FIELDS)
TYPES: Final = {models.DateTimeField: "timestamptz", models.FloatField: "float8", models.JSONField: "jsonb"}
TABLE: Final = SystemMetric._meta.db_table
_values = attrgetter(*(field.attname for field in FIELDS))
_CUSTOM, _TIMES = (
    [index for index, field in enumerate(FIELDS) if type(field) is kind]
    for kind in (models.JSONField, models.DateTimeField)
)
Touched = dict[datetime, set[tuple[str, str]]]


def insert(rows: Iterable[SystemMetric]) -> int:
    """Insert the rows whose `metric_id` is new; return how many that were. One transaction, or the caller's.

    COPY into a temporary table on PostgreSQL (docs/decisions/0009-measurements.md has the figures); `created_at` is
    set where it is missing.
    """
    alias = router.db_for_write(SystemMetric)
    connection = connections[alias]
    store = _copy if connection.vendor == "postgresql" else _execute_many
    touched: Touched = defaultdict(set)
    now = timezone.now()
    with transaction.atomic(using=alias):
        stored = store(connection, _noted(rows, touched, now=now))
        if touched:
            MetricMark.objects.bulk_create(_marks(touched, now=now))
    return stored


def hour_of(moment: datetime) -> datetime:
    """Return the beginning of the hour."""
    return moment.replace(minute=0, second=0, microsecond=0)


def _noted(rows: Iterable[SystemMetric], touched: Touched, *, now: datetime) -> Iterator[list[Any]]:
    """Yield the values of each row in the order of FIELDS, and note its hour and whose it is."""
    for row in rows:
        row.created_at = row.created_at or now
        touched[hour_of(row.timestamp)].add((row.organization_id, row.orchestrator_id))
        yield list(_values(row))


def _copy(connection: Any, rows: Iterator[list[Any]]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TEMP TABLE IF NOT EXISTS incoming_samples ON COMMIT DELETE ROWS AS "  # noqa: S608 — our own names
            f"SELECT {NAMES} FROM {TABLE} LIMIT 0"
        )
        cursor.execute("DELETE FROM incoming_samples")  # those of an earlier call in this transaction
        with cursor.copy(f"COPY incoming_samples ({NAMES}) FROM STDIN (FORMAT binary)") as copy:
            copy.set_types([TYPES.get(type(field), "varchar") for field in FIELDS])
            for values in rows:
                for index in _CUSTOM:
                    values[index] = Jsonb(values[index], orjson.dumps)
                copy.write_row(values)
        cursor.execute(
            f"INSERT INTO {TABLE} ({NAMES}) SELECT {NAMES} FROM incoming_samples "  # noqa: S608 — our own names
            f"ON CONFLICT (metric_id) DO NOTHING"
        )
        return int(cursor.rowcount)


def _execute_many(connection: Any, rows: Iterator[list[Any]]) -> int:
    marks = ", ".join(["%s"] * len(FIELDS))
    statement = f"INSERT INTO {TABLE} ({NAMES}) VALUES ({marks}) ON CONFLICT (metric_id) DO NOTHING"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.executemany(statement, _as_text(rows, connection.ops.adapt_datetimefield_value))
        return int(cursor.rowcount)


def _as_text(rows: Iterator[list[Any]], adapt: Any) -> Iterator[list[Any]]:
    for values in rows:
        for index in _TIMES:
            values[index] = adapt(values[index])
        for index in _CUSTOM:
            values[index] = json.dumps(values[index])  # as Django writes it: a backup compares texts
        yield values


def _marks(touched: Touched, *, now: datetime) -> list[MetricMark]:
    """Return the marks of the touched hours: an hour that still runs is due after its end, a late sample at once."""
    return [
        MetricMark(
            resolution=MetricRollup.Resolution.HOURLY,
            start_at=start,
            due_at=max(now, start + HOUR + GRACE),
            sources=sorted(sources),
        )
        for start, sources in touched.items()
    ]
