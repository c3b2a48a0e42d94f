"""`manage.py backup DIR|FILE`."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from moolai import backup


class Command(BaseCommand):
    """Write a backup."""

    help = "Write everything in the databases to one encrypted file; the product may run meanwhile."
    requires_system_checks = ("moolai",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        words = "a directory (made when missing), for a file named by the time; or a file named ….backup"
        parser.add_argument("target", help=words)

    def handle(self, *args: Any, **options: Any) -> None:
        """Write it, and say what is not in it."""
        try:
            target = _prepare(options["target"])
            path, manifest = backup.create(target, progress=self.stdout.write)
        except backup.BackupError as problem:
            raise CommandError(str(problem)) from None
        except OSError as error:
            raise CommandError(f"{options['target']} cannot be made: {error.strerror or error}.") from None
        self.stdout.write(f"{path}: {manifest.rows} rows, {path.stat().st_size} bytes, encrypted with ENCRYPTION_KEY.")
        self.stdout.write("The keys are not in it: keep ENCRYPTION_KEY and SECRET_KEY elsewhere, or it cannot be read.")


def _prepare(text: str) -> Path:
    """Return the path of `text`, made as a directory unless it exists or is named like a backup. Raises OSError."""
    path = Path(text)
    if text.endswith("/") or (path.suffix != ".backup" and not path.exists()):
        path.mkdir(parents=True, exist_ok=True)
    return path
