"""`manage.py sync_independence`."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from orchestrators import mirror


class Command(BaseCommand):
    """Rebuild the independence files."""

    help = "Rebuild the two independence files from the database."

    def handle(self, *args: Any, **options: Any) -> None:
        """Write both and say where they are."""
        mirror.write()
        self.stdout.write(f"Wrote {settings.INDEPENDENCE_ENV_FILE}\nWrote {settings.INDEPENDENCE_JSON_FILE}")
