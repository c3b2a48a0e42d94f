"""`manage.py create_organization`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from moolai.errors import AppError
from orgs import audit, organizations
from orgs.management import refusals


class Command(BaseCommand):
    """Make an organization."""

    help = "Make an organization, audited as made from the command line."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("organization_id", help="public id: letters, digits, dots, dashes, underscores")
        parser.add_argument("--name", default="", help="name shown in the console (default: the id)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make it, or say why not."""
        try:
            with audit.origin("command create_organization"):
                row = organizations.create(options["organization_id"], name=options["name"], acting_user=None)
        except AppError as problem:
            raise CommandError(refusals.sentence(problem)) from None
        self.stdout.write(
            f"Organization {row.organization_id} is ready. Next: manage.py create_api_key "
            f"--organization {row.organization_id} --scope orchestrator"
        )
