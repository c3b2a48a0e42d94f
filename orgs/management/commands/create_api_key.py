"""`manage.py create_api_key`: prints the secret, and nothing else, on standard output."""

from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from moolai.errors import AppError
from orgs import audit, keys
from orgs.management import refusals
from orgs.models import Organization, Role

FORMAT = "ISO 8601, for example 2027-01-31 or 2027-01-31T12:00"


def moment(text: str) -> datetime:
    """Parse an ISO 8601 date or time to come; without a zone it is UTC."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not {FORMAT}") from None
    value = value.replace(tzinfo=UTC) if value.tzinfo is None else value
    if value <= timezone.now():
        raise ArgumentTypeError(f"{text}: This time has passed already.")
    return value


class Command(BaseCommand):
    """Make an API key."""

    help = "Make an API key and print its secret, once, alone on standard output."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--organization", required=True, help="organization id the key belongs to")
        kind = parser.add_mutually_exclusive_group(required=True)
        kind.add_argument("--role", choices=Role.values, help="what a person or tool with the key may do")
        kind.add_argument("--scope", choices=sorted(keys.SCOPES), help="what a process with the key may do")
        parser.add_argument("--orchestrator", default="", help="bind the key to this orchestrator id")
        parser.add_argument("--name", default="", help="how lists show the key")
        parser.add_argument("--expires-at", type=moment, help=f"{FORMAT} (UTC); never when left out")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make it, or say why not."""
        organization = Organization.objects.filter(pk=options["organization"]).first()
        if organization is None:
            raise CommandError(
                f"There is no organization {options['organization']}; make it with manage.py create_organization."
            )
        name = options["name"] or f"{options['role'] or options['scope']} {options['orchestrator']}".strip()
        try:
            with audit.origin("command create_api_key"):
                _, secret = keys.create(
                    organization,
                    name=name,
                    acting_user=None,
                    role=options["role"] or "",
                    scopes=[options["scope"]] if options["scope"] else [],
                    orchestrator_id=options["orchestrator"],
                    expires_at=options["expires_at"],
                )
        except AppError as problem:
            raise CommandError(refusals.sentence(problem)) from None
        self.stdout.write(secret)
        self.stderr.write("Keep it safe: it is not shown again.")
