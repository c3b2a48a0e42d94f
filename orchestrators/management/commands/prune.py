"""`manage.py prune [--dry-run]`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from orchestrators import retention
from orgs import retention as registry


class Command(BaseCommand):
    """Delete what served its time."""

    help = (
        "Delete messages, events, jobs, files of exports, measurements, idempotency keys and refresh tokens that "
        "served their time, in batches; the beat does it by itself. Open messages, unread recommendations and audit "
        "rows stay."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--dry-run", action="store_true", help="count, and delete nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it to the end and say how many went."""
        now = timezone.now()
        if options["dry_run"]:
            gone = registry.count(retention.rules(now=now))
        else:
            gone = retention.prune(now=now, budget_seconds=float("inf"))
        word = "would be deleted" if options["dry_run"] else "deleted"
        for name, number in gone.items():
            self.stdout.write(f"{name}: {number} {word}")
