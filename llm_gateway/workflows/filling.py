"""Filling: `{{text}}`, `{{input.title}}` and `{{steps.risks.summary}}` in the texts of a step. Pure."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from llm_gateway.workflows import given

_PLACE: Final = re.compile(r"\{\{\s*([A-Za-z0-9_.-]+)\s*\}\}")
MAX_CHARACTERS: Final = 1_000_000
MAX_PLACES: Final = 50  # in one text
ROOTS: Final = ("text", "input", "steps")


def places(text: str) -> list[str]:
    """Return what a text refers to."""
    return _PLACE.findall(text)


def wrong(text: str) -> str:
    """Return the first place that nothing can stand for, "" without one."""
    for place in places(text):
        root, _, rest = place.partition(".")
        if root not in ROOTS or (root == "text") is bool(rest):
            return place
    return ""


def needs(text: str) -> list[str]:
    """Return the steps that a text refers to."""
    return [place.split(".")[1] for place in places(text) if place.startswith("steps.")]


def fill(text: str, data: Mapping[str, Any], outputs: Mapping[str, Any]) -> str:
    """Return a text with its places filled, up to MAX_CHARACTERS; what is not there is empty.

    What is put in is not looked at again, and what stands in several places is made once.
    """
    known: dict[str, str] = {}
    parts: list[str] = []
    size = end = 0
    for match in _PLACE.finditer(text):
        if match[1] not in known:
            known[match[1]] = _value(match[1], data, outputs)[:MAX_CHARACTERS]
        parts += [text[end : match.start()], known[match[1]]]
        size, end = size + len(parts[-2]) + len(parts[-1]), match.end()
        if size >= MAX_CHARACTERS:
            break
    return "".join([*parts, text[end:]])[:MAX_CHARACTERS]


def _value(place: str, data: Mapping[str, Any], outputs: Mapping[str, Any]) -> str:
    root, *path = place.split(".")
    if root == "text":
        return given.whole(dict(data)) if given.has_texts(dict(data)) else ""
    return _text(_at(data if root == "input" else outputs, path))


def _at(found: Any, path: list[str]) -> Any:
    for name in path:
        if isinstance(found, Mapping):
            found = found.get(name)
        elif isinstance(found, list) and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        else:
            return None
    return found


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
