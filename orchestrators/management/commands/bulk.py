"""`manage.py bulk message|independence|labels|configuration …`."""

import json
import shutil
from argparse import ArgumentParser
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from moolai.errors import AppError
from orchestrators import bulk, labels
from orchestrators.jobs import running
from orchestrators.management.commands.config import document_in
from orchestrators.models import Instance, Job
from orgs import audit
from orgs.management import refusals
from orgs.models import Organization

OPTIONS: Final = (
    ("selector.orchestrator_ids", "--id"),
    ("selector.organization_id", "--organization"),
    ("selector.", "--"),
    ("parameters.message_type", "message_type"),
    ("parameters.message_content", "content"),
    ("parameters.expires_in", "--expires-in"),
    ("parameters.patch", "the patch"),
    ("parameters.", "--"),
)


class Command(BaseCommand):
    """Do something to many orchestrators."""

    help = (
        "Send many orchestrators a message, or set their independence, labels or configuration; show how it goes. "
        "The exit code is 1 when it failed for any of them."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the actions and the options that choose."""
        chooser = ArgumentParser(add_help=False)
        chooser.add_argument("--labels", default="", help="those with these labels: env=prod,region=eu")
        chooser.add_argument("--status", choices=Instance.Status.values, help="those in this state")
        chooser.add_argument("--organization", default="", help="those of this organization")
        chooser.add_argument("--search", default="", help="those whose id or name holds this")
        chooser.add_argument("--id", action="append", default=[], dest="ids", help="this one; may be repeated")
        chooser.add_argument("--all", action="store_true", help="every one, where nothing else is named")
        actions = parser.add_subparsers(dest="action", required=True)
        message = actions.add_parser("message", parents=[chooser], help="queue a message")
        message.add_argument("message_type")
        message.add_argument("content", nargs="?", default="{}", help="JSON")
        message.add_argument("--expires-in", type=float, help="seconds until it is given up")
        flag = actions.add_parser("independence", parents=[chooser], help="set the own flag")
        flag.add_argument("state", choices=["on", "off"])
        flag.add_argument("--reason", default="", help="for the audit trail")
        label = actions.add_parser("labels", parents=[chooser], help="set and remove labels")
        label.add_argument("--set", default="", dest="wanted", help="env=prod,region=eu")
        label.add_argument("--remove", default="", help="names, with commas between them")
        own = actions.add_parser("configuration", parents=[chooser], help="change what they have of their own")
        own.add_argument("patch", nargs="?", help="a JSON merge patch of features, session, privacy_mode, …")
        own.add_argument("--file", help="a file with the patch, - for standard input")
        own.add_argument("--clear", action="store_true", help="take everything of their own away")
        own.add_argument("--comment", default="", help="why, for the history")

    def handle(self, *args: Any, **options: Any) -> None:
        """Post the job and do it here; a worker takes over when this command is killed."""
        scope = options["organization"]
        if scope and not Organization.objects.filter(pk=scope).exists():
            raise CommandError(f"There is no organization {scope}.")
        try:
            selector, parameters = _selector(options), _parameters(options)
            _require(options["action"], selector, parameters)
            with audit.origin("command bulk"):
                job = bulk.start(
                    options["action"],
                    selector=selector,
                    parameters=parameters,
                    acting_user=None,
                    organization_id=scope,
                )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        except AppError as problem:
            raise CommandError(_spoken(refusals.sentence(problem))) from None
        claimed = running.claim(job.job_id)
        self._finish(running.run(claimed, on_piece=self._show) if claimed else job)

    def _show(self, job: Job) -> None:
        """Draw the bar again, on a terminal only."""
        if self.stdout.isatty():
            width = max(10, min(50, shutil.get_terminal_size().columns - 30))
            full = width * job.percent // 100
            bar = "█" * full + "░" * (width - full)
            self.stdout.write(f"\r{bar} {job.percent:3d} % {job.done + job.failed}/{job.total}", ending="")
            self.stdout.flush()

    def _finish(self, job: Job) -> None:
        ending = "\n" if self.stdout.isatty() else ""
        self.stdout.write(f"{ending}{job.job_id} {job.status}: {job.done} done, {job.failed} failed of {job.total}")
        for problem in job.errors:
            self.stderr.write(f"{problem.get('orchestrator_id') or '–'}: {problem['error']}")
        if job.status in (Job.Status.FAILED, Job.Status.CANCELLED):
            raise CommandError(f"The job is {job.status}.")
        if job.is_open:
            self.stdout.write("A worker goes on with it; see the console's Jobs page.")
        if job.failed:
            raise CommandError(f"It failed for {job.failed} of {job.total}.")


def _require(action: str, selector: dict[str, Any], parameters: dict[str, Any]) -> None:
    """Refuse what names nothing, in the words of this command line."""
    found = [] if selector else ["Name some: --labels, --status, --organization, --search or --id, or --all."]
    if action == "labels" and not parameters["set"] and not parameters["remove"]:
        found.append("Give --set, or --remove.")
    if found:
        raise CommandError("\n".join(found))


def _spoken(sentence: str) -> str:
    """Return a refusal with the options' names in the place of the body's."""
    for name, option in OPTIONS:
        sentence = sentence.replace(name, option)
    return sentence


def _selector(options: dict[str, Any]) -> dict[str, Any]:
    found = {
        "labels": labels.parse(options["labels"]),
        "status": options["status"],
        "organization_id": options["organization"],
        "search": options["search"],
        "orchestrator_ids": options["ids"],
        "all": options["all"],
    }
    return {name: value for name, value in found.items() if value}


def _parameters(options: dict[str, Any]) -> dict[str, Any]:
    match options["action"]:
        case "message":
            content = _json(options["content"], "content")
            expiry = {"expires_in": options["expires_in"]} if options["expires_in"] is not None else {}
            return {"message_type": options["message_type"], "message_content": content, **expiry}
        case "independence":
            return {"is_independent": options["state"] == "on", "reason": options["reason"]}
        case "configuration":
            return _override(options) | {"comment": options["comment"]}
    removed = [name.strip() for name in options["remove"].split(",") if name.strip()]
    return {"set": labels.parse(options["wanted"]), "remove": removed}


def _override(options: dict[str, Any]) -> dict[str, Any]:
    given = [options["clear"], options["patch"] is not None, options["file"] is not None]
    if given.count(True) != 1:
        raise CommandError("Give a patch, or --file, or --clear.")
    if options["clear"]:
        return {"clear": True}
    return {"patch": document_in(options["file"]) if options["file"] else _json(options["patch"], "the patch")}


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise CommandError(f"{what} is not JSON: {error}") from None
