"""What calls take, in OpenAPI: parameters of the path and the query, headers."""

import re
from typing import Any, Final

from monitoring.streams import ids, wire
from orgs import idempotency
from orgs.operations import Operation, Parameter

Part = dict[str, Any]

COMPONENTS: Final[Part] = {
    "LastEventId": {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "The id of the last event you have: what was missed is told, or everything anew. Empty is none.",
        "schema": {"type": "string", "pattern": f"^({ids.PATTERN})?$"},
    },
    "IfMatch": {
        "name": "If-Match",
        "in": "header",
        "description": "The ETag of what you have read: when it is another by now, nothing is written (412).",
        "schema": {"type": "string"},
        "example": '"7"',
    },
    "OrganizationId": {
        "name": "X-Organization-Id",
        "in": "header",
        "description": "Chooses among the caller's organizations; a foreign one is 404. Same as `OpenAI-Organization`.",
        "schema": {"type": "string"},
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": (
            "A write sent again with the same key within 24 hours is answered again, not done again "
            "(`Idempotency-Replayed: true`)."
        ),
        "schema": {"type": "string", "maxLength": idempotency.MAX_LENGTH, "pattern": "^[ -~]*$"},
    },
}
_IDENTIFIERS: Final = {
    "organization_id": "The organization's public id.",
    "orchestrator_id": "The orchestrator's public id.",
    "key_id": "The key's public id.",
    "user_id": "The user's number.",
    "pk": "The row's number.",
}


def parameters(path: str, path_regex: str, operation: Operation, *, is_write: bool, is_public: bool) -> list[Part]:
    """Return every parameter of a call; `path` has other names than the groups of `path_regex`, in the same order."""
    groups = re.findall(r"\(\?P<(\w+)>([^()]*)\)", path_regex)
    names = re.findall(r"\{(\w+)\}", path)
    found = [_of_path(name, group, pattern) for name, (group, pattern) in zip(names, groups, strict=True)]
    found += [_of_query(name, parameter) for name, parameter in operation.parameters.items()]
    if wire.CONTENT_TYPE in operation.content_types:
        found.append(_reference("LastEventId"))
    if "precondition_failed" in operation.errors:
        found.append(_reference("IfMatch"))
    if not is_public:
        found += [_reference(name) for name in ("OrganizationId", *(["IdempotencyKey"] if is_write else []))]
    return found


def _reference(name: str) -> Part:
    return {"$ref": f"#/components/parameters/{name}"}


def _of_path(name: str, group: str, pattern: str) -> Part:
    schema: Part = {"type": "string", "minLength": 1}
    if digits := re.fullmatch(r"\[0-9\]\{1,(\d+)\}", pattern):
        schema = {"type": "integer", "minimum": 0, "maximum": 10 ** int(digits[1]) - 1}
    elif re.fullmatch(r"[\w|-]+", pattern):
        schema = {"type": "string", "enum": pattern.split("|")}
    described = {"description": _IDENTIFIERS[group]} if group in _IDENTIFIERS else {}
    return {"name": name, "in": "path", "required": True, **described, "schema": schema}


def _of_query(name: str, parameter: Parameter) -> Part:
    """Describe a query parameter; `maximum` clamps and refuses nothing, so it is said in words only."""
    schema: Part = dict(_KINDS[parameter.kind])
    if parameter.choices:
        schema = {"type": "string", "enum": list(parameter.choices)}
    if parameter.default is not None:
        schema["default"] = parameter.default
    words = parameter.description
    if parameter.maximum and str(parameter.maximum) not in words:
        words = f"{words} More than {parameter.maximum} is {parameter.maximum}.".strip()
    is_text = parameter.kind == "string"
    if is_text and not parameter.choices and not parameter.is_cut:
        schema["maxLength"] = parameter.most_characters
    return {
        "name": name,
        "in": "query",
        **({"description": words} if words else {}),
        **({"allowEmptyValue": True} if is_text else {}),
        "schema": schema,
    }


_KINDS: Final[dict[str, Part]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer", "minimum": 1},
    "boolean": {"type": "boolean"},
    "date-time": {"type": "string", "anyOf": [{"format": "date-time"}, {"format": "date"}]},
}
