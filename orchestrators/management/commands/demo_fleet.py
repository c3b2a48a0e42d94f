"""`manage.py demo_fleet N`: run N orchestrators in one process, to fill a console or to load a controller."""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from orchestrators.client import cli
from orchestrators.client.fleet import Fleet, Progress

SPARE_FILES = 200


class Command(BaseCommand):
    """Run a fleet of demonstration orchestrators until SIGINT or SIGTERM."""

    help = (
        f"Run N orchestrators in one process. The API key is read from {cli.KEY_VARIABLE}; "
        "without it, one is created for the organization."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("size", type=int, metavar="N", help="how many orchestrators")
        parser.add_argument("--url", default=cli.DEFAULT_URL, help="the controller (default %(default)s)")
        parser.add_argument("--organization", default="org-001", help="organization id (default %(default)s)")
        parser.add_argument("--prefix", default="demo", help="ids are PREFIX-0001, … (default %(default)s)")
        parser.add_argument("--heartbeat-interval", type=cli.seconds, help="instead of what the controller asks for")
        parser.add_argument(
            "--metrics-interval", type=cli.seconds, default=60.0, help="0 for none (default %(default)s)"
        )
        parser.add_argument("--json", action="store_true", dest="as_json", help="print the progress as JSON lines")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the fleet and print the final counts."""
        if not 1 <= options["size"] <= 10_000:
            raise CommandError("N must be between 1 and 10000")
        allow_files(options["size"] + SPARE_FILES)
        logging.getLogger("moolai.client").setLevel(logging.ERROR)
        api_key = os.environ.get(cli.KEY_VARIABLE) or create_key(options["organization"])
        try:
            final = asyncio.run(run(options, api_key))
        except KeyboardInterrupt:
            sys.exit(130)
        self.stdout.write(json.dumps({"final": asdict(final)}) if options["as_json"] else f"\nleft: {final}")


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
    )
    return await fleet.run(stop, as_json=options["as_json"])


def create_key(organization_id: str) -> str:
    """Create an orchestrator key and return its secret; raises CommandError without the organization."""
    from orgs import keys
    from orgs.models import Organization

    organization = Organization.objects.filter(organization_id=organization_id).first()
    if organization is None:
        raise CommandError(f"there is no organization {organization_id}; create it, or set {cli.KEY_VARIABLE}")
    _, secret = keys.create(organization, name="demo-fleet", scopes=["orchestrator"], acting_user=None)
    return str(secret)


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
