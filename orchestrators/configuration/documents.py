"""Documents: the hash, the difference and the check of a configuration.

A document is data: names and values that orchestrators read. Nothing in it is run here, and none of it is a path or a
command to this controller.
"""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson
from jsonschema import Draft202012Validator, ValidationError
from referencing import Registry

from moolai.errors import InvalidInput
from orchestrators import protocol
from orchestrators.configuration import schemas
from orgs.models import Organization

MAX_BYTES: Final = 200 * 1024
MAX_DEPTH: Final = 32
MAX_PROBLEMS: Final = 50
TYPES: Final = {
    "object": "an object", "array": "a list", "string": "a text", "number": "a number", "integer": "an integer",
    "boolean": "true or false", "null": "null",
}  # fmt: skip
MAX_CHANGES: Final = 200
MAX_SHOWN_BYTES: Final = 2048
_ABSENT: Final = object()

Problem = dict[str, str]
Change = dict[str, Any]

BUILT_IN: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "features": {"type": "object"},
        "session": {"type": "object"},
        "metadata": {"type": "object"},
        "llm": {"type": "object"},
        "privacy_mode": {"type": "boolean"},
        "monitoring_enabled": {"type": "boolean"},
    },
}
_built_in: Final = Draft202012Validator(BUILT_IN)


def digest(document: dict[str, Any]) -> str:
    """Return the hash clients return to us; the same content gives the same hash whatever its key order."""
    return "sha256:" + hashlib.sha256(protocol.encode(document, option=orjson.OPT_SORT_KEYS)).hexdigest()


# --- the check ------------------------------------------------------------------------------------------------------


def problems(document: Any, *, schema: Any = None) -> list[Problem]:
    """Return what is wrong with a document as [{path, problem}], at most MAX_PROBLEMS; nothing when it can be used.

    `schema` is an organization's own (JSON Schema 2020-12), beside the built-in one for the known sections.
    """
    return checker(schema)(document)


def checker(schema: Any, *, max_bytes: int = MAX_BYTES) -> Callable[[Any], list[Problem]]:
    """Return what `problems` does for one schema, which is itself looked at once, for many documents."""
    fits = schema_checker(schema)
    return lambda document: list(_limits(document, max_bytes))[:MAX_PROBLEMS] or fits(document)


def schema_checker(schema: Any) -> Callable[[dict[str, Any]], list[Problem]]:
    """Return what `problems` does behind the limits, for documents whose parts are known to hold to them."""
    wrong = schemas.problems(schema) if schema is not None else []
    is_usable = schema is not None and not wrong
    own = Draft202012Validator(schema, registry=Registry()) if is_usable else None

    def check(document: dict[str, Any]) -> list[Problem]:
        found = [*_against(_built_in, document), *wrong]
        return [*found, *(_against(own, document) if own else ())][:MAX_PROBLEMS]

    return check


def require(document: Any, organization: Organization, *, under: str = "config") -> None:
    """Raise `invalid_field`, with paths below `under`, for a document that the organization cannot use."""
    found = problems(document, schema=organization.settings.get("config_schema"))
    if found:
        paths = [".".join(part for part in (under, row["path"]) if part) for row in found]
        raise InvalidInput(
            fields={path: row["problem"] for path, row in zip(reversed(paths), reversed(found), strict=True)}
        )


def sentence(row: Problem) -> str:
    """Return a problem as one text."""
    return f"{row['path']}: {row['problem']}" if row["path"] else row["problem"]


def _limits(document: Any, max_bytes: int) -> Iterator[Problem]:
    if not isinstance(document, dict):
        yield {"path": "", "problem": "The configuration must be an object."}
        return
    stack: list[tuple[Any, int, str]] = [(document, 1, "")]
    while stack:
        value, depth, path = stack.pop()
        if isinstance(value, dict | list) and depth > MAX_DEPTH:
            yield {"path": path[:200], "problem": f"Nest at most {MAX_DEPTH} levels."}
            return
        if isinstance(value, dict):
            if any("\x00" in key for key in value):
                yield {"path": path[:200], "problem": "The character NUL is not taken in a name."}
            stack += [(child, depth + 1, _under(path, key)) for key, child in value.items()]
        elif isinstance(value, list):
            stack += [(child, depth + 1, f"{path}[{index}]") for index, child in enumerate(value)]
        elif problem := _scalar(value):
            yield {"path": path[:200], "problem": problem}
    try:
        size = len(protocol.encode(document))
    except (TypeError, ValueError):
        yield {"path": "", "problem": "The configuration must be JSON in UTF-8."}
        return
    if size > max_bytes:
        yield {"path": "", "problem": f"The configuration has {size} bytes; at most {max_bytes} are taken."}


def _scalar(value: Any) -> str:
    if isinstance(value, str) and "\x00" in value:
        return "The character NUL is not taken."
    if isinstance(value, int) and not -protocol.MAX_INTEGER <= value < protocol.MAX_INTEGER:
        return "Integers must lie within ±2^63."
    if isinstance(value, float) and value - value != 0:
        return "This is no finite number."
    return ""


def _against(validator: Draft202012Validator, document: dict[str, Any]) -> Iterator[Problem]:
    for count, error in enumerate(validator.iter_errors(document)):
        if count >= MAX_PROBLEMS:
            return
        path = ""
        for part in error.absolute_path:
            path = f"{path}[{part}]" if isinstance(part, int) else _under(path, str(part))
        yield {"path": path[:200], "problem": _words(error)[:300]}


def _words(error: ValidationError) -> str:
    """Return what a schema says; of a wrong type, what it must be rather than what it is not."""
    if error.validator != "type":
        return str(error.message)
    wanted = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
    return f"must be {' or '.join(TYPES.get(name, str(name)) for name in wanted)}"


def _under(path: str, key: str) -> str:
    return f"{path}.{key[:50]}" if path else key[:50]


def merge(document: Any, patch: Any) -> Any:
    """Return `document` with a merge patch applied (RFC 7396): null removes, objects merge, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


# --- the difference -------------------------------------------------------------------------------------------------


def difference(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    """Return what changed as [{path, before?, after?}] in the order of paths, at most MAX_CHANGES.

    Objects are compared member by member, lists as a whole. What is absent on one side has no such member; values that
    are long stand as a text that says how long.
    """
    found: list[Change] = []
    for path, old, new in _differences(before, after, ""):
        if len(found) == MAX_CHANGES:
            break
        change: Change = {"path": path}
        change |= {} if old is _ABSENT else {"before": _shown(old)}
        found.append(change | ({} if new is _ABSENT else {"after": _shown(new)}))
    return found


def _differences(before: dict[str, Any], after: dict[str, Any], path: str) -> Iterator[tuple[str, Any, Any]]:
    for key in sorted(before.keys() | after.keys()):
        old, new, place = before.get(key, _ABSENT), after.get(key, _ABSENT), _under(path, key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, place)
        elif not _is_same(old, new):
            yield place, old, new


def _is_same(old: Any, new: Any) -> bool:
    """Compare as JSON: `True` is not 1, and 1.0 is what 1 is."""
    if old is _ABSENT or new is _ABSENT:
        return old is new
    return isinstance(old, bool) == isinstance(new, bool) and bool(old == new)


def _shown(value: Any) -> Any:
    size = len(protocol.encode(value))
    return value if size <= MAX_SHOWN_BYTES else f"({size} bytes)"
