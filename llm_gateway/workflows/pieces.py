"""Pieces: long texts cut where they may be cut, and what came of the pieces put together again. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

T = TypeVar("T")
MAX_CHARACTERS: Final = 24_000  # of a transcript in one call: some 6,000 tokens
OVERLAP_LINES: Final = 2


def cut(text: str, *, most: int = MAX_CHARACTERS) -> list[str]:
    """Cut a text into pieces of at most `most` characters at ends of lines; each begins with the lines before it."""
    if len(text) <= most:
        return [text]
    pieces: list[str] = []
    current: list[str] = []
    size = 0
    for line in _lines(text, most // 2):
        if current and size + len(line) > most:
            pieces.append("".join(current))
            current = current[-OVERLAP_LINES:] if sum(map(len, current[-OVERLAP_LINES:])) < most // 4 else []
            size = sum(map(len, current))
        current.append(line)
        size += len(line)
    return [*pieces, "".join(current)]


def _lines(text: str, most: int) -> Iterable[str]:
    for line in text.splitlines(keepends=True):
        yield from (line[start : start + most] for start in range(0, len(line), most))


def batches(items: Sequence[T], sizes: Sequence[int], *, most_items: int, most_size: int) -> list[list[T]]:
    """Return the items in batches of at most so many items, and of at most so much in all (one too large is alone)."""
    found: list[list[T]] = []
    size = most_size + 1
    for item, own in zip(items, sizes, strict=True):
        if not found or len(found[-1]) >= most_items or size + own > most_size:
            found.append([])
            size = 0
        found[-1].append(item)
        size += own
    return found


def merged(parts: Sequence[dict[str, Any]], name: str, *, key: str = "") -> list[Any]:
    """Return the lists called `name` of several answers as one; what says the same (by `key`) stands once."""
    found: dict[str, Any] = {}
    for item in (item for part in parts for item in part.get(name, [])):
        said = " ".join(str(item[key] if key else item).casefold().split()).rstrip(".")
        known = found.setdefault(said, item)
        if key and known is not item:
            found[said] = {part: known[part] if known[part] is not None else item[part] for part in known}
    return list(found.values())
