"""What a command says that finds a database without moolai's tables, and what it leaves behind: nothing."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Final

from django.db import DatabaseError, connections

UNDEFINED_TABLE: Final = "42P01"  # PostgreSQL's SQLSTATE


def is_missing_table(error: DatabaseError) -> bool:
    """Whether `error` says that a table is not there, for SQLite or PostgreSQL."""
    return str(error).startswith("no such table") or getattr(error.__cause__, "sqlstate", "") == UNDEFINED_TABLE


def tell() -> str:
    """Return one sentence for a command that met no tables; names no password."""
    config = connections["default"].settings_dict
    place = config["NAME"] if not config.get("HOST") else f"{config['NAME']} on {config['HOST']}"
    advice = "run `manage.py migrate` (or `up`, or `restore`) or set DATA_DIR"
    return f"There is no moolai database in {place}, or it is older than this version: {advice}."


def discard_empty() -> None:
    """Remove the SQLite files that opening them has just made: those without any table."""
    for connection in connections.all(initialized_only=True):
        connection.close()
        if connection.vendor == "sqlite":
            _discard(Path(connection.settings_dict["NAME"]))


def _discard(path: Path) -> None:
    if not path.is_file():
        return
    with contextlib.closing(sqlite3.connect(path)) as opened:
        (tables,) = opened.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
