"""`manage.py verify_audit`."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from orgs import chain


class Command(BaseCommand):
    """Verify the audit trail."""

    help = "Verify the audit trail's hash chains: finds rows that were edited, deleted, reordered or cut off."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--json", action="store_true", help="one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        """Verify, print what is wrong, and fail when anything is."""
        read, findings = chain.verify()
        if options["json"]:
            rows = [[found.organization_id, found.sequence, found.problem] for found in findings]
            self.stdout.write(json.dumps({"rows": read, "findings": rows}))
        else:
            for found in findings:
                name = found.organization_id or "(no organization)"
                self.stdout.write(f"{name} row {found.sequence}: {found.problem}")
        if findings:
            raise CommandError(f"The audit trail was tampered with: {len(findings)} findings in {read} rows.")
        if not options["json"]:
            self.stdout.write(f"The audit trail is intact: {read} rows.")
