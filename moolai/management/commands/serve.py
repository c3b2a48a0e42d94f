"""`manage.py serve`: the web process."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from moolai import server


class Command(BaseCommand):
    """Serve HTTP and `/ws` with uvicorn."""

    help = "Serve the console, the API and /ws (uvicorn). SIGTERM tells every orchestrator before it closes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--host", default=settings.HOST, help="address to bind (default: HOST, %(default)s)")
        parser.add_argument("--port", type=int, default=settings.PORT, help="port to bind (default: PORT, %(default)s)")
        parser.add_argument("--fd", type=int, help="serve on an inherited listening socket instead")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until told to stop."""
        server.run(host=options["host"], port=options["port"], fd=options["fd"])
