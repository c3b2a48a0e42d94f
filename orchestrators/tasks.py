"""What the clock asks of the fleet's rooms (Celery tasks; their schedule is CELERY_BEAT_SCHEDULE)."""

import os

from celery import shared_task
from django.utils import timezone

from orchestrators import jobs, nodes, presence, retention
from orchestrators.configuration import rollouts
from orchestrators.messages import outbox


@shared_task(name="orchestrators.sweep")
def sweep() -> None:
    """Declare who went dark, clear killed nodes, expire messages, advance rollouts."""
    presence.sweep(holder=f"{nodes.HOSTNAME}:{os.getpid()}")
    outbox.expire(now=timezone.now())
    rollouts.sweep(now=timezone.now())


@shared_task(name="orchestrators.jobs")
def work() -> None:
    """Do the jobs that nobody holds: new ones, and those whose worker was killed."""
    jobs.drain()


@shared_task(name="orchestrators.prune")
def prune() -> None:
    """Delete what served its time."""
    retention.sweep(holder=f"{nodes.HOSTNAME}:{os.getpid()}", now=timezone.now())
