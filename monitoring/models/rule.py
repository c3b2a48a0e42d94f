"""Alert rules: what counts as wrong, as data."""

from django.core.validators import RegexValidator
from django.db import models

from monitoring.models.alert import Severity

KEY_PATTERN = r"^[a-z0-9][a-z0-9_.-]{0,79}\Z"


class Rule(models.Model):
    """One number to watch: it fires when `metric` `comparison` `threshold` holds for long enough.

    A row without an organization holds everywhere; an organization's row with the same key takes its place there.
    Rules of one `alert_type` and subject make one alert, as severe as the worst of those that hold.
    """

    class Comparison(models.TextChoices):
        ABOVE = ">"
        AT_LEAST = ">="
        BELOW = "<"
        AT_MOST = "<="

    class Scope(models.TextChoices):
        CONTROLLER = "controller"
        ORGANIZATION = "organization"
        ORCHESTRATOR = "orchestrator"

    rule_key = models.CharField(max_length=80, validators=[RegexValidator(KEY_PATTERN)])
    organization_id = models.CharField(max_length=50, blank=True)
    alert_type = models.CharField(max_length=60, validators=[RegexValidator(KEY_PATTERN)])
    title = models.CharField(max_length=200)
    metric = models.CharField(max_length=60)
    comparison = models.CharField(max_length=2, choices=Comparison, default=Comparison.AT_LEAST)
    threshold = models.FloatField()
    for_seconds = models.PositiveIntegerField(default=0, help_text="How long it must hold before it fires.")
    consecutive = models.PositiveSmallIntegerField(default=1, help_text="How many evaluations it must hold in a row.")
    severity = models.CharField(max_length=10, choices=Severity)
    scope = models.CharField(max_length=15, choices=Scope)
    is_enabled = models.BooleanField(default=True)
    is_changed = models.BooleanField(default=False, editable=False, help_text="Whether a person changed it.")
    changed_by = models.CharField(max_length=200, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "alert_rules"
        ordering = ["rule_key", "organization_id"]
        verbose_name, verbose_name_plural = "alert rule", "alert rules"
        constraints = [
            models.UniqueConstraint(fields=["rule_key", "organization_id"], name="alert_rules_one_per_organization")
        ]

    def __str__(self) -> str:
        return f"{self.rule_key} ({self.organization_id or 'everywhere'})"


class Holding(models.Model):
    """A rule that holds for a subject now: since when and how often in a row. No row: it does not hold."""

    rule = models.ForeignKey(Rule, on_delete=models.CASCADE, related_name="holdings")
    organization_id = models.CharField(max_length=50, blank=True)
    orchestrator_id = models.CharField(max_length=50, blank=True)
    since = models.DateTimeField()
    count = models.PositiveIntegerField(default=1)

    class Meta:
        db_table = "alert_holdings"
        constraints = [
            models.UniqueConstraint(
                fields=["rule", "organization_id", "orchestrator_id"], name="alert_holdings_one_per_subject"
            )
        ]

    def __str__(self) -> str:
        return f"{self.rule_id} {self.orchestrator_id or self.organization_id} since {self.since}"


class EngineState(models.Model):
    """Where the alert engine stands: its place among the events, and what it remembers between runs."""

    name = models.CharField(primary_key=True, max_length=30)
    place = models.JSONField(default=dict, help_text="Its place among the events, as orgs.events.Cursor saves it.")
    memory = models.JSONField(default=dict)
    ran_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "alert_engine"

    def __str__(self) -> str:
        return f"{self.name} at {self.place.get('last')}"
