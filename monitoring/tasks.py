"""What the clock asks of monitoring's rooms (Celery tasks; their schedule is CELERY_BEAT_SCHEDULE)."""

import os

from celery import shared_task
from django.utils import timezone

from monitoring.alerts import dispatch, engine, pruning, retention
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


def _holder() -> str:
    return f"{nodes.HOSTNAME}:{os.getpid()}"


@shared_task(name="monitoring.alerts")
def alerts() -> None:
    """Read what happened, judge by the rules, keep the alerts true."""
    engine.run(holder=_holder())


@shared_task(name="monitoring.prune_alerts")
def prune_alerts() -> None:
    """Delete alerts and silences that served their time."""
    pruning.sweep(holder=_holder(), now=timezone.now())


@shared_task(name="monitoring.deliveries")
def deliver() -> None:
    """Send what waits for channels: new deliveries, retries, and those whose worker was killed."""
    dispatch.drain()


@shared_task(name="monitoring.prune_deliveries")
def prune_deliveries() -> None:
    """Delete deliveries that served their time."""
    retention.sweep(holder=_holder(), now=timezone.now())
