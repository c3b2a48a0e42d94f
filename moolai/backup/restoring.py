"""The way back: a checked archive into empty databases, all or nothing, and then the proof that it is whole."""

import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from django.core.management import call_command
from django.db import connections
from django.utils import timezone

from moolai.backup import archive, tables
from moolai.backup.archive import Manifest, Progress
from moolai.backup.stream import BackupError
from orchestrators import mirror, nodes
from orchestrators.models import Instance, Node
from orgs import audit, chain, rotation
from orgs.models import AuditEntry, Organization, User


@dataclass(frozen=True, slots=True)
class Outcome:
    """A restore that was committed, and what was found wrong with its contents afterwards."""

    manifest: Manifest
    findings: list[str]


def restore(path: Path, *, is_forced: bool, progress: Progress) -> Outcome:
    """Put a backup into the databases of this installation; raises BackupError before anything is changed.

    Databases that hold something are refused unless `is_forced`, which replaces all of it. Ends with a check of the
    audit trail and of every stored secret.
    """
    manifest = archive.inspect(path, progress=progress)
    _prepare(manifest, progress=progress)
    _require_quiet(is_forced=is_forced)
    heads = _load(path, manifest, progress=progress)
    chain.replace_heads(heads)
    mirror.write()
    findings = _verify(progress=progress)
    audit.record(
        "backup.restore",
        acting_user=None,
        organization_id="",
        target=("backup", path.name[:200]),
        after={"created_at": manifest.created_at, "version": manifest.version, "rows": manifest.rows},
    )
    return Outcome(manifest, findings)


def _prepare(manifest: Manifest, *, progress: Progress) -> None:
    """Migrate databases that are brand-new, and refuse a schema that the rows do not fit."""
    for alias in connections:
        if not archive.migrations(alias):
            progress(f"migrating the empty database {alias}")
            call_command("migrate", database=alias, interactive=False, verbosity=0, skip_checks=True)
        theirs, ours = set(manifest.migrations), set(archive.migrations(alias))
        if theirs != ours:
            different = sorted(theirs ^ ours)[0]
            raise BackupError(
                f"The backup was made by version {manifest.version} with another schema ({different} differs): restore "
                "it with the version that made it, then run manage.py migrate with this one."
            )
    known = {name: tables.columns(model) for name, model in tables.backed_up().items()}
    if {name: table.columns for name, table in manifest.tables.items()} != known:
        raise BackupError(f"The backup's tables differ from this version's; restore it with {manifest.version}.")


def _require_quiet(*, is_forced: bool) -> None:
    alive_since = timezone.now() - timedelta(seconds=nodes.DEAD_AFTER_SECONDS)
    if node := Node.objects.filter(beat_at__gt=alive_since).first():
        raise BackupError(f"The web process {node.node_id} uses this database; stop everything and wait 15 s.")
    held = [model for model in (Organization, User, Instance, AuditEntry) if model._base_manager.exists()]
    if held and not is_forced:
        names = ", ".join(f"{tables.count(model)} {model._meta.verbose_name_plural}" for model in held)
        raise BackupError(f"The database is not empty ({names}); --force replaces everything in it.")


def _load(path: Path, manifest: Manifest, *, progress: Progress) -> dict[str, list[object]]:
    """Replace all rows in one transaction for each database; return the kept heads of the audit trail."""
    models = tables.backed_up()
    home = {part: name for name, table in manifest.tables.items() for part in table.parts}
    heads: dict[str, list[object]] = {}
    with tables.replacing(list(connections)):
        for part, data in archive.members(path):
            if part == archive.HEADS:
                heads = json.loads(data)
            elif part in home:
                name = home[part]
                tables.insert(models[name], data.splitlines())
                progress(f"{name}: part {manifest.tables[name].parts.index(part) + 1}")
        for name, table in manifest.tables.items():
            found = tables.count(models[name])
            if found != table.rows:
                raise BackupError(f"{name} has {found} rows instead of {table.rows}; nothing was changed.")
    return heads


def _verify(*, progress: Progress) -> list[str]:
    read, findings = chain.verify()
    progress(f"audit trail: {read} rows, {len(findings)} findings")
    problems = [f"audit trail of {item.organization_id or 'no organization'}, row {item.sequence}: {item.problem}"
                for item in findings]  # fmt: skip
    secrets = rotation.survey()
    progress(f"secrets: {sum(secrets.by_key.values())} sealed, {len(secrets.problems)} unreadable")
    return problems + secrets.problems
