"""What the clock asks of monitoring's rooms (Celery tasks; their schedule is CELERY_BEAT_SCHEDULE)."""

from celery import shared_task
from django.utils import timezone

from monitoring.alerts import dispatch, engine
from monitoring.metrics import collecting, rollups
from orchestrators import nodes


@shared_task(name="monitoring.collect")
def collect() -> None:
    """Measure this host."""
    collecting.tick(holder=nodes.process(), now=timezone.now())


@shared_task(name="monitoring.rollup")
def rollup() -> None:
    """Compute the hours and days that are due."""
    rollups.run(now=timezone.now())


@shared_task(name="monitoring.alerts")
def alerts() -> None:
    """Read what happened, judge by the rules, keep the alerts true."""
    engine.run(holder=nodes.process())


@shared_task(name="monitoring.deliveries")
def deliver() -> None:
    """Send what waits for channels: new deliveries, retries, and those whose worker was killed."""
    dispatch.drain()
