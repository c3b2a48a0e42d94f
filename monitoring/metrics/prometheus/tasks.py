"""The task queue of all organizations together, as gauges. Ratios are left to whoever asks: both parts are there."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from prometheus_client.core import Metric

from monitoring.metrics.prometheus.gauges import gauge
from orchestrators.work import figures


def families(*, now: datetime) -> Iterator[Metric]:
    """Yield the queue now, what ended within the last hour, approvals of the last day, and the agents."""
    found = figures.of_all(now=now)
    late = sum(figures.late_by_organization(now=now, missed_within=figures.NOTHING).values())
    yield _by_status("moolai_tasks", "Tasks that are not over, by status.", found.open)
    yield _one("moolai_task_oldest_seconds", "How long the oldest task that may be taken waits.", found.oldest_seconds)
    yield _one("moolai_tasks_late", "Tasks that missed their target and are not over.", late)
    yield _one("moolai_tasks_created_last_hour", "Tasks created within the last hour.", found.created)
    yield _by_status("moolai_tasks_ended_last_hour", "Tasks that ended within the last hour.", found.ended)
    if found.mean_seconds is not None:
        meaning = "How long tasks took that were completed within the last hour."
        yield _one("moolai_task_mean_seconds", meaning, found.mean_seconds)
    yield _by_status("moolai_approvals_decided_last_day", "Approvals decided within the last day.", found.decided)
    yield _one("moolai_agents", "Active agents.", found.agents)
    yield _one("moolai_agents_busy", "Active agents that work on a task.", found.busy_agents)


def _one(name: str, meaning: str, value: float) -> Metric:
    return gauge(name, meaning, [], {(): float(value)})


def _by_status(name: str, meaning: str, values: Mapping[str, int]) -> Metric:
    return gauge(name, meaning, ["status"], {(str(status),): float(number) for status, number in values.items()})
