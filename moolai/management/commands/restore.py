"""`manage.py restore FILE`."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from moolai import backup
from orgs import audit


class Command(BaseCommand):
    """Read a backup back."""

    help = "Put a backup into empty databases (all or nothing), then verify the audit trail. Stop everything before."
    requires_system_checks = ("moolai",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("file", type=Path, help="as manage.py backup wrote it")
        parser.add_argument("--force", action="store_true", help="replace everything that is in the databases")
        parser.add_argument("--check", action="store_true", help="only read the file to its end and check it")

    def handle(self, *args: Any, **options: Any) -> None:
        """Restore, or say in one sentence why not."""
        try:
            if options["check"]:
                backup.inspect(options["file"], progress=self.stdout.write)
                return
            with audit.origin("command restore"):
                done = backup.restore(options["file"], is_forced=options["force"], progress=self.stdout.write)
        except backup.BackupError as problem:
            raise CommandError(str(problem)) from None
        if done.findings:
            raise CommandError("Everything was restored, and this is wrong with it:\n" + "\n".join(done.findings))
        self.stdout.write(f"Restored {done.manifest.rows} rows; the audit trail is intact. Everybody signs in again.")
