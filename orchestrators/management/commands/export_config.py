"""`manage.py export_config [FILE]`."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from orchestrators import registry_file


class Command(BaseCommand):
    """Write the registry as a file."""

    help = "Write organizations and orchestrators as JSON for import_config, without secrets (standard output or FILE)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("file", type=Path, nargs="?", help="where to write; standard output when left out")

    def handle(self, *args: Any, **options: Any) -> None:
        """Write it, and name what was left out."""
        document, left_out = registry_file.export()
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        if options["file"] is None:
            self.stdout.write(text, ending="")
        else:
            try:
                options["file"].write_text(text, encoding="utf-8")
            except OSError as error:
                raise CommandError(f"{options['file']} cannot be written: {error}") from None
        self.stderr.write("API keys, users and passwords are not in it.")
        if left_out:
            self.stderr.write(f"Left out, because they hold secrets: {', '.join(left_out)}")
