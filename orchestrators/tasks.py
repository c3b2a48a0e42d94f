"""What the clock asks of the fleet's rooms (Celery tasks; their schedule is CELERY_BEAT_SCHEDULE)."""

from collections.abc import Callable
from typing import Any

from celery import shared_task
from django.utils import timezone

from orchestrators import jobs, nodes, presence, retention
from orchestrators.configuration import rollouts
from orchestrators.messages import outbox
from orchestrators.work import running, sweeping


@shared_task(name="orchestrators.sweep")
def sweep() -> None:
    """Declare who went dark, clear killed nodes, and move what waits; no fault stops the other parts."""
    parts: list[Callable[[], Any]] = [
        lambda: presence.sweep(holder=nodes.process()),
        lambda: outbox.expire(now=timezone.now()),
        lambda: rollouts.sweep(now=timezone.now()),
        lambda: sweeping.sweep(now=timezone.now()),
    ]
    errors: list[Exception] = []
    for part in parts:
        try:
            part()
        except Exception as error:  # told below, with the others
            errors.append(error)
    if errors:
        raise ExceptionGroup(f"{len(errors)} part{'s' * (len(errors) > 1)} of the sweep failed", errors)


@shared_task(name="orchestrators.jobs")
def work() -> None:
    """Do the jobs that nobody holds: new ones, and those whose worker was killed."""
    jobs.drain()


@shared_task(name="orchestrators.work")
def do_tasks() -> None:
    """Do the tasks that workers can do, in threads of their own: what the clock asks for must not wait behind them."""
    running.start()


@shared_task(name="orchestrators.prune")
def prune() -> None:
    """Delete what served its time."""
    retention.sweep(holder=nodes.process(), now=timezone.now())
