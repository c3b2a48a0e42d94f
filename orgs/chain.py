"""The audit trail's hash chain: each row holds the hash of the one before it, one chain per organization.

The newest row's hash is kept twice: in `audit_heads`, and in `audit_heads.json` in DATA_DIR, which an editor of the
database does not reach. `verify` tells edits, deletions, reordering and truncation apart.
"""

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from orgs.models import AuditEntry, AuditHead

GENESIS: Final = "0" * 64
FIELDS: Final = (
    "organization_id", "sequence", "actor", "action", "target_type", "target_id", "before", "after", "reason",
    "remote_address", "request_id", "created_at", "previous_hash",
)  # fmt: skip


def digest(entry: Any) -> str:
    """Return the SHA-256 over every column of `entry` but its id and its own hash, in canonical JSON."""
    document = {name: _canonical(getattr(entry, name)) for name in FIELDS}
    document["created_at"] = entry.created_at.isoformat()
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _canonical(value: Any) -> Any:
    """Return `value` as it comes back from either database: PostgreSQL stores 1e23 as the integer it is written as."""
    if isinstance(value, dict):
        return {key: _canonical(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(child) for child in value]
    return int(Decimal(repr(value))) if isinstance(value, float) and value.is_integer() else value


def append(entry: AuditEntry) -> None:
    """Insert `entry` at the end of its organization's chain; the chain's head is locked until the commit."""
    AuditHead.objects.get_or_create(organization_id=entry.organization_id, defaults={"hash": GENESIS})
    head = AuditHead.objects.select_for_update().get(organization_id=entry.organization_id)
    entry.sequence, entry.previous_hash = head.sequence + 1, head.hash
    entry.hash = digest(entry)
    entry.save(force_insert=True)
    head.sequence, head.hash = entry.sequence, entry.hash
    head.save(update_fields=["sequence", "hash"])


# --- the copy outside the database ----------------------------------------------------------------------------------


def heads_path() -> Path:
    """Return where the heads are kept outside the database."""
    return Path(settings.DATA_DIR) / "audit_heads.json"


def keep_head(organization_id: str, *, sequence: int, entry_hash: str) -> None:
    """Remember a committed head in DATA_DIR, unless a later one is kept already."""
    path = heads_path()
    with _lock(path):
        heads = kept_heads()
        if heads.get(organization_id, [0, ""])[0] < sequence:
            heads[organization_id] = [sequence, entry_hash]
            _replace(path, json.dumps(heads, indent=1, sort_keys=True))


def kept_heads() -> dict[str, list[Any]]:
    """Return {organization id: [sequence, hash]} as kept in DATA_DIR."""
    path = heads_path()
    return dict(json.loads(path.read_text())) if path.exists() else {}


def replace_heads(heads: dict[str, list[Any]]) -> None:
    """Put other heads in the place of the kept ones, for a database that was replaced as a whole."""
    path = heads_path()
    with _lock(path):
        _replace(path, json.dumps(heads, indent=1, sort_keys=True))


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with open(path.with_name(f"{path.name}.lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(name, path)


# --- verification ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong in one organization's chain, at one place in it."""

    organization_id: str
    sequence: int
    problem: str


def verify() -> tuple[int, list[Finding]]:
    """Read every chain from its first row; return how many rows were read and what is wrong."""
    read, findings = 0, list[Finding]()
    last: dict[str, tuple[int, str]] = {}
    outside = kept_heads()
    for entry in AuditEntry.objects.order_by("organization_id", "sequence", "id").iterator(chunk_size=2000):
        read += 1
        sequence, previous = last.get(entry.organization_id, (0, GENESIS))
        findings += _check(entry, sequence=sequence, previous=previous)
        findings += _check_kept(entry, outside.get(entry.organization_id))
        last[entry.organization_id] = (entry.sequence, entry.hash)
    findings += _check_heads(last, outside, AuditHead.objects.all())
    return read, findings


@dataclass(frozen=True, slots=True)
class Verification:
    """How the newest `rows` of one chain look, from the place `first` on; `total` is what the head says there are."""

    organization_id: str
    rows: int
    first: int
    total: int
    findings: list[Finding]

    @property
    def is_whole(self) -> bool:
        """Whether the chain was read from its first row."""
        return self.first <= 1


@transaction.atomic
def verify_newest(organization_id: str, *, limit: int) -> Verification:
    """Check the newest `limit` rows of one organization's chain, and that it ends where its heads say.

    The head is locked meanwhile, so that a row being appended is never taken for a forged one.
    """
    heads = AuditHead.objects.filter(organization_id=organization_id)
    ends = [head.sequence for head in heads.select_for_update()]
    own = AuditEntry.objects.filter(organization_id=organization_id).order_by("-sequence", "-id")
    rows = list(own[: limit + 1])[::-1]
    sequence, previous = 0, GENESIS
    if len(rows) > limit:  # the row before the first one checked: its hash is what that one must hold
        sequence, previous = rows[0].sequence, rows[0].hash
        rows = rows[1:]
    first, findings = sequence + 1, list[Finding]()
    kept = kept_heads().get(organization_id)
    for entry in rows:
        findings += _check(entry, sequence=sequence, previous=previous)
        findings += _check_kept(entry, kept)
        sequence, previous = entry.sequence, entry.hash
    findings += _check_heads({organization_id: (sequence, previous)}, {organization_id: kept} if kept else {}, heads)
    return Verification(organization_id, len(rows), first, max([sequence, *ends]), findings)


def _check_kept(entry: AuditEntry, kept: list[Any] | None) -> list[Finding]:
    if kept is None or kept[0] != entry.sequence or kept[1] == entry.hash:
        return []
    return [_finding(entry, "the row differs from the head kept in DATA_DIR: the chain was rewritten")]


def _check(entry: AuditEntry, *, sequence: int, previous: str) -> list[Finding]:
    found: list[Finding] = []
    if digest(entry) != entry.hash:
        found.append(_finding(entry, "the row was edited"))
    if entry.sequence == sequence:
        found.append(_finding(entry, "two rows have one place"))
    elif entry.sequence != sequence + 1:
        found.append(_finding(entry, f"rows {sequence + 1} to {entry.sequence - 1} are missing"))
    elif entry.previous_hash != previous:
        found.append(_finding(entry, "the row does not follow the one before it: edited or reordered"))
    return found


def _check_heads(
    last: dict[str, tuple[int, str]], outside: dict[str, list[Any]], rows: QuerySet[AuditHead]
) -> list[Finding]:
    found: list[Finding] = []
    heads = {head.organization_id: (head.sequence, head.hash) for head in rows}
    for organization_id in sorted(set(heads) | set(last)):
        newest, head = last.get(organization_id, (0, GENESIS)), heads.get(organization_id, (0, GENESIS))
        if newest != head:
            problem = f"the chain ends at {newest[0]}, its head says {head[0]}: rows at the end are gone or forged"
            found.append(Finding(organization_id, newest[0], problem))
    for organization_id, (sequence, _) in sorted(outside.items()):
        newest_sequence = last.get(organization_id, (0, GENESIS))[0]
        if newest_sequence < sequence:
            problem = f"the chain ends at {newest_sequence}, DATA_DIR has seen {sequence}: rows at the end are gone"
            found.append(Finding(organization_id, newest_sequence, problem))
    return found


def _finding(entry: AuditEntry, problem: str) -> Finding:
    return Finding(entry.organization_id, entry.sequence, problem)
