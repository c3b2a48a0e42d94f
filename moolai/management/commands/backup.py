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
        parser.add_argument("target", type=Path, help="a directory, where a file named by the time is made, or a file")

    def handle(self, *args: Any, **options: Any) -> None:
        """Write it, and say what is not in it."""
        try:
            path, manifest = backup.create(options["target"], progress=self.stdout.write)
        except backup.BackupError as problem:
            raise CommandError(str(problem)) from None
        self.stdout.write(f"{path}: {manifest.rows} rows, {path.stat().st_size} bytes, encrypted with ENCRYPTION_KEY.")
        self.stdout.write("The keys are not in it: keep ENCRYPTION_KEY and SECRET_KEY elsewhere, or it cannot be read.")
