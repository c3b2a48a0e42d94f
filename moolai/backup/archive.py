"""The file itself: a gzipped tar inside the encrypted stream; rows in parts of JSON lines, then files, then a manifest.

The manifest comes last, because only then all rows and hashes are known; the stream is written in one go, and nothing
is ever on disk in plain text.
"""

import gzip
import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from django.conf import settings
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from moolai.backup import stream, tables
from moolai.backup.stream import BackupError
from orgs import chain

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
HEADS: Final = "files/audit_heads.json"
PART_ROWS: Final = 5_000
PART_BYTES: Final = 8 * 1024 * 1024
Progress = Callable[[str], None]


@dataclass(slots=True)
class Table:
    """What the archive says about one table."""

    columns: list[str]
    rows: int = 0
    parts: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Manifest:
    """What is in an archive: every part with its SHA-256, and the state of the schema its rows fit."""

    format: int
    version: str
    created_at: str
    migrations: list[str]
    tables: dict[str, Table] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many rows there are in all."""
        return sum(table.rows for table in self.tables.values())


def migrations(alias: str) -> list[str]:
    """Return the migrations applied to a database, as `app.name`, sorted; [] when it has none."""
    applied = MigrationRecorder(connections[alias]).applied_migrations()
    return sorted(f"{app}.{name}" for app, name in applied)


# --- writing --------------------------------------------------------------------------------------------------------


def create(target: Path, *, progress: Progress) -> tuple[Path, Manifest]:
    """Write a backup to the file `target`, or to a new file in the directory `target`; return its path and contents.

    The file has mode 0600 and appears only when it is complete. Raises BackupError.
    """
    now = timezone.now()
    path = target / f"moolai-{now:%Y%m%dT%H%M%SZ}.backup" if target.is_dir() else target
    if path.exists():
        raise BackupError(f"{path} exists already; name another file.")
    manifest = Manifest(FORMAT, settings.VERSION, now.isoformat(), migrations("default"))
    try:
        with _appearing(path) as file:
            writer = stream.Writer(file)
            with (
                gzip.GzipFile(fileobj=writer, mode="wb", compresslevel=6, filename="", mtime=0) as packed,
                tarfile.open(fileobj=packed, mode="w|") as tar,
            ):
                _fill(tar, manifest, progress)
            writer.finish()
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror or error}.") from None
    return path, manifest


@contextmanager
def _appearing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file of mode 0600 that gets its name when the block ends well, and vanishes otherwise."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.link(unfinished, path)  # unlike a rename, it never replaces another file
    finally:
        unfinished.unlink(missing_ok=True)


def _fill(tar: tarfile.TarFile, manifest: Manifest, progress: Progress) -> None:
    # The heads first: rows that are added afterwards are in the chain and not yet in the heads, which is no finding.
    files = {HEADS: chain.heads_path()} | {
        f"files/{path.name}": path for path in (settings.INDEPENDENCE_ENV_FILE, settings.INDEPENDENCE_JSON_FILE)
    }
    for name, path in files.items():
        if path.exists():
            _add(tar, manifest, name, path.read_bytes())
    with ExitStack() as stack:
        for alias in connections:
            stack.enter_context(tables.snapshot(alias))
        for name, model in tables.backed_up().items():
            table = manifest.tables[name] = Table(tables.columns(model))
            for part in _parts(tables.lines(model)):
                table.parts.append(f"tables/{name}/{len(table.parts) + 1:06}.jsonl")
                table.rows += len(part)
                _add(tar, manifest, table.parts[-1], b"".join(part))
                if len(table.parts) % 20 == 0:
                    progress(f"{name}: {table.rows} rows so far")
            progress(f"{name}: {table.rows} rows")
    _add(tar, manifest, MANIFEST, json.dumps(asdict(manifest)).encode())


def _parts(rows: Iterator[bytes]) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    size = 0
    for row in rows:
        part.append(row)
        size += len(row)
        if len(part) == PART_ROWS or size >= PART_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _add(tar: tarfile.TarFile, manifest: Manifest, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o600
    tar.addfile(info, io.BytesIO(data))
    manifest.hashes[name] = hashlib.sha256(data).hexdigest()


# --- reading --------------------------------------------------------------------------------------------------------


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Return every part of an archive with its name, in the order they were written; raises BackupError."""
    try:
        with path.open("rb") as file:
            reader = stream.Reader(file)
            with gzip.GzipFile(fileobj=io.BufferedReader(reader)) as packed:
                with tarfile.open(fileobj=packed, mode="r|") as tar:
                    for info in tar:
                        content = tar.extractfile(info)
                        yield info.name, content.read() if content else b""
                while packed.read(stream.CHUNK_BYTES):
                    """To the end: only the last chunk says that nothing is missing."""
    except OSError as error:
        if error.errno is None:  # gzip's own
            raise BackupError("The backup was changed: it cannot be unpacked.") from None
        raise BackupError(f"{path} cannot be read: {error.strerror}.") from None
    except (tarfile.TarError, EOFError, zlib.error):
        raise BackupError("The backup was changed: it cannot be unpacked.") from None


def inspect(path: Path, *, progress: Progress = lambda text: None) -> Manifest:
    """Read a whole archive, compare every part with the manifest, and return that; raises BackupError."""
    seen: dict[str, str] = {}
    last = b""
    for name, data in members(path):
        last = data
        seen[name] = hashlib.sha256(data).hexdigest()
        if len(seen) % 50 == 0:
            progress(f"{len(seen)} parts are intact")
    try:
        found: dict[str, Any] = json.loads(last)
        found["tables"] = {name: Table(**table) for name, table in found["tables"].items()}
        manifest = Manifest(**found)
    except (ValueError, KeyError, TypeError):
        raise BackupError("The backup has no manifest that this version can read.") from None
    seen.pop(MANIFEST, None)
    if manifest.format != FORMAT:
        raise BackupError(f"The backup has the format {manifest.format}; this version reads {FORMAT}.")
    if seen != manifest.hashes:
        raise BackupError("The backup was changed: its parts differ from its manifest.")
    progress(f"The archive is intact: {manifest.rows} rows in {len(seen)} parts, made {manifest.created_at}")
    return manifest
