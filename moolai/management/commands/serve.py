"""`manage.py serve`: the web process."""

import logging
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connections

from moolai import bootstrap, server
from orchestrators.registry_file import InvalidFile

logger = logging.getLogger("moolai.serve")


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
        self._seed()
        server.run(host=options["host"], port=options["port"], fd=options["fd"])

    def _seed(self) -> None:
        """Make what CONTROLLER_CONFIG_FILE names; a database that is not there yet delays no start."""
        try:
            for line in bootstrap.seed_registry():
                logger.info("CONTROLLER_CONFIG_FILE: %s", line)
        except InvalidFile as problem:
            raise CommandError(f"{settings.CONTROLLER_CONFIG_FILE} does not fit the registry:\n{problem}") from None
        except DatabaseError as error:
            reason = str(error).strip().split("\n")[0]
            logger.warning("CONTROLLER_CONFIG_FILE waits for the next start, the database does not answer: %s", reason)
        finally:
            connections.close_all()
