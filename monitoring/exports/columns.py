"""The columns of an export and what their values are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

TIMESTAMP, TEXT, NUMBER = "timestamp", "text", "number"
KINDS: Final = (TIMESTAMP, TEXT, NUMBER)
Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: timestamps are aware and in UTC, numbers finite or None."""

    name: str
    kind: str
