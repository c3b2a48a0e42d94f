"""Alerts: what is wrong, since when, and who took it on."""

import secrets
from datetime import datetime

from django.db import models
from django.db.models import Q


class Severity(models.TextChoices):
    """How bad it is, mildest first."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


RANKS: dict[str, int] = {word: rank for rank, word in enumerate(Severity.values)}


def new_alert_id() -> str:
    """Return a public id that no other alert has."""
    return f"alr_{secrets.token_hex(12)}"


class AlertQuerySet(models.QuerySet["Alert"]):
    """Reads of the alerts that more than one door needs."""

    def unresolved(self) -> "AlertQuerySet":
        """Return those that fire or are acknowledged."""
        return self.exclude(status=Alert.Status.RESOLVED)


class Alert(models.Model):
    """One thing that is wrong with one subject; of those that are open there is one per dedup key.

    A subject is an orchestrator, an organization (no `orchestrator_id`) or the controller (neither). An alert with a
    `parent` is part of that incident: it is shown there, and nobody is told of it; but see `is_share`.
    """

    class Status(models.TextChoices):
        FIRING = "firing"
        ACKNOWLEDGED = "acknowledged"
        RESOLVED = "resolved"

    alert_id = models.CharField("alert id", max_length=32, unique=True, default=new_alert_id, editable=False)
    dedup_key = models.CharField(max_length=200)
    organization_id = models.CharField(max_length=50, blank=True)
    orchestrator_id = models.CharField(max_length=50, blank=True)
    rule_key = models.CharField(max_length=80, blank=True)
    alert_type = models.CharField(max_length=60)
    severity = models.CharField(max_length=10, choices=Severity)
    status = models.CharField(max_length=15, choices=Status, default=Status.FIRING)
    title = models.CharField(max_length=300)
    detail = models.CharField(max_length=2000, blank=True)
    value = models.FloatField(null=True)
    threshold = models.FloatField(null=True)
    started_at = models.DateTimeField()
    last_seen_at = models.DateTimeField(help_text="When the cause was last seen.")
    good_since = models.DateTimeField(null=True, help_text="Since when the cause is gone; it resolves a while later.")
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.CharField(max_length=200, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.CharField(max_length=200, blank=True, help_text="Blank: the cause was gone.")
    escalation_level = models.PositiveSmallIntegerField(default=0)
    escalate_at = models.DateTimeField(null=True, help_text="When it goes one level up unless somebody takes it.")
    reopened = models.PositiveIntegerField(default=0, help_text="How often it came back soon after it was resolved.")
    is_silenced = models.BooleanField(default=False)
    is_announced = models.BooleanField(
        default=False, help_text="Whether its turn came to be told, even if no channel takes it."
    )
    announced_at = models.DateTimeField(null=True, help_text="When that was last done.")
    told_channels = models.PositiveIntegerField(
        null=True, help_text="How many channels its announcement was for; 0: there was none that takes it."
    )
    announce_at = models.DateTimeField(null=True, help_text="Not before this moment; children and silenced ones wait.")
    parent = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="children")
    timeline = models.JSONField(default=list, help_text="[{at, what, who, note}], oldest first.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = AlertQuerySet.as_manager()

    class Meta:
        db_table = "alerts"
        ordering = ["-started_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["dedup_key"], condition=~Q(status="resolved"), name="alerts_one_open_per_key"
            )
        ]
        indexes = [
            models.Index(fields=["organization_id", "-started_at"], name="alerts_by_organization"),
            models.Index(fields=["orchestrator_id", "-started_at"], name="alerts_by_orchestrator"),
            models.Index(fields=["-started_at", "-id"], name="alerts_by_time"),
            models.Index(fields=["dedup_key", "-resolved_at"], name="alerts_by_key"),
            models.Index(fields=["organization_id", "severity"], name="alerts_open", condition=~Q(status="resolved")),
            models.Index(fields=["resolved_at"], name="alerts_resolved", condition=Q(status="resolved")),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def is_open(self) -> bool:
        """Whether it is not resolved."""
        return self.status != self.Status.RESOLVED

    @property
    def told_nobody(self) -> bool:
        """Whether its turn came and there was no channel to tell it to."""
        return self.told_channels == 0 and self.announced_at is not None

    @property
    def is_told(self) -> bool:
        """Whether its trigger was handed to a channel, and no end since."""
        return self.is_announced and not self.told_nobody

    @property
    def told_at(self) -> datetime | None:
        """When channels were last told that it fires; None: nobody was."""
        return None if self.told_nobody else self.announced_at

    @property
    def is_share(self) -> bool:
        """Whether it is an organization's share in an incident of the installation: its own channels are told of it."""
        if self.parent is None or self.orchestrator_id or not self.organization_id:
            return False
        return not self.parent.organization_id and self.parent.alert_type == self.alert_type
