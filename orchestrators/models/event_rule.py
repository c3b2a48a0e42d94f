"""Event rules: what an organization does about the events that agents publish, as data."""

import secrets

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from orgs.models import Organization
from orgs.names import NameField


def new_rule_id() -> str:
    """Return a public id that no other rule has."""
    return f"evr_{secrets.token_hex(8)}"


class EventRule(models.Model):
    """An event whose type fits `event_type` (`*` stands for anything) and whose payload meets every condition acts.

    It makes a task, or raises an alert of its own that more such events renew. No more than `per_minute` times in a
    minute: what comes beyond is counted in `suppressed`.
    """

    class Action(models.TextChoices):
        TASK = "task", "Make a task"
        ALERT = "alert", "Raise an alert"

    class Severity(models.TextChoices):
        INFO = "info"
        WARNING = "warning"
        ERROR = "error"
        CRITICAL = "critical"

    class Priority(models.TextChoices):
        AS_GIVEN = "", "As the event says, else P2"
        P0 = "P0"
        P1 = "P1"
        P2 = "P2"
        P3 = "P3"

    rule_id = models.CharField("rule id", max_length=32, unique=True, default=new_rule_id, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="event_rules")
    name = NameField(max_length=100)
    event_type = models.CharField(max_length=100, help_text="Such as deploy.failed, or deploy.* for all that begin so.")
    conditions = models.JSONField(
        default=dict, blank=True,
        help_text='What the payload has to say: {"build.branch": "main", "severity": ["high", "critical"]}.',
    )  # fmt: skip
    action = models.CharField(max_length=10, choices=Action, default=Action.TASK)
    task_type = models.CharField(max_length=100, blank=True, help_text="Of the task that is made.")
    priority = models.CharField(max_length=2, choices=Priority, blank=True, help_text="P0 and P1 wait for approval.")
    payload = models.JSONField(default=dict, blank=True, help_text="The task's, beside the event itself (“event”).")
    severity = models.CharField(max_length=10, choices=Severity, default=Severity.WARNING)
    per_minute = models.PositiveSmallIntegerField(
        "at most per minute", default=10, validators=[MinValueValidator(1), MaxValueValidator(1000)]
    )
    is_enabled = models.BooleanField("enabled", default=True)
    window_started_at = models.DateTimeField(null=True, editable=False)
    window_count = models.PositiveIntegerField(default=0, editable=False)
    matched = models.PositiveIntegerField(default=0, editable=False)
    suppressed = models.PositiveIntegerField(default=0, editable=False)
    last_matched_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "event_rules"
        ordering = ["organization_id", "name"]

    def __str__(self) -> str:
        return str(self.name)
