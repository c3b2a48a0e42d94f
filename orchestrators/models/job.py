"""Jobs: work over many rows that a worker does in pieces; the row holds its progress and nothing else."""

from typing import Final

from django.db import models
from django.db.models import Q

from orgs.models import User

WORDS: Final = {
    "bulk.message": "Send a message", "bulk.independence": "Set independence", "bulk.labels": "Set labels",
    "bulk.configuration": "Change their own configuration", "rollout": "Roll out a configuration",
    "export": "Export metrics",
}  # fmt: skip


class Job(models.Model):
    """One piece of work and how far it got: `queued → running → completed | failed | cancelled`."""

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        COMPLETED = "completed"
        FAILED = "failed"
        CANCELLED = "cancelled"

    job_id = models.CharField(max_length=40, unique=True)
    kind = models.CharField(max_length=50)
    organization_id = models.CharField(max_length=50, blank=True, help_text="Whose rows; empty: of every organization.")
    status = models.CharField(max_length=20, choices=Status, default=Status.QUEUED)
    total = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    errors = models.JSONField(default=list, blank=True, help_text="The first problems, as {orchestrator_id, error}.")
    result = models.JSONField(null=True, blank=True)
    request = models.JSONField(default=dict, help_text="What was asked, as readers may see it.")
    targets = models.JSONField(null=True, help_text="Keys of the rows where they were chosen one by one.")
    created_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    actor = models.CharField(max_length=200)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    # The worker's place in the rows (by key, up to `last`), and its right to go on, which ends unless it is renewed.
    position = models.BigIntegerField(default=0)
    last = models.BigIntegerField(default=0)
    holder = models.CharField(max_length=150, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0, help_text="Attempts since it last got on.")

    class Meta:
        db_table = "jobs"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["lease_until", "id"], name="jobs_open", condition=Q(status__in=["queued", "running"])),
            models.Index(fields=["organization_id", "-id"], name="jobs_by_organization"),
            models.Index(fields=["finished_at"], name="jobs_finished", condition=Q(finished_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.what} {self.job_id}"

    @property
    def what(self) -> str:
        """What its kind does, in words."""
        return WORDS.get(self.kind, self.kind)

    @property
    def is_open(self) -> bool:
        """Whether there is still something to do."""
        return self.status in (self.Status.QUEUED, self.Status.RUNNING)

    @property
    def percent(self) -> int:
        """How much of it is done, 0 to 100."""
        if self.status == self.Status.COMPLETED:
            return 100
        return min(100, 100 * (self.done + self.failed) // self.total) if self.total else 0
