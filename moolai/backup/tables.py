"""Rows out of the databases and in again, through the models' fields, so that one text fits SQLite and PostgreSQL."""

import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from django.apps import apps
from django.core.management.color import no_style
from django.db import connections, models, router, transaction
from django.utils.duration import duration_iso_string

# A session is a credential: everybody signs in again. The files of exports are large, and made again when asked for.
LEFT_OUT: Final = frozenset({"django_session", "export_chunks"})
Model = type[models.Model]


def backed_up() -> dict[str, Model]:
    """Return the models whose rows are in a backup, by table."""
    found = {model._meta.db_table: model for model in apps.get_models(include_auto_created=True) if _is_kept(model)}
    return dict(sorted(found.items()))


def _is_kept(model: Model) -> bool:
    meta = model._meta
    return meta.managed and not meta.proxy and not meta.swapped and meta.db_table not in LEFT_OUT


def columns(model: Model) -> list[str]:
    """Return the columns of a model that are stored in a backup."""
    return [field.column for field in _fields(model)]


def _fields(model: Model) -> list[Any]:
    return [field for field in model._meta.concrete_fields if not getattr(field, "generated", False)]


# --- out ------------------------------------------------------------------------------------------------------------


@contextmanager
def snapshot(alias: str) -> Iterator[None]:
    """Have every read inside the block see one moment; nobody who writes meanwhile waits."""
    connection = connections[alias]
    if connection.vendor == "postgresql":
        with transaction.atomic(using=alias), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            _without_timeouts(alias)
            yield
        return
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")  # deferred, unlike `atomic`: a reader of the write-ahead log
        try:
            cursor.execute("SELECT count(*) FROM django_migrations")
            yield
        finally:
            cursor.execute("ROLLBACK")


def lines(model: Model) -> Iterator[bytes]:
    """Return every row of a model as one line of JSON, a list in the order of `columns`, in the order of its key."""
    names = [field.attname for field in _fields(model)]
    rows = model._base_manager.using(router.db_for_read(model)).order_by("pk").values_list(*names)
    for row in rows.iterator(chunk_size=1000):
        yield json.dumps([_plain(value) for value in row], ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return duration_iso_string(value)
    if isinstance(value, bytes | memoryview):
        return base64.b64encode(bytes(value)).decode()
    if value is None or isinstance(value, str | int | float | bool | list | dict):
        return value
    return str(value)  # Decimal, UUID, addresses, time zones: their fields take the text


# --- in -------------------------------------------------------------------------------------------------------------


def insert(model: Model, rows: Sequence[bytes]) -> None:
    """Insert lines that `lines` returned, as they are: no default, no `auto_now`, no signal."""
    alias = router.db_for_write(model)
    connection, fields = connections[alias], _fields(model)
    quote = connection.ops.quote_name
    names = ", ".join(quote(field.column) for field in fields)
    marks = ", ".join(["%s"] * len(fields))
    statement = f"INSERT INTO {quote(model._meta.db_table)} ({names}) VALUES ({marks})"  # noqa: S608 — our own names
    values = [
        [_stored(field, value, connection) for field, value in zip(fields, json.loads(row), strict=True)]
        for row in rows
    ]
    with connection.cursor() as cursor:
        cursor.executemany(statement, values)


def _stored(field: Any, value: Any, connection: Any) -> Any:
    if isinstance(field, models.JSONField):
        if value is None and not field.null:
            return connection.ops.adapt_json_value(None, None)
        return field.get_db_prep_save(value, connection)
    if isinstance(field, models.BinaryField) and value is not None:
        value = base64.b64decode(value)
    return field.get_db_prep_save(field.to_python(value), connection)


@contextmanager
def replacing(aliases: Sequence[str]) -> Iterator[None]:
    """Empty every table of the databases, and have the block fill them, in one transaction for each database.

    Triggers, such as the one that keeps the audit trail from being edited, are off inside and on again afterwards.
    """
    if not aliases:
        yield
        return
    alias, *others = aliases
    mine = [model for model in backed_up().values() if router.db_for_write(model) == alias]
    with transaction.atomic(using=alias):
        _without_timeouts(alias)
        triggers = _drop_triggers(alias)
        for model in [*mine, *_left_out(alias)]:
            with connections[alias].cursor() as cursor:
                table = connections[alias].ops.quote_name(model._meta.db_table)
                cursor.execute(f"DELETE FROM {table}")  # noqa: S608 — our own name
        with replacing(others):
            yield
        connections[alias].check_constraints()
        with connections[alias].cursor() as cursor:
            for statement in [*connections[alias].ops.sequence_reset_sql(no_style(), mine), *triggers]:
                cursor.execute(statement)


def _left_out(alias: str) -> list[Model]:
    return [
        model for model in apps.get_models() if model._meta.db_table in LEFT_OUT and router.db_for_write(model) == alias
    ]


def count(model: Model) -> int:
    """Return how many rows a table has."""
    return model._base_manager.using(router.db_for_read(model)).count()


def _without_timeouts(alias: str) -> None:
    if connections[alias].vendor == "postgresql":
        with connections[alias].cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 0")
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")


def _drop_triggers(alias: str) -> list[str]:
    """Take the triggers of the schema away (the transaction keeps that from others); return how to bring them back."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT tgrelid::regclass::text, quote_ident(tgname), pg_get_triggerdef(t.oid) FROM pg_trigger t "
                "JOIN pg_class c ON c.oid = tgrelid WHERE NOT tgisinternal AND c.relnamespace = "
                "current_schema()::regnamespace"
            )
            found = [(f"DROP TRIGGER {name} ON {table}", text) for table, name, text in cursor.fetchall()]
        else:
            cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            quote = connection.ops.quote_name
            found = [(f"DROP TRIGGER {quote(name)}", text) for name, text in cursor.fetchall()]
        for statement, _ in found:
            cursor.execute(statement)
    return [text for _, text in found]
