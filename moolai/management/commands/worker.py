"""`manage.py worker`: run the tasks that beat and the web processes wake up, in threads of one process.

Celery's own classes are started directly: its command line would import a shell, a prompt and every other
sub-command, and print a banner.
"""

import logging
import os
import sys
import warnings
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

logger = logging.getLogger("moolai.worker")


class Command(BaseCommand):
    """Run a Celery worker until SIGTERM; running tasks are finished first."""

    help = "Runs background tasks (a Celery worker whose pool is threads)."
    requires_system_checks = ("moolai",)  # our own; Django's would import every view

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--concurrency`, by default WORKER_CONCURRENCY or 4."""
        default = int(os.environ.get("WORKER_CONCURRENCY") or 4)
        parser.add_argument("--concurrency", type=int, default=default, help="threads (default %(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Start the worker and leave with its exit status."""
        app = quiet_celery()
        from celery.exceptions import SecurityWarning
        from celery.signals import worker_ready

        from orchestrators.work import running

        warnings.filterwarnings("ignore", category=SecurityWarning)  # about root and pickle; only JSON is accepted
        worker_ready.connect(say_ready)
        worker = app.Worker(
            pool_cls="threads",
            concurrency=options["concurrency"],
            loglevel="WARNING",
            without_gossip=True,
            without_mingle=True,
            quiet=True,
        )
        worker.start()
        running.stop()
        if (gateway := sys.modules.get("llm_gateway.plane.inside")) is not None:  # no call was made without it
            gateway.shut_down()
        sys.exit(worker.exitcode or 0)


def quiet_celery() -> Any:
    """Return the Celery application, told to leave logs and checks to us; worker and beat start with it."""
    os.environ["CELERY_SKIP_CHECKS"] = "true"  # they would import every view: 20 MB that a task never needs
    from celery.signals import setup_logging

    from moolai.celery import app

    setup_logging.connect(keep_logging)
    return app


def keep_logging(**signal: Any) -> None:
    """Leave logging as Django configured it (Celery would set up its own when nobody receives this signal).

    Celery's line per task is only shown at LOG_LEVEL=DEBUG: sweeps run every few seconds.
    """
    if settings.LOG_LEVEL != "DEBUG":
        for name in ("celery", "django_celery_beat"):
            logging.getLogger(name).setLevel(logging.WARNING)
        logging.getLogger("kombu").setLevel(logging.ERROR)


def say_ready(**signal: Any) -> None:
    """Log that tasks are taken from now on; takes a Celery signal's arguments and uses none."""
    logger.info("worker: ready")
