"""Backup: everything in the databases as one encrypted file that needs no tool but this product, and the way back.

The same file goes into SQLite and PostgreSQL. `stream` encrypts, `tables` reads and writes rows, `archive` puts both
together. See docs/backup.md.
"""

from moolai.backup.archive import Manifest, create, inspect
from moolai.backup.restoring import restore
from moolai.backup.stream import BackupError

__all__ = ["BackupError", "Manifest", "create", "inspect", "restore"]
