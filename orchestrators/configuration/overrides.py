"""Overrides: what one orchestrator has on top of its organization's configuration, and whether the two fit.

An override is a document of four members that an instance keeps in columns. What is checked is the organization's
document with the override in it, and nothing that the controller adds by itself: the organization's schema is written
for its own document. So an orchestrator without an override fits wherever the organization's document does.
"""

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import orjson

from moolai.errors import InvalidInput
from orchestrators import protocol
from orchestrators.configuration import documents
from orchestrators.configuration.documents import Problem
from orchestrators.models import Instance, Rollout
from orchestrators.models.instance import released
from orgs.models import Organization

# member of the document → the instance's column
COLUMNS: Final = {
    "features": "features", "session": "session_config", "privacy_mode": "privacy_mode",
    "monitoring_enabled": "monitoring_enabled",
}  # fmt: skip
BLANK: Final[dict[str, Any]] = {"features": {}, "session": {}, "privacy_mode": False, "monitoring_enabled": True}
MAX_NAMED: Final = 20
KINDS: Final = {dict: "an object", bool: "true or false"}
Document = dict[str, Any]


def of(instance: Instance) -> Document:
    """Return an orchestrator's override."""
    return {name: getattr(instance, column) for name, column in COLUMNS.items()}


def columns(override: Mapping[str, Any]) -> Document:
    """Return an override, or a part of one, as columns of their own: a row may be changed in place."""
    return {COLUMNS[name]: copy.deepcopy(value) for name, value in override.items()}


def merge(override: Document, patch: Mapping[str, Any]) -> Document:
    """Return the override with a merge patch applied; what the patch removes goes back to what it is by default."""
    return {**BLANK, **documents.merge(override, dict(patch))}


def patch_problems(patch: Any, *, max_bytes: int = documents.MAX_BYTES) -> dict[str, str]:
    """Return what keeps a merge patch from being one of overrides, by member ("": the whole)."""
    if not isinstance(patch, dict) or not patch:
        return {"": f"must be an object with any of {', '.join(COLUMNS)}"}
    found = {name: f"is unknown; known: {', '.join(COLUMNS)}" for name in patch if name not in COLUMNS}
    for name, value in patch.items():
        kind = type(BLANK.get(name))
        if name in COLUMNS and value is not None and type(value) is not kind:
            found[name] = f"must be {KINDS[kind]}, or null"
    check = documents.checker(None, max_bytes=max_bytes)
    return found or {row["path"]: row["problem"] for row in reversed(check(patch))}


# --- whether it fits ------------------------------------------------------------------------------------------------


def laid_over(base: Document, override: Document) -> Document:
    """Return an organization's document with an override in it, as the organization might have written it itself."""
    found = dict(base)
    for name in ("features", "session"):
        if override[name]:
            section = base.get(name)
            found[name] = {**(section if isinstance(section, dict) else {}), **override[name]}
    if override["privacy_mode"]:
        found["privacy_mode"] = True
    if not override["monitoring_enabled"]:
        found["monitoring_enabled"] = False
    return found


class Checker:
    """Checks overrides against what an organization's orchestrators may start from."""

    def __init__(self, organization: Organization, *bases: Document) -> None:
        self._bases = bases or _bases(organization)
        schema = organization.settings.get("config_schema")
        self._check, self._fits = documents.checker(schema), documents.schema_checker(schema)
        self._room = documents.MAX_BYTES - max(len(protocol.encode(base)) for base in self._bases)
        self._known: dict[bytes, list[Problem]] = {}

    def look(self, override: Document) -> list[Problem]:
        """Return what is wrong with an override as [{path, problem}]; nothing when it is empty, or fits."""
        return self._first(self._check, override)

    def problems(self, override: Document) -> list[Problem]:
        """Return what `look` says of one that was looked at before, or of what a patch makes of it.

        Its depth and its values are known then, its size mostly tells itself, and equal ones are looked at once.
        """
        text = protocol.encode(override, option=orjson.OPT_SORT_KEYS)
        key = hashlib.sha256(text).digest()  # not the text: a fleet's overrides are too much to keep
        if key not in self._known:
            check = self._fits if len(text) < self._room else self._check
            self._known[key] = self._first(check, override)
        return self._known[key]

    def _first(self, check: Callable[[Document], list[Problem]], override: Document) -> list[Problem]:
        if override == BLANK:
            return []
        return next(filter(None, (check(laid_over(base, override)) for base in self._bases)), [])


def _bases(organization: Organization) -> tuple[Document, ...]:
    """Return what an organization's orchestrators have, and what a staged rollout is bringing them."""
    staged = Rollout.objects.filter(organization=organization, is_staged=True, status__in=Rollout.ACTIVE)
    return released(organization), *(row.target.content for row in staged.select_related("target"))


def require(instance: Instance) -> None:
    """Raise `invalid_field`, with paths that begin with the column, when an unsaved instance's override does not fit.

    `instance.organization` is the locked row.
    """
    if found := Checker(instance.organization).look(of(instance)):
        raise InvalidInput(fields={by_column(row["path"]): row["problem"] for row in reversed(found)})


def by_column(path: str) -> str:
    """Return a path in the document as one that begins with the column, where there is one."""
    name, dot, rest = path.partition(".")
    return f"{COLUMNS.get(name, name)}{dot}{rest}" if name else "features"


# --- what a new version of the organization's would break -----------------------------------------------------------


def broken(document: Document, organization: Organization, *, before: Organization | None = None) -> list[Problem]:
    """Return which overrides fit now, and would not fit with `document`, as [{path, problem}] of the first MAX_NAMED.

    `before` is the organization as it was, where its schema changes too. What did not fit before is left out: it must
    not keep anybody from publishing.
    """
    now, then = before or organization, Checker(organization, document)
    old = Checker(now, released(now))
    found: list[Problem] = []
    for orchestrator_id, override in _overrides(organization):
        if (problems := then.problems(override)) and not old.problems(override):
            row = problems[0]
            path = f"overrides.{orchestrator_id}" + (f".{row['path']}" if row["path"] else "")
            found.append({"path": path, "problem": row["problem"]})
        if len(found) == MAX_NAMED:
            break
    return found


def require_fitting(
    document: Document, organization: Organization, *, before: Organization | None = None, under: str = "config"
) -> None:
    """Raise `invalid_field`, naming orchestrators, when overrides that fit now would not fit with `document`."""
    if found := broken(document, organization, before=before):
        number = f"{len(found)} or more" if len(found) == MAX_NAMED else str(len(found))
        words = f"Orchestrators whose own configuration does not go with it: {number}. Change or clear that first."
        raise InvalidInput(fields={under: words} | {row["path"]: row["problem"] for row in found})


def _overrides(organization: Organization) -> Iterator[tuple[str, Document]]:
    rows = Instance.objects.present().filter(organization=organization)
    blank = {COLUMNS[name]: value for name, value in BLANK.items()}
    own = rows.exclude(**blank).order_by("orchestrator_id").values_list("orchestrator_id", *COLUMNS.values())
    for orchestrator_id, *values in own.iterator(chunk_size=1000):
        yield orchestrator_id, dict(zip(COLUMNS, values, strict=True))
