"""The task queue, of all organizations together; its numbers are no published columns and go into `custom`."""

from django.utils import timezone

from monitoring.metrics.collectors.base import Collector, Values, register
from orchestrators.work import figures


@register
class Queue(Collector):
    """Depth and age now; how much came, how much of it ended well and how fast, within the last hour."""

    columns = (
        "tasks_pending", "tasks_processing", "task_oldest_seconds", "tasks_created_per_hour",
        "task_completion_percent", "task_mean_seconds", "approval_percent", "agent_utilization_percent",
    )  # fmt: skip

    def read(self) -> Values:
        """Ask the database; null where nothing ended, was decided, or there is no agent."""
        found = figures.of_all(now=timezone.now())
        return {
            "tasks_pending": found.pending,
            "tasks_processing": found.processing,
            "task_oldest_seconds": found.oldest_seconds,
            "tasks_created_per_hour": found.created,
            "task_completion_percent": found.completion_percent,
            "task_mean_seconds": found.mean_seconds,
            "approval_percent": found.approval_percent,
            "agent_utilization_percent": found.utilization_percent,
        }
