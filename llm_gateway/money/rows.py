"""Rows: many of one table written by one statement, handed to the database as one JSON text.

The database reads the JSON and makes what was made up fit its columns. So the thread that writes the ledger holds
Python's lock for little more than two calls of orjson, while the event loop of the same process serves.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import orjson
from django.db import connection, models

MOST: Final = 2**53
MOST_SMALL: Final = 2**15 - 1
_TYPES: Final[dict[str, str]] = {  # of PostgreSQL, by Django's names; whole numbers are clamped before they are cast
    "CharField": "text",
    "BooleanField": "boolean",
    "FloatField": "double precision",
    "JSONField": "jsonb",
    "DateTimeField": "timestamp",
}
_WHOLE: Final = {"BigIntegerField": MOST, "PositiveSmallIntegerField": MOST_SMALL}
Row = Mapping[str, Any]
Model = type[models.Model]


def put(model: Model, rows: Sequence[Row], *, replacing: tuple[str, ...] = ()) -> None:
    """Insert rows ({column: value}); of those whose primary key is there, only the columns `replacing` change.

    Without `replacing` a row that is there already, by whatever is unique, stays as it is. Texts are cut to their
    columns' lengths and numbers brought within 0 and 2**53 (2**15 - 1 of small ones). Moments are `moment`'s texts.
    """
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(_statement(model, connection.vendor, replacing), [_text(rows)])


def blank(model: Model) -> dict[str, Any]:
    """Return {column: default} of a new row."""
    return {str(field.column): field.get_default() for field in _fields(model)}


def moment(at: datetime) -> str:
    """Return a moment as rows are given it, and as SQLite keeps it: UTC, without saying so."""
    return str(at.astimezone(UTC).replace(tzinfo=None))


def known(model: Model, keys: Iterable[str]) -> set[str]:
    """Return those of the primary keys (texts) that rows of the model have."""
    wanted = list(keys)
    if not wanted:
        return set()
    is_postgres = connection.vendor == "postgresql"
    given = "jsonb_array_elements_text(%s::jsonb) AS given(value)" if is_postgres else "json_each(%s)"
    name, table = f'"{model._meta.pk.column}"', f'"{model._meta.db_table}"'
    statement = f"SELECT {name} FROM {table} WHERE {name} IN (SELECT value FROM {given})"  # noqa: S608  # names of ours
    with connection.cursor() as cursor:
        cursor.execute(statement, [_text(wanted)])
        return {row[0] for row in cursor.fetchall()}


def run(statement: str, rows: Sequence[Sequence[Any]], **columns: str) -> list[tuple[Any, ...]]:
    """Run a statement that reads `rows` as the table `given` ({column: type}), and return its own rows.

    It may say {lock} for what locks the rows that it finds, in their order, {least} and {greatest} for the functions
    of these names, and {most} for MOST.
    """
    is_postgres = connection.vendor == "postgresql"
    names = ", ".join(columns)
    if is_postgres:
        values = ", ".join(f"(value->>{place})::{kind}" for place, kind in enumerate(columns.values()))
        source = f"SELECT {values} FROM jsonb_array_elements(%s::jsonb) AS one(value)"  # noqa: S608  # names of ours
    else:
        values = ", ".join(f"json_extract(value, '$[{place}]')" for place in range(len(columns)))
        source = f"SELECT {values} FROM json_each(%s)"  # noqa: S608  # names of ours
    least, greatest = ("least", "greatest") if is_postgres else ("min", "max")
    said = statement.format(lock="FOR UPDATE" if is_postgres else "", least=least, greatest=greatest, most=MOST)
    with connection.cursor() as cursor:
        cursor.execute(f"WITH given({names}) AS ({source}) {said}", [_text(rows)])
        return cursor.fetchall() if cursor.description else []


def _text(content: Sequence[Any]) -> str:
    """Return rows as JSON without NUL, which no column takes."""
    found = orjson.dumps(content)
    if b"\\u0000" in found:
        found = orjson.dumps([_without_nul(one) for one in content])
    return found.decode()


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, Mapping):
        return {_without_nul(name): _without_nul(one) for name, one in value.items()}
    return [_without_nul(one) for one in value] if isinstance(value, list) else value


@lru_cache(maxsize=32)
def _statement(model: Model, vendor: str, replacing: tuple[str, ...]) -> str:
    meta = model._meta
    fields = _fields(model)
    names = ", ".join(f'"{field.column}"' for field in fields)
    values = ", ".join(_value(field, vendor) for field in fields)
    source = "json_each(%s) AS given"
    if vendor == "postgresql":
        typed = ", ".join(f'"{field.column}" {_TYPES.get(_kind(field), "numeric")}' for field in fields)
        source = f"jsonb_to_recordset(%s::jsonb) AS given({typed})"
    conflict = "DO NOTHING"
    if replacing:
        changes = ", ".join(f'"{name}" = excluded."{name}"' for name in replacing)
        conflict = f'("{meta.pk.column}") DO UPDATE SET {changes}'
    chosen = f"SELECT {values} FROM {source} WHERE true"  # noqa: S608  # all of these are names of ours
    return f'INSERT INTO "{meta.db_table}" ({names}) {chosen} ON CONFLICT {conflict}'


def _fields(model: Model) -> list[Any]:
    """Return the fields that rows are given; numbers that count by themselves are not."""
    return [field for field in model._meta.concrete_fields if not isinstance(field, models.AutoField)]


def _kind(field: Any) -> str:
    """Return Django's name for what a column holds; a foreign key holds what it points to."""
    return str(getattr(field, "target_field", field).get_internal_type())


def _value(field: Any, vendor: str) -> str:
    """Return the expression that reads a column of a given row, as it fits."""
    is_postgres = vendor == "postgresql"
    value = f'given."{field.column}"' if is_postgres else f"json_extract(given.value, '$.{field.column}')"
    if getattr(field, "max_length", None):
        return f"left({value}, {field.max_length})" if is_postgres else f"substr({value}, 1, {field.max_length})"
    if _kind(field) == "DateTimeField" and is_postgres:
        return f"{value} AT TIME ZONE 'UTC'"
    most = _WHOLE.get(_kind(field))
    if most is None:
        return value
    if is_postgres:  # greatest and least leave NULL out, and it is to stay
        return f"CASE WHEN {value} IS NULL THEN NULL ELSE trunc(greatest(0, least({value}, {most})))::bigint END"
    return f"CAST(max(0, min({value}, {most})) AS INTEGER)"
