"""`manage.py rotate_encryption_key`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from orgs import audit, rotation, vault


class Command(BaseCommand):
    """Replace the encryption key."""

    help = (
        "Seal every secret again with the first key of ENCRYPTION_KEY. Before: set ENCRYPTION_KEY=new,old and restart "
        "every process. Can be interrupted and started again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--check", action="store_true", help="change nothing; say which keys are still needed")

    def handle(self, *args: Any, **options: Any) -> None:
        """Rotate, open everything once, and say what may be dropped."""
        keys = vault.ring()
        if not options["check"]:
            with audit.origin("command rotate_encryption_key"):
                rotation.rotate(self.stdout.write)
        found = rotation.survey()
        for problem in found.problems:
            self.stderr.write(problem)
        total = sum(found.by_key.values())
        if found.problems:
            raise CommandError(
                f"{len(found.problems)} of the columns cannot be read; drop no key. Add the key they were sealed with "
                "to ENCRYPTION_KEY, or write these secrets anew, and start this command again."
            )
        self.stdout.write(f"Verified: {total} secrets open; the first key of ENCRYPTION_KEY is {keys[0].key_id}.")
        if found.old_key_ids:
            self.stdout.write(
                f"Still needed: {', '.join(sorted(found.old_key_ids))}. Run this command without --check."
            )
        elif len(keys) > 1:
            dropped = ", ".join(key.key_id for key in keys[1:])
            self.stdout.write(
                f"No stored secret needs {dropped} any more: leave only the first key in ENCRYPTION_KEY and restart "
                "every process. Keep the old key with the backups that were made under it."
            )
