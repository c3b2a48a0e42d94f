"""`manage.py rollout start|list|show|pause|resume|cancel`."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from moolai.errors import AppError
from orchestrators.configuration import progress, rollouts, stages
from orchestrators.management.commands.config import document_in, organization_of
from orchestrators.models import Rollout
from orgs import audit
from orgs.management import refusals

BAR = 30
WATCH_SECONDS = 0.5
STEERING = {"pause": rollouts.pause, "resume": rollouts.resume, "cancel": rollouts.cancel}


class Command(BaseCommand):
    """Bring a configuration to a fleet in stages, and watch it."""

    help = "Bring a configuration to an organization's orchestrators in stages; watch, pause, resume, cancel that."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the actions."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        start = actions.add_parser("start", help="begin a rollout", description="Begin a rollout of a JSON file.")
        start.add_argument("organization", help="organization id")
        start.add_argument("file", help="a JSON file, - for standard input")
        start.add_argument(
            "--label", action="append", default=[], metavar="NAME=VALUE", help="a first stage; repeat it"
        )
        start.add_argument("--percent", default="10,50", help="further stages; 100 follows (default %(default)s)")
        start.add_argument("--comment", default="", help="why, for the history")
        start.add_argument("--max-failed-percent", type=int, default=10, help="halt above it (default %(default)s)")
        start.add_argument("--max-failed", type=int, help="halt above this number, too")
        start.add_argument("--stage-timeout", type=int, default=300, help="seconds a stage waits (default %(default)s)")
        start.add_argument("--soak", type=int, default=0, help="seconds a stage is watched (default %(default)s)")
        start.add_argument("--watch", action="store_true", help="follow it to its end")
        listing = actions.add_parser("list", help="list rollouts", description="List rollouts, newest first.")
        listing.add_argument("organization", help="organization id")
        listing.add_argument("--limit", type=int, default=20, help="how many (default %(default)s)")
        show = actions.add_parser("show", help="show a rollout", description="Show a rollout and its progress.")
        show.add_argument("id", type=int)
        show.add_argument("--watch", action="store_true", help="follow it to its end; 1 is the exit code when it fails")
        for name in STEERING:
            steering = actions.add_parser(name, help=f"{name} a rollout", description=f"{name.capitalize()} a rollout.")
            steering.add_argument("id", type=int)
            steering.add_argument("--reason", default="", help="why, for the audit trail")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, or say why not."""
        try:
            with audit.origin("command rollout"):
                self._do(options)
        except AppError as problem:
            raise CommandError(refusals.sentence(problem)) from None

    def _do(self, options: dict[str, Any]) -> None:
        match options["action"]:
            case "start":
                row = self._start(options)
                self._show(row, is_watching=options["watch"])
            case "list":
                organization = organization_of(options["organization"])
                for row in organization.rollouts.select_related("target", "previous")[: options["limit"]]:
                    self.stdout.write(line(row))
            case "show":
                self._show(rollout_of(options["id"]), is_watching=options["watch"])
            case name:
                row = STEERING[name](rollout_of(options["id"]), acting_user=None, reason=options["reason"])
                self.stdout.write(line(row))

    def _start(self, options: dict[str, Any]) -> Rollout:
        wanted: list[stages.Stage] = [{"labels": labels(options["label"])}] if options["label"] else []
        return rollouts.start(
            organization_of(options["organization"]),
            document_in(options["file"]),
            wanted=wanted + percentages(options["percent"]),
            acting_user=None,
            comment=options["comment"],
            max_failed_percent=options["max_failed_percent"],
            max_failed=options["max_failed"],
            stage_timeout_seconds=options["stage_timeout"],
            soak_seconds=options["soak"],
        )

    def _show(self, row: Rollout, *, is_watching: bool) -> None:
        is_live = is_watching and self.stdout.isatty()
        last = ""
        while is_watching and row.is_active:
            text = line(row)
            if text != last:
                self.stdout.write(f"\r\x1b[K{text}" if is_live else text, ending="" if is_live else "\n")
                self.stdout.flush()
            last = text
            time.sleep(WATCH_SECONDS)
            row = rollout_of(row.pk)
        self.stdout.write(f"\r\x1b[K{line(row)}" if is_live else line(row))
        for failure in progress.failures(row):
            self.stdout.write(f"  {failure['orchestrator_id']}: {failure['error'] or 'failed'}")
        if is_watching and row.status != Rollout.Status.COMPLETED:
            raise CommandError(f"The rollout is {row.status}: {row.reason}")


def rollout_of(pk: int) -> Rollout:
    """Return a rollout; raises CommandError."""
    row = Rollout.objects.select_related("target", "previous").filter(pk=pk).first()
    if row is None:
        raise CommandError(f"There is no rollout {pk}; manage.py rollout list ORGANIZATION names them.")
    return row


def line(row: Rollout) -> str:
    """Return a rollout on one line, with a bar of those that have it."""
    counts = progress.of(row)
    done = counts.applied + counts.sent
    filled = BAR * done // counts.members if counts.members else BAR
    bar = "█" * filled + "·" * (BAR - filled)
    stage = f"stage {row.stage + 1}/{len(row.stages)} ({stages.text(row.stages[row.stage])})"
    numbers = {"failed": counts.failed, "waiting": counts.waiting, "lost": counts.lost, "offline": counts.offline}
    rest = "".join(f", {number} {name}" for name, number in numbers.items() if number)
    tail = f"  {row.reason}" if row.reason else ""
    return f"rollout {row.pk} v{row.version} {row.status:<9} {stage} [{bar}] {done}/{counts.members}{rest}{tail}"


def labels(texts: list[str]) -> dict[str, str]:
    """Return `name=value` texts as an object; raises CommandError."""
    pairs = [text.partition("=") for text in texts]
    if not all(name and mark and value for name, mark, value in pairs):
        raise CommandError("Write labels as NAME=VALUE.")
    return {name: value for name, _, value in pairs}


def percentages(text: str) -> list[stages.Stage]:
    """Return `10,50` as stages; raises CommandError."""
    try:
        return [{"percent": float(part)} for part in text.split(",") if part.strip()]
    except ValueError:
        raise CommandError("Write percentages as 10,50.") from None
