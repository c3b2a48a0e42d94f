"""Tasks: the one queue of work for orchestrators, workers and agents outside. The row is the queue."""

from datetime import datetime
from typing import Final

from django.db import models
from django.db.models import Q

from orgs.models import Organization

GIVEN: Final = {"P0": 10, "P1": 8, "P2": 5, "P3": 2, "critical": 10, "high": 8, "normal": 5, "low": 2}
"""Words a priority may be given in, and the number each stands for (API §6)."""
LEVELS: Final = {"P0": (10, 10), "P1": (8, 9), "P2": (5, 7), "P3": (1, 4)}
"""Levels, and the lowest and highest number of each: a plain 9 is of the level P1, though it was not given as P1."""
WAITING_WORDS: Final = ("P0", "P1", "critical")


class Task(models.Model):
    """A piece of work: `pending_approval → assigned → in_progress → completed | failed | dead`, or cancelled.

    Who holds it does so under the number of a lease: what comes under an older number is refused.
    """

    class Status(models.TextChoices):
        PENDING_APPROVAL = "pending_approval"
        ASSIGNED = "assigned"
        IN_PROGRESS = "in_progress"
        COMPLETED = "completed"
        FAILED = "failed"
        CANCELLED = "cancelled"
        DEAD = "dead"

    task_id = models.CharField(max_length=40, unique=True)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="tasks")
    task_type = models.CharField(max_length=100)
    payload = models.JSONField(default=dict, blank=True)
    priority = models.PositiveSmallIntegerField(help_text="1 to 10; 10 is taken first.")
    given_priority = models.CharField(max_length=10, blank=True, help_text="The word it was given in, such as P1.")
    status = models.CharField(max_length=20, choices=Status, default=Status.ASSIGNED)
    assigned_agent = models.CharField(max_length=50, blank=True, help_text="The agent_id of an agent.")
    source = models.CharField(max_length=100, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    sla_target = models.DateTimeField(null=True, blank=True, help_text="When it is to be over.")
    sla_missed_at = models.DateTimeField(null=True, blank=True)
    timeout_seconds = models.PositiveIntegerField(null=True, blank=True, help_text="Of one attempt.")
    progress = models.PositiveSmallIntegerField(default=0, help_text="0 to 100.")
    result = models.JSONField(null=True, blank=True)
    error = models.CharField(max_length=1000, blank=True)

    attempts = models.PositiveSmallIntegerField(default=0)
    run_after = models.DateTimeField(help_text="It is not taken before: the pause after a failed attempt.")
    lease = models.PositiveIntegerField(default=0, help_text="Grows each time it is taken; fences older holders.")
    lease_until = models.DateTimeField(null=True, blank=True)
    holder = models.CharField(max_length=150, blank=True)
    orchestrator_id = models.CharField(max_length=50, blank=True, help_text="Which one took it last.")
    deadline_at = models.DateTimeField(null=True, blank=True, help_text="When the running attempt has taken too long.")

    created_by = models.CharField(max_length=200)
    creator = models.CharField(max_length=100, blank=True, help_text="The caller's id, which may be no approver.")
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "tasks"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["-priority", "id"], name="tasks_to_take", condition=Q(status="assigned")),
            models.Index(
                fields=["organization", "-priority", "id"], name="tasks_to_take_own", condition=Q(status="assigned")
            ),
            models.Index(
                fields=["organization", "task_type", "-priority", "id"],
                name="tasks_in_lines",
                condition=Q(status="assigned"),
            ),
            models.Index(
                fields=["organization"],
                name="tasks_of_workers",
                condition=Q(status="in_progress", lease_until__isnull=False, orchestrator_id=""),
            ),
            models.Index(fields=["lease_until"], name="tasks_held", condition=Q(status="in_progress")),
            models.Index(
                fields=["deadline_at"],
                name="tasks_timed",
                condition=Q(status="in_progress", deadline_at__isnull=False),
            ),
            models.Index(
                fields=["sla_target"],
                name="tasks_promised",
                condition=Q(completed_at__isnull=True, sla_target__isnull=False, sla_missed_at__isnull=True),
            ),
            models.Index(fields=["sla_missed_at"], name="tasks_late", condition=Q(sla_missed_at__isnull=False)),
            models.Index(fields=["organization", "-id"], name="tasks_by_organization"),
            models.Index(fields=["created_at"], name="tasks_made"),
            models.Index(fields=["status"], name="tasks_open", condition=Q(completed_at__isnull=True)),
            models.Index(fields=["completed_at"], name="tasks_over", condition=Q(completed_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.task_type} {self.task_id}"

    @property
    def is_over(self) -> bool:
        """Whether it does not change any more."""
        return self.status not in (self.Status.PENDING_APPROVAL, self.Status.ASSIGNED, self.Status.IN_PROGRESS)

    @property
    def level(self) -> str:
        """Its priority as P0 to P3, by its number."""
        return next((word for word, (lowest, _) in LEVELS.items() if self.priority >= lowest), "P3")

    @property
    def approval_id(self) -> str | None:
        """The approval it needed, None where it needed none."""
        approval = getattr(self, "approval", None)
        return approval.approval_id if approval else None


class TaskStep(models.Model):
    """A line of a task's timeline: what happened to it, when, and by whom."""

    class Kind(models.TextChoices):
        CREATED = "created"
        APPROVAL_REQUESTED = "approval_requested"
        APPROVED = "approved"
        REJECTED = "rejected"
        EXPIRED = "expired"
        ESCALATED = "escalated"
        TAKEN = "taken"
        GIVEN_BACK = "given_back"
        ATTEMPT_FAILED = "attempt_failed"
        COMPLETED = "completed"
        FAILED = "failed"
        CANCELLED = "cancelled"
        DEAD = "dead"
        SLA_MISSED = "sla_missed"
        EVENT = "event"

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="steps")
    kind = models.CharField(max_length=20, choices=Kind)
    actor = models.CharField(max_length=200)
    note = models.CharField(max_length=1000, blank=True)
    at = models.DateTimeField()

    class Meta:
        db_table = "task_steps"
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.task_id} {self.kind}"


class Approval(models.Model):
    """What a person is to decide before a task may run: `pending → approved | rejected | expired | withdrawn`."""

    class Status(models.TextChoices):
        PENDING = "pending"
        APPROVED = "approved"
        REJECTED = "rejected"
        EXPIRED = "expired"
        WITHDRAWN = "withdrawn"

    approval_id = models.CharField(max_length=40, unique=True)
    task = models.OneToOneField(Task, on_delete=models.CASCADE, related_name="approval")
    status = models.CharField(max_length=20, choices=Status, default=Status.PENDING)
    reason = models.CharField(max_length=500, help_text="Why the task waits.")
    decision_reason = models.CharField(max_length=500, blank=True)
    decided_by = models.CharField(max_length=200, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    escalated_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "approvals"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["expires_at"], name="approvals_open", condition=Q(status="pending")),
            models.Index(fields=["-decided_at"], name="approvals_decided", condition=Q(decided_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.approval_id} {self.status}"

    def is_overdue(self, *, now: datetime) -> bool:
        """Whether its time is over, and nobody decided; the sweep will say so."""
        return self.status == self.Status.PENDING and self.expires_at is not None and self.expires_at <= now

    @property
    def priority(self) -> str:
        """Its task's, as P0 to P3."""
        return self.task.level
