"""Channels: where an organization's people, or the superadmin, are told of alerts."""

import secrets
from datetime import datetime
from urllib.parse import urlsplit

from django.db import models

from monitoring.models.alert import Severity
from orgs import sealed, vault
from orgs.models import Organization


def new_channel_id() -> str:
    """Return a public id that no other channel has."""
    return f"chn_{secrets.token_hex(8)}"


class SealedAddress(sealed.SealedText):
    """An address whose path is a secret, as that of an incoming webhook; doors see `https://host/***`."""

    def mask(self, plain: str) -> str:
        """Return scheme, host and port."""
        if not plain:
            return ""
        parts = urlsplit(plain)
        rest = f"/{vault.STARS}" if parts.path.strip("/") or parts.query else parts.path
        return f"{parts.scheme}://{parts.netloc}{rest}"


class Channel(models.Model):
    """One receiver; without an organization it is the superadmin's, and gets the alerts of all.

    `failures` counts what went wrong in a row; the channel is left alone until `parked_until`, and then gets one
    notification at a time until one arrives.
    """

    class Kind(models.TextChoices):
        SLACK = "slack", "Slack"
        EMAIL = "email", "E-mail"
        PAGERDUTY = "pagerduty", "PagerDuty"
        WEBHOOK = "webhook", "Webhook"

    channel_id = models.CharField("channel id", max_length=32, unique=True, default=new_channel_id, editable=False)
    organization = models.ForeignKey(
        Organization, null=True, blank=True, on_delete=models.CASCADE, related_name="+",
        help_text="Empty: the alerts of every organization, and of the controller itself.",
    )  # fmt: skip
    kind = models.CharField(max_length=20, choices=Kind)
    name = models.CharField(max_length=100)
    min_severity = models.CharField(
        "from severity", max_length=10, choices=Severity, default=Severity.WARNING,
        help_text="Alerts of this severity and above.",
    )  # fmt: skip
    is_enabled = models.BooleanField("enabled", default=True)
    takes_approvals = models.BooleanField(
        "tells of approvals", default=False, db_default=False,
        help_text="Whoever reads it may approve or reject a waiting task by a link that is good for one decision.",
    )  # fmt: skip
    url = SealedAddress("address", blank=True)
    secret = sealed.SealedText(blank=True)
    settings = models.JSONField(default=dict, blank=True, help_text="E-mail: recipients, sender, username.")
    failures = models.PositiveIntegerField(default=0, editable=False)
    parked_until = models.DateTimeField(null=True, editable=False)
    last_ok_at = models.DateTimeField(null=True, editable=False)
    last_error = models.CharField(max_length=300, blank=True, editable=False)
    last_error_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "alert_channels"
        ordering = ["organization_id", "name"]
        indexes = [models.Index(fields=["organization", "name"], name="channels_by_organization")]

    def __str__(self) -> str:
        return self.name

    def is_parked(self, *, now: datetime) -> bool:
        """Whether it is left alone for a while after a failure."""
        return self.parked_until is not None and self.parked_until > now

    @property
    def is_failing(self) -> bool:
        """Whether the last thing that happened was an error."""
        return bool(self.last_error)
