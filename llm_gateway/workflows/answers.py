"""Answers: what a model said, read as JSON and checked against a schema; cheap faults are repaired here. Pure."""

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

MAX_CHARACTERS: Final = 400_000
MAX_STARTS: Final = 20  # places where a document may begin in what a model said
_THOUGHT: Final = re.compile(r"<think(?:ing)?>")
_THOUGHT_OVER: Final = re.compile(r"</think(?:ing)?>")
_TRAILING: Final = re.compile(r",(\s*[}\]])")
Check = Callable[[Any], str]
"""Returns what is wrong with a document that keeps to its schema, without anything of its content; "" for nothing."""


class Malformed(Exception):
    """An answer that is not what was asked for: `problem` tells the model, `place` may be written down anywhere."""

    def __init__(self, problem: str, place: str) -> None:
        super().__init__(place)
        self.problem, self.place = problem, place


def read(said: str, schema: dict[str, Any], check: Check | None = None) -> tuple[Any, bool]:
    """Return the document in what a model said, and whether it had to be repaired; raises Malformed.

    Taken off are code fences, text before and after, thoughts, and commas before a closing bracket; half a character
    (a lone surrogate) becomes "?".
    """
    document, is_repaired = _document(said)
    error = best_match(Draft202012Validator(schema).iter_errors(document))
    if error is not None:
        raise _malformed(error, schema)
    if check is not None and (problem := check(document)):
        raise Malformed(problem, problem[:200])
    return document, is_repaired


def _document(said: str) -> tuple[Any, bool]:
    text = said[:MAX_CHARACTERS].strip()
    try:
        return _whole(_parsed(text))
    except (ValueError, RecursionError):
        pass
    for part in _candidates(_without_thoughts(text)):
        try:
            return _whole(_decoder.raw_decode(part)[0])[0], True
        except (ValueError, RecursionError):
            continue
    raise Malformed("It is not JSON.", "it is not JSON")


def _without_thoughts(text: str) -> str:
    """Return a text without what stands between the marks of thoughts; each part of it is looked at once."""
    parts: list[str] = []
    start = 0
    while (begin := _THOUGHT.search(text, start)) and (end := _THOUGHT_OVER.search(text, begin.end())):
        parts.append(text[start : begin.start()])
        start = end.end()
    return "".join([*parts, text[start:]])


def _candidates(text: str) -> Iterator[str]:
    """Yield the places where an object may begin, as they stand, and without commas that JSON does not have."""
    starts = [match.start() for match in re.finditer(r"\{", text)][:MAX_STARTS]
    for start in starts:
        yield text[start:]
        yield _TRAILING.sub(r"\1", text[start:])


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _finite(written: str) -> float:
    found = float(written)
    return found if math.isfinite(found) else _refuse("a number without end")


_decoder: Final = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)


def _parsed(text: str) -> Any:
    found = _decoder.decode(text)
    if not isinstance(found, dict):
        raise ValueError("an object is wanted")
    return found


def _whole(document: Any) -> tuple[Any, bool]:
    """Return a document that can be written as UTF-8, and whether it had to be repaired for that."""
    written = json.dumps(document, ensure_ascii=False)
    try:
        written.encode()
    except UnicodeEncodeError:
        return json.loads(written.encode(errors="replace")), True
    return document, False


def _malformed(error: ValidationError, schema: dict[str, Any]) -> Malformed:
    """Tell what is wrong; the place has numbers and names of the schema's only: other names are content."""
    path = ".".join(str(part) for part in error.absolute_path) or "the object"
    names = set(_declared(schema))
    parts = [str(part) if isinstance(part, int) or part in names else "*" for part in error.absolute_path]
    place = ".".join(parts) or "the object"
    return Malformed(f"{path}: {error.message[:300]}", f"{place[:100]} breaks “{error.validator}”")


def _declared(schema: Any) -> Iterator[str]:
    """Yield the names that a schema declares as `properties`."""
    waiting = [schema]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict) and isinstance(found.get("properties"), dict):
            yield from found["properties"]
        if isinstance(found, dict | list):
            waiting += found.values() if isinstance(found, dict) else found
