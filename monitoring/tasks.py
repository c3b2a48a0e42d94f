"""What the clock asks of monitoring's rooms (Celery tasks; their schedule is CELERY_BEAT_SCHEDULE)."""

import os

from celery import shared_task
from django.utils import timezone

from monitoring.metrics import collecting, rollups
from orchestrators import nodes


@shared_task(name="monitoring.collect")
def collect() -> None:
    """Measure this host."""
    collecting.tick(holder=f"{nodes.HOSTNAME}:{os.getpid()}", now=timezone.now())


@shared_task(name="monitoring.rollup")
def rollup() -> None:
    """Compute the hours and days that are due."""
    rollups.run(now=timezone.now())
