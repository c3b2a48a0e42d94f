"""`manage.py fleet_status`: the fleet as a table."""

import json
import time
from argparse import ArgumentParser
from datetime import datetime
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet
from django.utils import timezone

from orchestrators import labels, selection
from orchestrators.models import Instance
from orchestrators.protocol import iso
from orgs.models import Organization

BADGES: Final = {
    "active": ("●", "green", "Active"),
    "independent": ("◆", "blue", "Independent"),
    "inactive": ("○", "white", "Inactive"),
    "degraded": ("✖", "red", "Error (degraded)"),
    "error": ("✖", "red", "Error"),
}
HEADINGS: Final = ("ORCHESTRATOR", "ORGANIZATION", "STATUS", "CONNECTED", "LAST SEEN", "VERSION", "CONFIG", "LABELS")
COLORS: Final = {"green": "32", "blue": "34", "white": "37", "red": "31"}


class Command(BaseCommand):
    """Show the fleet."""

    help = "Show every orchestrator: status, connection, last seen, version and configuration."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--organization", default="", help="only this organization's")
        parser.add_argument("--labels", default="", help="only those with these labels: env=prod,region=eu")
        parser.add_argument("--watch", action="store_true", help="refresh every second until Ctrl-C")
        parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print once, or again and again."""
        if options["organization"] and not Organization.objects.filter(pk=options["organization"]).exists():
            raise CommandError(f"There is no organization {options['organization']}.")
        try:
            options["labels"] = labels.parse(options["labels"])
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        try:
            while True:
                text = self._render(options)
                self.stdout.write(f"\x1b[H\x1b[2J{text}" if options["watch"] and self.stdout.isatty() else text)
                if not options["watch"]:
                    return
                time.sleep(1)
        except KeyboardInterrupt:
            return

    def _render(self, options: dict[str, Any]) -> str:
        rows: QuerySet[Instance] = Instance.objects.present().slim().with_organization_version()
        rows = rows.order_by("organization_id", "orchestrator_id")
        if options["organization"]:
            rows = rows.filter(organization_id=options["organization"])
        rows = selection.by_labels(rows, options["labels"])
        now = timezone.now()
        if options["json"]:
            return json.dumps({"orchestrators": [document(row) for row in rows]}, indent=2)
        lines = [cells(row, now=now) for row in rows]
        if not lines and options["labels"]:
            return "No orchestrator carries these labels."
        if not lines:
            return "No orchestrator yet. Make a key with manage.py create_api_key and start manage.py orchestrator."
        return self._table(lines, connected=sum(row.is_connected for row in rows))

    def _table(self, lines: list[tuple[str, ...]], *, connected: int) -> str:
        widths = [max(len(line[column]) for line in [HEADINGS, *lines]) for column in range(len(HEADINGS))]
        text = ["  ".join(word.ljust(width) for word, width in zip(HEADINGS, widths, strict=True)).rstrip()]
        for line in lines:
            row = "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()
            text.append(self._colored(row, line[2]))
        return "\n".join([*text, f"{len(lines)} orchestrators, {connected} connected"])

    def _colored(self, row: str, badge: str) -> str:
        color = next((name for mark, name, word in BADGES.values() if badge == f"{mark} {word}"), "white")
        is_plain = self.style.SUCCESS("x") == "x"
        return row if is_plain else row.replace(badge, f"\x1b[{COLORS[color]}m{badge}\x1b[0m", 1)


def cells(row: Any, *, now: datetime) -> tuple[str, ...]:
    """Return the table's cells for one instance `with_organization_version`."""
    mark, _, word = BADGES[row.status]
    version = row.organization_version
    return (
        row.orchestrator_id,
        row.organization_id,
        f"{mark} {word}",
        "yes" if row.is_connected else "no",
        ago(row.seen_ago_seconds(now=now)),
        row.version or "–",
        f"{f'version {version}' if version else 'none published,'} {row.config_status}",
        labels.text(row.labels) or "–",
    )


def ago(seconds: float | None) -> str:
    """Return how long ago something was, in words: "2 seconds ago", "never"."""
    if seconds is None:
        return "never"
    for size, word in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {word}{'' if count == 1 else 's'} ago"
    count = max(0, int(seconds))
    return f"{count} second{'' if count == 1 else 's'} ago"


def document(row: Any) -> dict[str, Any]:
    """Return one instance `with_organization_version` as the JSON output shows it."""
    return {
        "orchestrator_id": row.orchestrator_id,
        "organization_id": row.organization_id,
        "status": row.status,
        "is_connected": row.is_connected,
        "is_independent": row.is_effectively_independent,
        "independence_source": row.independence_source,
        "last_seen": iso(row.last_seen) if row.last_seen else None,
        "node": row.node,
        "version": row.version,
        "organization_version": row.organization_version,
        "config_version": row.config_version,
        "config_status": row.config_status,
        "labels": row.labels,
    }
