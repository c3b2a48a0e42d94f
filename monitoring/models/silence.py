"""Silences: alerts that are shown and that nobody is told of for a while."""

import secrets
from datetime import datetime

from django.db import models

from monitoring.models.alert import Severity


def new_silence_id() -> str:
    """Return a public id that no other silence has."""
    return f"sil_{secrets.token_hex(12)}"


class Silence(models.Model):
    """A span of time, and which alerts it covers: those that match everything it names; blank names nothing.

    `severity` covers that severity and milder ones. A snooze names one alert.
    """

    class Kind(models.TextChoices):
        SILENCE = "silence"
        SNOOZE = "snooze"
        MAINTENANCE = "maintenance"

    silence_id = models.CharField("silence id", max_length=32, unique=True, default=new_silence_id, editable=False)
    kind = models.CharField(max_length=15, choices=Kind, default=Kind.SILENCE)
    organization_id = models.CharField(max_length=50, blank=True)
    orchestrator_id = models.CharField(max_length=50, blank=True)
    labels = models.JSONField(default=dict, blank=True)
    rule_key = models.CharField(max_length=80, blank=True)
    severity = models.CharField(max_length=10, choices=Severity, blank=True)
    alert_id = models.CharField(max_length=32, blank=True)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    reason = models.CharField(max_length=500, blank=True)
    created_by = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "silences"
        ordering = ["-starts_at", "-id"]
        indexes = [
            models.Index(fields=["ends_at"], name="silences_by_end"),
            models.Index(fields=["organization_id", "-starts_at"], name="silences_by_organization"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} until {self.ends_at:%Y-%m-%d %H:%M}"

    def is_active(self, *, now: datetime) -> bool:
        """Whether it holds at `now`."""
        return self.starts_at <= now < self.ends_at
