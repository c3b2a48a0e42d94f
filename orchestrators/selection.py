"""Selection: the one place that turns "these orchestrators" into rows, for lists, bulk actions and rollouts.

A selector is a JSON object; all it names must hold:

    {"labels": {"env": "prod"}, "status": "active", "organization_id": "org-001", "search": "eu",
     "orchestrator_ids": ["orch-001"], "all": true}

`all` says that no narrowing is meant; without it a selector that names nothing is refused. Who may see which
organization is not decided here: callers hand in rows that are scoped already.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import F, Func, JSONField, Q, QuerySet, TextField, Value
from django.db.models.functions import Cast
from django.db.models.lookups import Exact

from moolai.errors import AppError, InvalidInput
from orchestrators import labels as labelling
from orchestrators.models import Instance

Rows = QuerySet[Instance]
MAX_IDS: Final = 10_000
MAX_SEARCH: Final = 200
CRITERIA: Final = ("labels", "status", "organization_id", "search", "orchestrator_ids")


def by_labels(rows: Rows, labels: Mapping[str, str]) -> Rows:
    """Return the rows that carry all of `labels`."""
    if not labels:
        return rows
    if connection.vendor == "postgresql":  # one containment test
        return rows.filter(labels__contains=dict(labels))
    for name, value in sorted(labels.items()):
        # Not `labels__<name>`: Django reads some names as lookups, and digits as places in a list.
        found = Func("labels", Value(f'$."{name}"'), function="JSON_EXTRACT", output_field=TextField())
        rows = rows.filter(Exact(found, value))
    return rows


def patched_labels(wanted: Mapping[str, str], removed: Sequence[str]) -> Func:
    """Return the expression of an UPDATE that takes the labels `removed` away and sets those `wanted`."""
    if connection.vendor != "postgresql":  # a merge patch, in which null removes
        patch = json.dumps({**dict.fromkeys(removed), **wanted})
        return Func("labels", Value(patch), function="JSON_PATCH", output_field=JSONField())
    left: Any = F("labels")
    for name in removed:
        left = Func(left, Cast(Value(name), TextField()), template="(%(expressions)s)", arg_joiner=" - ")
    right = Cast(Value(json.dumps(wanted), output_field=TextField()), JSONField())
    return Func(left, right, template="(%(expressions)s)", arg_joiner=" || ", output_field=JSONField())


def labels_parameter(text: str) -> dict[str, str]:
    """Return the labels a query parameter names, `env=prod,region=eu`; raises `invalid_parameter`."""
    try:
        return labelling.parse(text)
    except ValidationError as error:
        raise AppError("invalid_parameter", f"labels: {' '.join(error.messages)}") from None


def by_search(rows: Rows, text: str) -> Rows:
    """Return the rows whose id or name holds `text`."""
    return rows.filter(Q(orchestrator_id__icontains=text) | Q(name__icontains=text)) if text else rows


def read(selector: Any) -> dict[str, Any]:
    """Return a selector with only what it names; raises `invalid_field` naming the path of each mistake."""
    if not isinstance(selector, dict):
        raise InvalidInput(fields={"selector": 'Send an object, such as {"labels": {"env": "prod"}}.'})
    problems = {f"selector.{name}": "is unknown" for name in selector if name not in (*CRITERIA, "all")}
    for name, check in _CHECKS.items():
        if name in selector and (problem := check(selector[name])):
            problems[f"selector.{name}"] = problem
    if problems:
        raise InvalidInput(fields=problems)
    found = {name: selector[name] for name in CRITERIA if selector.get(name) not in (None, "", {})}
    if not found and selector.get("all") is not True:
        raise InvalidInput(fields={"selector": f'Name one of {", ".join(CRITERIA)}, or "all": true.'})
    return found


def rows(selector: Mapping[str, Any], scope: Rows) -> Rows:
    """Return the orchestrators of `scope` that a selector out of `read` names."""
    found = by_labels(scope, selector.get("labels", {}))
    if status := selector.get("status"):
        found = found.filter(status=status)
    if organization_id := selector.get("organization_id"):
        found = found.filter(organization_id=organization_id)
    if "orchestrator_ids" in selector:
        found = found.filter(orchestrator_id__in=selector["orchestrator_ids"])
    return by_search(found, selector.get("search", ""))


def _labels(value: Any) -> str:
    try:
        labelling.validate(value)
    except ValidationError as error:
        return " ".join(error.messages)
    return ""


def _status(value: Any) -> str:
    return "" if value in Instance.Status.values else f"is one of {', '.join(Instance.Status.values)}"


def _text(value: Any) -> str:
    return "" if isinstance(value, str) and len(value) <= MAX_SEARCH else f"is a text of at most {MAX_SEARCH}"


def _ids(value: Any) -> str:
    is_good = isinstance(value, list) and all(isinstance(item, str) and len(item) <= 50 for item in value)
    return "" if is_good and 0 < len(value) <= MAX_IDS else f"is a list of 1 to {MAX_IDS} ids"


def _flag(value: Any) -> str:
    return "" if isinstance(value, bool) else "is true or false"


_CHECKS: Final = {
    "labels": _labels, "status": _status, "organization_id": _text, "search": _text, "orchestrator_ids": _ids,
    "all": _flag,
}  # fmt: skip
