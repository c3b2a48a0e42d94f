"""`manage.py import_config FILE`."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from orchestrators import registry_file
from orgs import audit


class Command(BaseCommand):
    """Bring the registry in line with a file."""

    help = "Make and change the organizations and orchestrators that a JSON file names; what it does not name stays."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("file", type=Path, help="JSON, as export_config writes it")
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        """Import all of it or nothing, and say what was done."""
        try:
            homes = registry_file.parse(options["file"].read_text(encoding="utf-8"))
            with audit.origin("command import_config"):
                done = registry_file.apply(homes, dry_run=options["dry_run"])
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{options['file']} cannot be read: {error}") from None
        except registry_file.InvalidFile as problem:
            raise CommandError(f"Nothing was changed. Mend {options['file']}:\n{problem}") from None
        prefix = "would have: " if options["dry_run"] else ""
        for line in done:
            self.stdout.write(f"{prefix}{line}")
        if not done:
            self.stdout.write("Nothing to do: the registry says what the file says.")
