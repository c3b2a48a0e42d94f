"""`manage.py alerts list|acknowledge|resolve|silence|silences|unsilence`."""

import json
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from monitoring.alerts import handling, silences
from monitoring.models import Alert, Severity, Silence
from moolai.errors import AppError
from orchestrators import labels
from orgs import audit
from orgs.management import refusals

HANDLING = {"acknowledge": handling.acknowledge, "resolve": handling.resolve}


class Command(BaseCommand):
    """Look at alerts, take one on, end one, and silence what is known."""

    help = "List alerts; acknowledge or resolve one; silence what is known or planned."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the actions."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        listing = actions.add_parser("list", help="list open alerts", description="List alerts, newest first.")
        listing.add_argument("--organization", default="", help="only this organization's")
        listing.add_argument("--severity", choices=Severity.values, help="only this severity")
        listing.add_argument("--all", action="store_true", help="resolved ones and parts of incidents, too")
        listing.add_argument("--limit", type=int, default=50, help="how many (default %(default)s)")
        listing.add_argument("--json", action="store_true", help="one JSON document")
        for name in HANDLING:
            deed = actions.add_parser(name, help=f"{name} an alert", description=f"{name.capitalize()} an alert.")
            deed.add_argument("alert", help="alert id, alr_…")
            deed.add_argument("--reason", default="", help="why, for the audit trail")
        silence = actions.add_parser(
            "silence", help="silence alerts", description="Silence what fits all that is named."
        )
        silence.add_argument("--for", dest="minutes", type=int, default=60, help="minutes (default %(default)s)")
        silence.add_argument("--maintenance", action="store_true", help="say that work is going on")
        silence.add_argument("--organization", default="", help="organization id")
        silence.add_argument("--orchestrator", default="", help="orchestrator id")
        silence.add_argument("--labels", default="", help="such as env=prod,region=eu")
        silence.add_argument("--rule", default="", help="a rule's key, or a type of alerts")
        silence.add_argument("--severity", default="", choices=["", *Severity.values], help="this and milder ones")
        silence.add_argument("--alert", default="", help="this alert alone")
        silence.add_argument("--everything", action="store_true", help="name nothing: silence the whole installation")
        silence.add_argument("--reason", default="", help="why")
        actions.add_parser("silences", help="list silences", description="List the silences that hold now.")
        unsilence = actions.add_parser("unsilence", help="end a silence", description="End a silence now.")
        unsilence.add_argument("silence", help="silence id, sil_…")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, or say why not."""
        try:
            with audit.origin("command alerts"):
                self._do(options)
        except AppError as problem:
            raise CommandError(refusals.sentence(problem)) from None

    def _do(self, options: dict[str, Any]) -> None:
        match options["action"]:
            case "list":
                self._list(options)
            case "silence":
                row = _silence(options)
                self.stdout.write(f"{row.silence_id} until {row.ends_at:%Y-%m-%d %H:%M} UTC")
            case "silences":
                for row in silences.active(now=timezone.now()):
                    self.stdout.write(silence_line(row))
            case "unsilence":
                silences.end(_found(Silence, silence_id=options["silence"]), acting_user=None)
                self.stdout.write(f"{options['silence']} is over.")
            case name:
                alert = _found(Alert, alert_id=options["alert"])
                self.stdout.write(line(HANDLING[name](alert, acting_user=None, reason=options["reason"])))

    def _list(self, options: dict[str, Any]) -> None:
        rows = Alert.objects.all() if options["all"] else Alert.objects.unresolved().filter(parent=None)
        if options["organization"]:
            rows = rows.filter(organization_id=options["organization"])
        if options["severity"]:
            rows = rows.filter(severity=options["severity"])
        found = list(rows[: options["limit"]])
        if options["json"]:
            names = ("alert_id", "organization_id", "orchestrator_id", "severity", "status", "title", "detail")
            self.stdout.write(json.dumps([{name: getattr(row, name) for name in names} for row in found]))
            return
        for row in found:
            self.stdout.write(line(row))
        if not found:
            self.stdout.write("No open alerts." if not options["all"] else "No alerts.")


def line(row: Alert) -> str:
    """Return an alert on one line."""
    silenced = "  (silenced)" if row.is_silenced else ""
    return f"{row.alert_id} {row.severity:<8} {row.status:<12} {row.started_at:%Y-%m-%d %H:%M:%S} {row.title}{silenced}"


def silence_line(row: Silence) -> str:
    """Return a silence on one line."""
    named = [f"{name}={getattr(row, name)}" for name in silences.MATCHERS if getattr(row, name)]
    return f"{row.silence_id} {row.kind:<11} until {row.ends_at:%Y-%m-%d %H:%M} {', '.join(named) or 'everything'}"


def _silence(options: dict[str, Any]) -> Silence:
    kind = "maintenance" if options["maintenance"] else "snooze" if options["alert"] else "silence"
    return silences.create(
        kind=kind,
        ends_at=timezone.now() + timedelta(minutes=options["minutes"]),
        acting_user=None,
        reason=options["reason"],
        organization_id=options["organization"],
        orchestrator_id=options["orchestrator"],
        labels=labels.parse(options["labels"]),
        rule_key=options["rule"],
        severity=options["severity"],
        alert_id=options["alert"],
        everything=options["everything"],
    )


def _found(model: Any, **where: str) -> Any:
    row = model.objects.filter(**where).first()
    if row is None:
        raise CommandError(f"There is no {model._meta.model_name} {next(iter(where.values()))}.")
    return row
