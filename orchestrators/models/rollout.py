"""Rollouts: how a version of a configuration reaches a fleet, in stages or at once, and what came of it."""

from datetime import timedelta
from typing import Final

from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import Q

from orchestrators.models.config_version import ConfigVersion
from orchestrators.models.job import Job
from orgs.models import Organization

MAX_GRACE_SECONDS: Final = 60  # clients come back within 30 s (PROTOCOL §1), and then have to apply it


class Rollout(models.Model):
    """The way of `target` to an organization's orchestrators; at most one is active at a time.

    A *staged* one gives `target` to one stage of the fleet after another and releases it at the end. The other kind is
    the watch over a version that was released at once: it has one stage and takes the whole fleet back when it fails.
    """

    class Status(models.TextChoices):
        RUNNING = "running"
        PAUSED = "paused"
        HALTED = "halted"
        COMPLETED = "completed"
        CANCELLED = "cancelled"

    ACTIVE = (Status.RUNNING, Status.PAUSED)

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="rollouts")
    target = models.ForeignKey(ConfigVersion, on_delete=models.CASCADE, related_name="+")
    previous = models.ForeignKey(ConfigVersion, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    is_staged = models.BooleanField("staged", default=False)
    may_roll_back = models.BooleanField(default=True, help_text="Whether its failure takes the fleet back.")
    stages = models.JSONField(default=list, help_text='[{"percent": 10} or {"labels": {"env": "canary"}}, …]')
    stage = models.PositiveSmallIntegerField(default=0, help_text="The running one, counted from 0.")
    status = models.CharField(max_length=10, choices=Status, default=Status.RUNNING)
    max_failed_percent = models.PositiveSmallIntegerField(default=10, validators=[MaxValueValidator(100)])
    max_failed = models.PositiveIntegerField(null=True, blank=True)
    stage_timeout_seconds = models.PositiveIntegerField(default=300)
    soak_seconds = models.PositiveIntegerField(default=0)
    outcome = models.JSONField(default=dict, blank=True, help_text="The counts when it ended.")
    failures = models.JSONField(default=list, blank=True, help_text="[{orchestrator_id, error}] when it ended.")
    reason = models.CharField(max_length=1000, blank=True)
    job = models.OneToOneField(Job, null=True, blank=True, on_delete=models.SET_NULL, related_name="rollout")
    started_by = models.CharField(max_length=200)
    started_at = models.DateTimeField()
    stage_started_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True, blank=True, help_text="When the whole stage had answered.")
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "config_rollouts"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization"], condition=Q(status__in=["running", "paused"]), name="one_active_rollout"
            )
        ]

    def __str__(self) -> str:
        return f"rollout {self.pk} of {self.organization_id}"

    @property
    def is_active(self) -> bool:
        """Whether it can still move."""
        return self.status in self.ACTIVE

    @property
    def version(self) -> int:
        """The version it brings."""
        return self.target.version

    @property
    def previous_version(self) -> int | None:
        """The version it goes back to."""
        return self.previous.version if self.previous else None

    @property
    def stage_timeout(self) -> timedelta:
        """How long a stage waits for those that do not answer."""
        return timedelta(seconds=self.stage_timeout_seconds)

    @property
    def grace(self) -> timedelta:
        """How long those that went away may take to come back, and those that have just connected to answer."""
        return timedelta(seconds=min(MAX_GRACE_SECONDS, self.stage_timeout_seconds))

    @property
    def soak(self) -> timedelta:
        """How long a stage that has answered is watched before the next one."""
        return timedelta(seconds=self.soak_seconds)
