"""`manage.py independence ID on|off`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from moolai.errors import AppError, NotFound
from orchestrators import independence
from orgs import audit
from orgs.management import refusals


class Command(BaseCommand):
    """Set the independence of an orchestrator or an organization."""

    help = "Make an orchestrator (or, with --organization, all of an organization's) independent, or managed again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("id", help="orchestrator id; with --organization an organization id")
        parser.add_argument("state", choices=["on", "off"], help="on: independent; off: managed")
        parser.add_argument("--organization", action="store_true", help="ID is an organization's")
        parser.add_argument("--reason", default="", help="why, for the audit trail")

    def handle(self, *args: Any, **options: Any) -> None:
        """Set it, or say why not."""
        change = independence.set_organization if options["organization"] else independence.set_instance
        noun = "organization" if options["organization"] else "orchestrator"
        try:
            with audit.origin("command independence"):
                change(
                    options["id"],
                    is_independent=options["state"] == "on",
                    acting_user=None,
                    reason=options["reason"],
                )
        except NotFound:
            raise CommandError(f"There is no {noun} {options['id']}; manage.py fleet_status lists them.") from None
        except AppError as problem:
            raise CommandError(refusals.sentence(problem)) from None
        state = "independent" if options["state"] == "on" else "managed"
        self.stdout.write(f"{noun} {options['id']} is {state}.")
