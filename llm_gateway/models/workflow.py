"""Workflows: runs, their steps and calls in numbers, and apart from them what they were given and came to, sealed."""

from django.db import models
from django.db.models import Q

from orchestrators.models import Task
from orgs.models import Organization
from orgs.models.organization import validate_identifier
from orgs.sealed import SealedDocument


class WorkflowTemplate(models.Model):
    """A type of workflow that an organization made: a list of steps, as JSON."""

    template_id = models.CharField(max_length=40, unique=True, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="workflow_templates")
    name = models.CharField(
        max_length=50, validators=[validate_identifier], help_text="What `workflow_type` calls it by."
    )
    description = models.CharField(max_length=500, blank=True)
    steps = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "workflow_templates"
        ordering = ["organization", "name"]
        constraints = [models.UniqueConstraint(fields=["organization", "name"], name="one_template_of_a_name")]

    def __str__(self) -> str:
        return self.name


class WorkflowRun(models.Model):
    """A run, in numbers: `queued → running → completed | partial | failed | cancelled`. No column holds its content."""

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        COMPLETED = "completed"
        PARTIAL = "partial", "completed in part"
        FAILED = "failed"
        CANCELLED = "cancelled"

    workflow_id = models.CharField(max_length=100)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="workflow_runs")
    workflow_type = models.CharField(max_length=50)
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    priority = models.PositiveSmallIntegerField()
    plan = models.JSONField(default=list, help_text="The steps as they were when the run was made.")
    expected_outputs = models.JSONField(default=list, blank=True)
    batch_id = models.CharField(max_length=40, blank=True)
    user_id = models.CharField(max_length=200, blank=True, help_text="Whom the caller named.")
    content_hash = models.CharField(max_length=64, blank=True, help_text='Keyed; "" where nothing may stay.')
    is_private = models.BooleanField(default=False)
    is_cached = models.BooleanField(default=False)
    is_delivered = models.BooleanField(default=False, help_text="The result of a private run was read.")
    progress = models.PositiveSmallIntegerField(default=0)
    error = models.CharField(max_length=300, blank=True)
    task = models.OneToOneField(Task, null=True, on_delete=models.SET_NULL, related_name="workflow_run")
    orchestrator_id = models.CharField(max_length=50, blank=True)
    creator = models.CharField(max_length=100, help_text="The caller's id: whose limits hold, and whose budget.")
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "workflow_runs"
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["organization", "workflow_id"], name="one_run_of_an_id")]
        indexes = [
            models.Index(fields=["organization", "-id"], name="workflow_runs_by_organization"),
            models.Index(fields=["workflow_id"], name="workflow_runs_by_name"),
            models.Index(fields=["created_at"], name="workflow_runs_by_time"),
            models.Index(fields=["batch_id"], name="workflow_runs_by_batch", condition=~Q(batch_id="")),
            models.Index(
                fields=["organization", "content_hash", "-completed_at"],
                name="workflow_runs_by_content",
                condition=Q(status="completed") & ~Q(content_hash=""),
            ),
            models.Index(fields=["completed_at"], name="workflow_runs_over", condition=Q(completed_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return self.workflow_id

    @property
    def is_over(self) -> bool:
        """Whether it does not change any more."""
        return self.status not in (self.Status.QUEUED, self.Status.RUNNING)


class WorkflowStep(models.Model):
    """A step of a run: how far it is, and what went wrong, in words without content."""

    class Status(models.TextChoices):
        PENDING = "pending"
        RUNNING = "running"
        COMPLETED = "completed"
        FAILED = "failed"
        SKIPPED = "skipped"
        CANCELLED = "cancelled"

    run = models.ForeignKey(WorkflowRun, on_delete=models.CASCADE, related_name="steps")
    number = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=50)
    kind = models.CharField(max_length=30)
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    progress = models.PositiveSmallIntegerField(default=0)
    error = models.CharField(max_length=300, blank=True)
    started_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "workflow_steps"
        ordering = ["run", "number"]
        constraints = [models.UniqueConstraint(fields=["run", "name"], name="one_step_of_a_name")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_over(self) -> bool:
        """Whether it does not change any more."""
        return self.status not in (self.Status.PENDING, self.Status.RUNNING)


class WorkflowCall(models.Model):
    """A call that a step makes: written down before it is made, so that the ledger's row is always a run's."""

    call_id = models.CharField(primary_key=True, max_length=64)
    step = models.ForeignKey(WorkflowStep, on_delete=models.CASCADE, related_name="calls")
    model = models.CharField(max_length=256)
    is_repair = models.BooleanField(default=False)
    is_cached = models.BooleanField(default=False)
    is_malformed = models.BooleanField(default=False, help_text="What it answered could not be used as it was.")
    error = models.CharField(max_length=100, blank=True, help_text="A code, never a text.")
    cost_usd_micros = models.BigIntegerField(null=True, help_text="Empty: the process that made it died.")
    latency_ms = models.FloatField(null=True)
    characters = models.PositiveIntegerField(default=0, db_default=0, help_text="Of the answer that came so far.")
    started_at = models.DateTimeField()

    class Meta:
        db_table = "workflow_calls"
        ordering = ["started_at"]
        indexes = [models.Index(fields=["started_at"], name="workflow_calls_by_time")]

    def __str__(self) -> str:
        return self.call_id


class WorkflowContent(models.Model):
    """What a run was given (`input`), came to (`result`), or one of its steps came to (`step:…`) or says (`text:…`)."""

    run = models.ForeignKey(WorkflowRun, on_delete=models.CASCADE, related_name="contents")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=60)
    document = SealedDocument(help_text="JSON.")
    expires_at = models.DateTimeField(null=True, help_text="Empty: as long as its run.")

    class Meta:
        db_table = "workflow_contents"
        constraints = [models.UniqueConstraint(fields=["run", "name"], name="one_content_of_a_name")]
        indexes = [models.Index(fields=["expires_at"], name="workflow_contents_ending")]

    def __str__(self) -> str:
        return self.name
