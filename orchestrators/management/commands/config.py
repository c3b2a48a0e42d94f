"""`manage.py config show|set|check|versions|diff|rollback`."""

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from moolai.errors import AppError
from orchestrators import configuration
from orchestrators.configuration import versions
from orchestrators.models import ConfigVersion
from orgs import audit
from orgs.management import refusals
from orgs.models import Organization


class Command(BaseCommand):
    """Read and change the configuration of an organization's orchestrators."""

    help = "Show, set, check, compare and take back the configuration of an organization's orchestrators."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the actions."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        show = _action(actions, "show", "print the configuration, or one of its versions")
        show.add_argument("--version", type=int, dest="number", help="this version instead of the current one")
        put = _action(actions, "set", "publish a configuration to the whole fleet now (see `rollout start` for stages)")
        put.add_argument("file", help="a JSON file, - for standard input")
        put.add_argument("--comment", default="", help="why, for the history")
        check = _action(actions, "check", "say what is wrong with a configuration; 1 is the exit code when anything is")
        check.add_argument("file", help="a JSON file, - for standard input")
        listing = _action(actions, "versions", "list the versions, newest first")
        listing.add_argument("--limit", type=int, default=20, help="how many (default %(default)s)")
        diff = _action(actions, "diff", "show what changed between two versions")
        diff.add_argument("before", type=int)
        diff.add_argument("after", type=int)
        back = _action(actions, "rollback", "publish the content of an older version as a new one")
        back.add_argument("number", type=int, metavar="version")
        back.add_argument("--comment", default="", help="why, for the history")
        back.add_argument("--force", action="store_true", help="also one that was halted before")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, or say why not."""
        organization = organization_of(options["organization"])
        try:
            with audit.origin("command config"):
                getattr(self, f"_{options['action']}")(organization, options)
        except AppError as problem:
            raise CommandError(refusals.sentence(problem)) from None

    def _show(self, organization: Organization, options: dict[str, Any]) -> None:
        number = options["number"]
        row = versions.current(organization) if number is None else versions.get(organization, number)
        self.stderr.write(f"{organization.pk} version {row.version} {row.config_hash}")
        self.stdout.write(json.dumps(row.content, indent=2, ensure_ascii=False))

    def _set(self, organization: Organization, options: dict[str, Any]) -> None:
        row = configuration.publish(
            organization, document_in(options["file"]), acting_user=None, comment=options["comment"]
        )
        self._tell(row)

    def _check(self, organization: Organization, options: dict[str, Any]) -> None:
        found = configuration.validate(document_in(options["file"]), organization)
        if found:
            raise CommandError("\n".join(f"{row['path'] or 'the whole'}: {row['problem']}" for row in found))
        self.stdout.write("It can be used.")

    def _versions(self, organization: Organization, options: dict[str, Any]) -> None:
        for row in organization.config_versions.defer("document")[: options["limit"]]:
            state = "" if row.released_at else " (not released)"
            when = row.created_at.strftime("%Y-%m-%d %H:%M:%S")
            places = ", ".join(change["path"] for change in row.changes[:5]) or "nothing"
            self.stdout.write(f"{row.version:>5}  {when}  {row.author}  {row.source}{state}: {places}  {row.comment}")

    def _diff(self, organization: Organization, options: dict[str, Any]) -> None:
        before, after = (versions.get(organization, options[name]).content for name in ("before", "after"))
        for change in configuration.difference(before, after):
            for name, mark in (("before", "-"), ("after", "+")):
                if name in change:
                    self.stdout.write(f"{mark} {change['path']}: {json.dumps(change[name], ensure_ascii=False)}")

    def _rollback(self, organization: Organization, options: dict[str, Any]) -> None:
        row = configuration.rollback(
            organization,
            options["number"],
            acting_user=None,
            comment=options["comment"],
            is_forced=options["force"],
        )
        self._tell(row)

    def _tell(self, row: ConfigVersion) -> None:
        self.stdout.write(f"{row.organization_id} is at version {row.version} ({row.config_hash}).")


def _action(actions: Any, name: str, words: str) -> ArgumentParser:
    found: ArgumentParser = actions.add_parser(name, help=words, description=words.capitalize() + ".")
    found.add_argument("organization", help="organization id")
    return found


def organization_of(organization_id: str) -> Organization:
    """Return an organization; raises CommandError."""
    row = Organization.objects.filter(pk=organization_id).first()
    if row is None:
        raise CommandError(f"There is no organization {organization_id}.")
    return row


def document_in(file: str) -> Any:
    """Return the JSON in a file, or on standard input; raises CommandError."""
    try:
        return json.loads(sys.stdin.read() if file == "-" else Path(file).read_text())
    except (OSError, ValueError) as error:
        raise CommandError(f"{file} cannot be read as JSON: {error}") from None
