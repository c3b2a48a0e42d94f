"""Where the places of a JSON text stand, so that what is wrong with one can be said beside its line."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

TOKEN: Final = re.compile(r'"(?:\\.|[^"\\])*"|[\[\]{},:]|[^\s\[\]{},:"]+')


def lines(text: str) -> dict[str, int]:
    """Return the line (from 1) where each place of a well-formed JSON text begins, by its path."""
    return dict(_places(text))


def line_of(path: str, found: dict[str, int]) -> int:
    """Return the line of `path`, of its nearest parent when it is not among `found`."""
    while path and path not in found:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return found.get(path, 1)


def _places(text: str) -> Iterator[tuple[str, int]]:
    """Yield every member's path with its line; paths are written as the check of documents writes them."""
    stack: list[list[Any]] = []  # [path of the container, index in a list or None in an object]
    name, is_name, line, end = "", False, 1, 0
    for match in TOKEN.finditer(text):
        piece = match[0]
        line, end = line + text.count("\n", end, match.start()), match.start()
        if piece in "]}":
            stack.pop()
            is_name = False
        elif piece == ",":
            stack[-1][1] = None if stack[-1][1] is None else stack[-1][1] + 1
            is_name = stack[-1][1] is None
        elif is_name and piece != ":":
            name, is_name = json.loads(piece, strict=False)[:50], False
            yield _path(stack, name), line
        elif piece != ":":
            path = _path(stack, name)
            if stack and stack[-1][1] is not None:
                yield path, line
            if piece in "[{":
                stack.append([path, 0 if piece == "[" else None])
                is_name = piece == "{"


def _path(stack: list[list[Any]], name: str) -> str:
    if not stack:
        return ""
    container, index = stack[-1]
    if index is not None:
        return f"{container}[{index}]"
    return f"{container}.{name}" if container else name
