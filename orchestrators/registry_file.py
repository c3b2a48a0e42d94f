"""The registry as a file: organizations and their orchestrators as JSON, to seed an installation or to move one.

    {"organizations": {"org-001": {"name": "Acme", "is_independent": false, "orchestrators": ["orch-001"]}}}

`orchestrators` is a list of ids, or an object with the columns of each. Every change goes through the rooms, so it is
audited and reaches open sessions. Secrets are taken in, and never written out.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import transaction

from moolai.errors import AppError
from orchestrators import independence, instances, protocol, tenants
from orchestrators.models import Instance, OverrideVersion
from orgs import organizations, parsing, sealed, vault
from orgs.models import Organization
from orgs.models.organization import validate_identifier

ORGANIZATION_FIELDS: Final[dict[str, type]] = {
    "name": str, "status": str, "is_active": bool, "settings": dict, "admin_email": str, "support_email": str,
    "website": str,
}  # fmt: skip
INSTANCE_FIELDS: Final[dict[str, type]] = {
    "name": str, "features": dict, "session_config": dict, "privacy_mode": bool, "monitoring_enabled": bool,
    "container_id": str, "image_name": str, "phoenix_endpoint": str, "admin_email": str, "support_email": str,
    "website": str, "labels": dict,
}  # fmt: skip
SECRET_FIELDS: Final[dict[str, type]] = {
    "internal_url": str, "database_url": str, "redis_url": str, "environment_variables": dict,
}  # fmt: skip
KINDS: Final = {str: "a text", bool: "true or false", dict: "an object"}
MAX_PROBLEMS: Final = 20


class InvalidFile(Exception):
    """A file that cannot be used: `problems` name the JSON path of each mistake and what to write instead."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        more = len(problems) - MAX_PROBLEMS
        super().__init__("\n".join(problems[:MAX_PROBLEMS] + ([f"… and {more} more"] if more > 0 else [])))


@dataclass(frozen=True, slots=True)
class Entry:
    """One organization or orchestrator of the file: the columns it names, and its flag (None: not named)."""

    key: str
    path: str
    columns: dict[str, Any]
    is_independent: bool | None


@dataclass(frozen=True, slots=True)
class Home(Entry):
    """An organization with its orchestrators."""

    orchestrators: list[Entry] = field(default_factory=list)


# --- reading --------------------------------------------------------------------------------------------------------


def parse(text: str) -> list[Home]:
    """Return what the file says; raises InvalidFile with every mistake that can be seen without the database."""
    try:
        document = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except ValueError as error:
        raise InvalidFile([f"The file is not JSON: {error}."]) from None
    except RecursionError:
        raise InvalidFile(["The file is nested too deeply."]) from None
    reader = _Reader([])
    homes = reader.homes(document)
    if reader.problems:
        raise InvalidFile(reader.problems)
    return homes


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} stands twice in one object; remove one")
    return found


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON; write a number or null")


@dataclass(slots=True)
class _Reader:
    problems: list[str]
    seen: dict[str, str] = field(default_factory=dict)

    def homes(self, document: Any) -> list[Home]:
        if not isinstance(document, dict) or not isinstance(document.get("organizations"), dict):
            self.problems.append('organizations: is missing; write {"organizations": {"org-001": {"name": "…"}}}.')
            return []
        self.unknown(document, {"organizations"}, "")
        return [self.home(key, value, f"organizations.{key}") for key, value in document["organizations"].items()]

    def home(self, key: str, value: Any, path: str) -> Home:
        entry = self.entry(key, value, path, ORGANIZATION_FIELDS, extra=frozenset({"orchestrators"}))
        found = value.get("orchestrators", []) if isinstance(value, dict) else []
        path = f"{path}.orchestrators"
        if isinstance(found, dict):
            items = [(name, item, f"{path}.{name}") for name, item in found.items()]
        elif isinstance(found, list):
            items = [(name, {}, f"{path}[{index}]") for index, name in enumerate(found)]
        else:
            self.problems.append(f'{path}: must be a list of ids or an object; write ["orch-001"].')
            items = []
        orchestrators = [self.orchestrator(*item) for item in items]
        return Home(entry.key, entry.path, entry.columns, entry.is_independent, orchestrators)

    def orchestrator(self, key: Any, value: Any, path: str) -> Entry:
        if key in protocol.RESERVED_IDS:
            self.problems.append(f"{path}: {key!r} is reserved; choose another id.")
        if isinstance(key, str) and key in self.seen:
            self.problems.append(f"{path}: {key!r} stands at {self.seen[key]} too; keep one of them.")
        if isinstance(key, str):
            self.seen[key] = path
        return self.entry(key, value, path, INSTANCE_FIELDS | SECRET_FIELDS)

    def entry(
        self, key: Any, value: Any, path: str, kinds: dict[str, type], *, extra: frozenset[str] = frozenset()
    ) -> Entry:
        try:
            validate_identifier(key if isinstance(key, str) else "")
        except ValidationError:
            self.problems.append(f"{path}: {str(key)[:60]!r} is no id; {validate_identifier.message}")
        if not isinstance(value, dict):
            self.problems.append(f'{path}: must be an object; write {{"name": "…"}}.')
            return Entry(str(key), path, {}, None)
        self.unknown(value, {*kinds, "is_independent", *extra}, f"{path}.")
        for name, kind in {**kinds, "is_independent": bool}.items():
            if name in value and type(value[name]) is not kind:
                self.problems.append(f"{path}.{name}: must be {KINDS[kind]}.")
        columns = {name: value[name] for name in kinds if name in value}
        return Entry(str(key), path, columns, value.get("is_independent"))

    def unknown(self, value: dict[str, Any], known: set[str], path: str) -> None:
        for name in value:
            if name not in known:
                self.problems.append(f"{path}{name}: is unknown; remove it. Known are {', '.join(sorted(known))}.")


# --- writing into the registry ----------------------------------------------------------------------------------------


@transaction.atomic
def apply(homes: list[Home], *, only_missing: bool = False, dry_run: bool = False) -> list[str]:
    """Bring the registry in line with the file and return one line for each thing done.

    `only_missing` makes what is not there and leaves the rest alone, also deleted orchestrators. `dry_run` does it all
    and takes it back. What the file does not name is left alone. Raises InvalidFile; then nothing is changed.
    """
    work = _Work([], [], only_missing)
    organizations.lock_many(home.key for home in homes)  # all at first, in the order every writer takes them in
    for home in homes:
        work.organization(home)
    if work.problems:
        raise InvalidFile(work.problems)
    if dry_run:
        transaction.set_rollback(True)
    return work.done


@dataclass(slots=True)
class _Work:
    done: list[str]
    problems: list[str]
    only_missing: bool

    def organization(self, home: Home) -> None:
        row = Organization.objects.filter(pk=home.key).first()
        with self.named(home, ORGANIZATION_FIELDS):
            if row is None:
                columns = {"name": home.key, **home.columns}
                row = tenants.create(home.key, acting_user=None, **columns)
                self.done.append(f"made organization {home.key}")
                self.flag(home, row.is_independent, independence.set_organization, "organization")
            elif not self.only_missing:
                row = self.update_organization(row, home)
                self.flag(home, row.is_independent, independence.set_organization, "organization")
        for entry in home.orchestrators if row is not None else []:
            self.orchestrator(entry, row)

    def update_organization(self, row: Organization, home: Home) -> Organization:
        changed = [name for name, value in home.columns.items() if not parsing.is_same(getattr(row, name), value)]
        if changed:
            row = tenants.update(row, acting_user=None, **{name: home.columns[name] for name in changed})
            self.done.append(f"changed organization {home.key}: {', '.join(sorted(changed))}")
        return row

    def orchestrator(self, entry: Entry, organization: Organization) -> None:
        row = Instance.objects.select_related("organization").filter(orchestrator_id=entry.key).first()
        is_there = row is not None and (row.deleted_at is None or self.only_missing)
        if is_there and self.only_missing:
            return
        with self.named(entry, INSTANCE_FIELDS | SECRET_FIELDS):
            if row is not None and is_there:
                if row.organization_id != organization.pk:
                    detail = f"belongs to {row.organization_id}; delete it there first, or move it in the file."
                    self.problems.append(f"{entry.path}: {detail}")
                    return
                row = self.update_instance(row, entry)
            else:
                row = instances.create(
                    entry.key, organization=organization, acting_user=None, may_take_over=True, **entry.columns
                )
                self.done.append(f"made orchestrator {entry.key}")
            self.flag(entry, row.is_independent, independence.set_instance, "orchestrator")

    def update_instance(self, row: Instance, entry: Entry) -> Instance:
        secrets = sealed.columns(Instance)
        changed = [
            name
            for name, value in entry.columns.items()
            if not (sealed.is_same(row, name, value) if name in secrets else parsing.is_same(getattr(row, name), value))
        ]
        if changed:
            columns, source = {name: entry.columns[name] for name in changed}, OverrideVersion.Source.IMPORT
            row = instances.update(row, acting_user=None, source=source, **columns)
            self.done.append(f"changed orchestrator {entry.key}: {', '.join(sorted(changed))}")
        return row

    def flag(self, entry: Entry, current: bool, change: Callable[..., Any], noun: str) -> None:
        if entry.is_independent is None or entry.is_independent == current:
            return
        change(entry.key, is_independent=entry.is_independent, acting_user=None, reason="registry file")
        self.done.append(f"{noun} {entry.key} is {'independent' if entry.is_independent else 'managed'}")

    @contextmanager
    def named(self, entry: Entry, kinds: dict[str, type]) -> Iterator[None]:
        """Turn a refusal of a room into problems with their paths."""
        try:
            with transaction.atomic():
                yield
        except AppError as problem:
            details = problem.fields or {"": problem.detail}
            for name, text in details.items():
                is_named = name.partition(".")[0] in kinds
                self.problems.append(f"{entry.path}{f'.{name}' if is_named else ''}: {text}")


# --- writing the file -------------------------------------------------------------------------------------------------


def export() -> tuple[dict[str, Any], list[str]]:
    """Return the registry as a document that `parse` takes, and the names of the secrets that were left out."""
    document: dict[str, Any] = {}
    for organization in Organization.objects.order_by("pk"):
        columns = {name: getattr(organization, name) for name in ORGANIZATION_FIELDS}
        flag = {"is_independent": organization.is_independent}
        document[organization.pk] = columns | flag | {"orchestrators": {}}
    left_out: list[str] = []
    for row in Instance.objects.present().order_by("orchestrator_id"):
        columns = {name: getattr(row, name) for name in INSTANCE_FIELDS}
        columns |= {"is_independent": row.is_independent} | _urls_without_secrets(row, left_out)
        document[row.organization_id]["orchestrators"][row.orchestrator_id] = columns
    return {"organizations": document}, left_out


def _urls_without_secrets(row: Instance, left_out: list[str]) -> dict[str, str]:
    shown: dict[str, str] = {}
    for name, masked in sealed.masked(row).items():
        if not masked:
            continue
        if isinstance(masked, str) and vault.STARS not in masked:
            shown[name] = masked
        else:
            left_out.append(f"{row.orchestrator_id}.{name}")
    return shown
