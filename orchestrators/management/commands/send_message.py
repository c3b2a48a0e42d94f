"""`manage.py send_message`."""

import json
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from moolai.errors import AppError, NotFound
from orchestrators import messages
from orchestrators.models import Message
from orgs import audit
from orgs.management import refusals


class Command(BaseCommand):
    """Queue a message to an orchestrator."""

    help = "Queue a message to an orchestrator; with --wait, follow it until it is delivered or failed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("orchestrator_id")
        parser.add_argument("message_type", help="any type that is not the protocol's own, for example restart")
        parser.add_argument("content", nargs="?", default="{}", help="JSON, for example '{\"grace_seconds\": 5}'")
        parser.add_argument("--expires-in", type=float, help="seconds until it is given up")
        parser.add_argument(
            "--wait",
            type=float,
            default=0,
            metavar="SECONDS",
            help="wait for the acknowledgement; 2 is the exit code without one",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Queue it and say what became of it."""
        try:
            content = json.loads(options["content"])
        except ValueError as error:
            raise CommandError(f"content is not JSON: {error}") from None
        try:
            with audit.origin("command send_message"):
                message = messages.queue(
                    options["orchestrator_id"],
                    message_type=options["message_type"],
                    content=content,
                    acting_user=None,
                    expires_in_seconds=options["expires_in"],
                )
        except NotFound:
            raise CommandError(f"There is no orchestrator {options['orchestrator_id']}.") from None
        except AppError as problem:
            raise CommandError(refusals.sentence(problem)) from None
        self._follow(message, seconds=options["wait"])

    def _follow(self, message: Message, *, seconds: float) -> None:
        final = {Message.Status.DELIVERED, Message.Status.FAILED, Message.Status.EXPIRED}
        until = time.monotonic() + seconds
        while time.monotonic() < until and message.status not in final:
            time.sleep(0.1)
            message.refresh_from_db()
        tail = f": {message.error}" if message.error else ""
        self.stdout.write(f"{message.message_id} {message.status} (attempts {message.attempts}){tail}")
        if message.result is not None:
            self.stdout.write(json.dumps(message.result))
        if message.status in (Message.Status.FAILED, Message.Status.EXPIRED):
            raise CommandError("The message was not delivered.")
        if seconds > 0 and message.status not in final:
            raise CommandError(f"not delivered within {seconds:g} s; it stays queued", returncode=2)
