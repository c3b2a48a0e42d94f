"""CSV for people with spreadsheets: RFC 4180, and no cell that a spreadsheet would run as a formula.

Every export that writes CSV goes through here; touches neither the database nor a request.
"""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\0")  # OWASP ASVS 1.2.10
CONTENT_TYPE: Final = "text/csv; charset=utf-8"


def cell(value: Any) -> str | int | float:
    """Return `value` as a cell: numbers stay numbers, times are ISO 8601 in UTC, objects and lists are JSON.

    A text that a spreadsheet might take for a formula is prefixed with '; NUL, which cuts texts off, is left out.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    text = _text(value)
    is_formula = text.startswith(FORMULA_STARTS)
    return ("'" if is_formula else "") + text.replace("\0", "")


def encode(rows: Iterable[Sequence[Any]]) -> bytes:
    """Return the rows as CSV in UTF-8: every text in quotes, lines end in CR LF."""
    page = io.StringIO()
    writer = csv.writer(page, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    writer.writerows([cell(value) for value in row] for row in rows)
    return page.getvalue().encode("utf-8", "replace")


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, dict | list | bool):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return str(value)
