"""`manage.py beat`: wake periodic work up on the schedule kept in the database."""

import logging
import os
import socket
from pathlib import Path
from time import monotonic
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from moolai.management.commands.worker import quiet_celery
from orgs import leases

logger = logging.getLogger("moolai.beat")
ALIVE_FILE = "beat.alive"
ALIVE_EVERY_SECONDS = 5.0


class AliveFile:
    """Touch a file whenever the broker took a task, at most every few seconds; health checks read its age."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._touched_at = float("-inf")

    def touch(self, **signal: Any) -> None:
        """Set the file's modification time to now; takes a Celery signal's arguments and uses none."""
        if monotonic() - self._touched_at >= ALIVE_EVERY_SECONDS:
            self.path.touch(mode=0o600)
            self._touched_at = monotonic()


class AliveRow:
    """Note in the database that beat is alive, at most every few seconds: health checks elsewhere read no files."""

    def __init__(self) -> None:
        self._noted_at = float("-inf")

    def note(self, **signal: Any) -> None:
        """Note it; takes a Celery signal's arguments and uses none. Without a database beat goes on."""
        if monotonic() - self._noted_at < ALIVE_EVERY_SECONDS:
            return
        self._noted_at = monotonic()
        try:
            leases.note(leases.BEAT, holder=f"{socket.gethostname()[:80]}:{os.getpid()}", now=timezone.now())
        except (DatabaseError, InterfaceError) as error:
            logger.warning("beat: could not note that it is alive: %s", error)


class Command(BaseCommand):
    """Run Celery's beat until SIGTERM; it publishes tasks and runs none."""

    help = "Publishes periodic tasks (Celery beat with the schedule in the database)."
    requires_system_checks = ("moolai",)  # our own; Django's would import every view

    def handle(self, *args: Any, **options: Any) -> None:
        """Publish due tasks until the process is told to stop."""
        app = quiet_celery()
        from celery.signals import after_task_publish

        logger.info("beat: starting")
        alive = AliveFile(Path(settings.DATA_DIR) / ALIVE_FILE)
        after_task_publish.connect(alive.touch, weak=False)
        after_task_publish.connect(AliveRow().note, weak=False)
        app.Beat(scheduler=settings.CELERY_BEAT_SCHEDULER, loglevel="WARNING", quiet=True).run()
