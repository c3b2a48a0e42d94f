"""`manage.py orchestrator`: run one orchestrator with the reference client."""

import argparse
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from orchestrators.client import cli


class Command(BaseCommand):
    """Hold a session for one orchestrator until SIGINT or SIGTERM."""

    help = f"Run one orchestrator with the reference client. Its API key is read from {cli.KEY_VARIABLE}."
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Take the options of `python -m orchestrators.client`."""
        url = cli.url_of(settings.HOST, settings.PORT, is_secure=settings.TLS_ENABLED)
        cli.add_arguments(parser, url=url)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run, and exit with the client's code."""
        sys.exit(cli.execute(argparse.Namespace(**options)))
