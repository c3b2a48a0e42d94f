"""`manage.py demo_fleet N`: run N orchestrators in one process, to fill a console or to load a controller."""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from orchestrators.client import cli, rehearsal
from orchestrators.client.fleet import Fleet, Progress

if TYPE_CHECKING:
    from orgs.models import ApiKey

SPARE_FILES = 200
KEY_LIFE = timedelta(hours=24)
ORIGIN = "command demo_fleet"


class Command(BaseCommand):
    """Run a fleet of demonstration orchestrators until SIGINT or SIGTERM."""

    help = (
        f"Run N orchestrators in one process. The API key is read from {cli.KEY_VARIABLE}; "
        "without it, one is created for the organization, for a day at most, and revoked at the end."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        url = cli.url_of(settings.HOST, settings.PORT, is_secure=settings.TLS_ENABLED)
        parser.add_argument("size", type=int, metavar="N", help="how many orchestrators")
        parser.add_argument("--url", default=url, help="the controller (default %(default)s)")
        parser.add_argument("--organization", default="org-001", help="organization id (default %(default)s)")
        parser.add_argument("--prefix", default="demo", help="ids are PREFIX-0001, … (default %(default)s)")
        parser.add_argument("--heartbeat-interval", type=cli.seconds, help="instead of what the controller asks for")
        parser.add_argument(
            "--metrics-interval", type=cli.seconds, default=60.0, help="0 for none (default %(default)s)"
        )
        rehearsal.add_arguments(parser, tasks=rehearsal.TASK_TYPES)
        parser.add_argument("--json", action="store_true", dest="as_json", help="print the progress as JSON lines")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the fleet and print the final counts; exit with 1 when none ever connected."""
        if not 1 <= options["size"] <= 10_000:
            raise CommandError("N must be between 1 and 10000")
        allow_files(options["size"] + SPARE_FILES)
        for handler in logging.getLogger().handlers:
            handler.addFilter(is_worth_a_line)
        header = self.stderr if options["as_json"] else self.stdout
        header.write(f"{options['size']} orchestrators of {options['organization']} connect to {options['url']}")
        header.flush()
        with credential(options["organization"]) as api_key:
            try:
                final = asyncio.run(run(options, api_key))
            except KeyboardInterrupt:
                sys.exit(130)
            cli.ignore_signals()
        self.stdout.write(json.dumps({"final": asdict(final)}) if options["as_json"] else f"\nleft: {final}")
        if not final.ever_connected:
            raise CommandError(f"None connected to {options['url']}: {final.trouble or 'there was no time to'}")


async def run(options: dict[str, Any], api_key: str) -> Progress:
    """Run the fleet until a signal asks to leave; return the counts just before the goodbyes."""
    stop = asyncio.Event()
    cli.on_signals(stop.set)
    fleet = Fleet(
        options["url"],
        options["size"],
        api_key=api_key,
        organization_id=options["organization"],
        prefix=options["prefix"],
        heartbeat_interval=options["heartbeat_interval"] or None,
        metrics_interval=options["metrics_interval"] or None,
        rehearsed=rehearsal.Rehearsal(options["refuse_config"], options["recommend"], options["tasks"]),
    )
    return await fleet.run(stop, as_json=options["as_json"])


def is_worth_a_line(record: logging.LogRecord) -> bool:
    """Whether a log line is shown: of the clients, which are many, only errors; the progress tells the rest."""
    return record.name != "moolai.client" or record.levelno >= logging.ERROR


@contextlib.contextmanager
def credential(organization_id: str) -> Iterator[str]:
    """Yield the key of the environment, else one made for the block: it is revoked after it, and expires anyway."""
    if given := os.environ.get(cli.KEY_VARIABLE):
        yield given
        return
    from orgs import audit, keys

    row, secret = create_key(organization_id)
    try:
        yield secret
    finally:
        with audit.origin(ORIGIN):
            keys.revoke(row, acting_user=None)


def create_key(organization_id: str) -> tuple["ApiKey", str]:
    """Create an orchestrator key; return its row and its secret; raises CommandError without the organization."""
    from orgs import audit, keys
    from orgs.models import Organization

    organization = Organization.objects.filter(organization_id=organization_id).first()
    if organization is None:
        raise CommandError(f"there is no organization {organization_id}; create it, or set {cli.KEY_VARIABLE}")
    ends = timezone.now() + KEY_LIFE
    with audit.origin(ORIGIN):
        return keys.create(organization, name="demo-fleet", scopes=["orchestrator"], acting_user=None, expires_at=ends)


def allow_files(count: int) -> None:
    """Raise the limit of open files to `count`, as far as the system allows."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
