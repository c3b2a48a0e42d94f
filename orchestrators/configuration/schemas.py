"""Schemas of an organization's own: what of JSON Schema (2020-12) they may use, so that one costs nobody else.

Checking takes time in a process that all organizations share. Without references a schema is a tree, and without
patterns no single step of it is slow; so a check is bounded by the sizes of schema and document.
"""

from collections.abc import Iterator
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from orchestrators import protocol

MAX_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 32
REFUSED: Final = {
    "$ref": "References are not taken; write the schema out.",
    "$dynamicRef": "References are not taken; write the schema out.",
    "pattern": "Patterns are not taken; use enum, const, minLength and maxLength.",
    "patternProperties": "Patterns are not taken; use properties and additionalProperties.",
}
OF_NAMES: Final = ("properties", "$defs", "dependentSchemas")
OF_ONE: Final = (
    "items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames", "unevaluatedItems",
    "unevaluatedProperties",
)  # fmt: skip
OF_MANY: Final = ("allOf", "anyOf", "oneOf", "prefixItems")


def problems(schema: Any) -> list[dict[str, str]]:
    """Return why an organization's schema cannot be used, as [{path, problem}] with paths below `config_schema`."""
    if not isinstance(schema, dict | bool):
        return [{"path": "config_schema", "problem": "A schema is an object."}]
    try:
        if len(protocol.encode(schema)) > MAX_BYTES:
            return [{"path": "config_schema", "problem": f"A schema may have {MAX_BYTES} bytes."}]
        found = [{"path": path[:200], "problem": problem} for path, problem in _walk(schema, "config_schema", 1)]
        if not found:
            Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        path = ".".join(["config_schema", *(str(part) for part in error.absolute_path)])
        return [{"path": path[:200], "problem": error.message[:300]}]
    except (TypeError, ValueError, RecursionError):
        return [{"path": "config_schema", "problem": "A schema is JSON."}]
    return found


def _walk(schema: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if not isinstance(schema, dict):
        return
    if depth > MAX_DEPTH:
        yield path, f"Nest at most {MAX_DEPTH} levels."
        return
    for keyword, why in REFUSED.items():
        if keyword in schema:
            yield f"{path}.{keyword}", why
    for place, child in _children(schema):
        yield from _walk(child, f"{path}.{place}", depth + 1)


def _children(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for keyword in OF_ONE:
        if keyword in schema:
            yield keyword, schema[keyword]
    for keyword in OF_NAMES:
        if isinstance(named := schema.get(keyword), dict):
            yield from ((f"{keyword}.{name}", child) for name, child in named.items())
    for keyword in OF_MANY:
        if isinstance(listed := schema.get(keyword), list):
            yield from ((f"{keyword}[{index}]", child) for index, child in enumerate(listed))
