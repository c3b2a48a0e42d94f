"""Reading the audit trail: what it can be narrowed by, and its rows as a file of any length."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from django.db import connections, router, transaction
from django.db.models import QuerySet

from orgs import audit, spreadsheet
from orgs.models import AuditEntry, User

COLUMNS: Final = (
    "id", "created_at", "organization_id", "sequence", "actor", "action", "target_type", "target_id", "before", "after",
    "reason", "remote_address", "request_id", "previous_hash", "hash",
)  # fmt: skip
CHUNK: Final = 1_000
MAX_WORDS: Final = 500
# Jumps from one value to the next through an index that begins with the column: as many steps as there are values,
# however many rows the trail has.
_DISTINCT: Final = """
    WITH RECURSIVE words(word) AS (
        SELECT MIN({column}) FROM audit_log
        UNION ALL
        SELECT (SELECT MIN({column}) FROM audit_log WHERE {column} > words.word) FROM words WHERE word IS NOT NULL
    )
    SELECT word FROM words WHERE word IS NOT NULL LIMIT %s
"""
_STATEMENTS: Final = {column: _DISTINCT.format(column=column) for column in ("action", "target_type")}


def actions() -> list[str]:
    """Return every action that the trail knows, in order."""
    return _distinct("action")


def target_types() -> list[str]:
    """Return every type of target that the trail knows, in order."""
    return _distinct("target_type")


def _distinct(column: str) -> list[str]:
    with connections[router.db_for_read(AuditEntry)].cursor() as cursor:
        cursor.execute(_STATEMENTS[column], [MAX_WORDS])
        return sorted(word for (word,) in cursor.fetchall())


# --- export ---------------------------------------------------------------------------------------------------------


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return spreadsheet.encode([row[name] for name in COLUMNS] for row in rows)


def _json_lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(
        json.dumps(dict(row), ensure_ascii=False, default=_time).encode("utf-8", "replace") + b"\n" for row in rows
    )


def _time(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


# format → (content type, what encodes a chunk of rows, what stands before them)
FORMATS: Final[dict[str, tuple[str, Callable[[Sequence[Mapping[str, Any]]], bytes], bytes]]] = {
    "csv": (spreadsheet.CONTENT_TYPE, _csv, spreadsheet.encode([COLUMNS])),
    "jsonl": ("application/x-ndjson", _json_lines, b""),
}


@transaction.atomic
def export(
    rows: QuerySet[AuditEntry],
    *,
    file_format: str,
    filters: Mapping[str, str],
    acting_user: User | None,
    organization_id: str = "",
) -> tuple[int, Iterator[bytes]]:
    """Begin a file of `rows`, newest first; return how many there are and the file in pieces, each read when asked for.

    The export is audited before its first piece, with the filters and the count: the file holds what is there now.
    `organization_id` names the chain that says so, for an export of one organization's rows.
    """
    newest = AuditEntry.objects.order_by("-id").values_list("id", flat=True).first() or 0
    fixed = rows.filter(id__lte=newest)
    count = fixed.count()
    audit.record(
        "audit.export",
        acting_user=acting_user,
        organization_id=organization_id,
        target=("audit_log", organization_id or "all"),
        after={"format": file_format, "filters": dict(filters), "rows": count},
    )
    return count, _pieces(fixed, file_format)


def _pieces(rows: QuerySet[AuditEntry], file_format: str) -> Iterator[bytes]:
    _, encode, head = FORMATS[file_format]
    if head:
        yield head
    following = rows.order_by("-id").values(*COLUMNS)
    chunk = list(following[:CHUNK])
    while chunk:
        yield encode(chunk)
        chunk = list(following.filter(id__lt=chunk[-1]["id"])[:CHUNK])
