"""Deliveries: what a channel is to be told; the row is the queue."""

import secrets

from django.db import models
from django.db.models import Q

from monitoring.models.channel import Channel


def new_delivery_id() -> str:
    """Return a public id that no other delivery has."""
    return f"dlv_{secrets.token_hex(12)}"


class Delivery(models.Model):
    """One notification to one channel: `pending → delivered | failed | expired | dropped`.

    Those of one channel and dedup key go out one at a time, in order. A worker holds one until `lease_until`; only the
    `holder` of that time may settle it. `may_have_arrived`: an attempt went so far that the receiver may have it.
    """

    class Status(models.TextChoices):
        PENDING = "pending"
        DELIVERED = "delivered"
        FAILED = "failed"
        EXPIRED = "expired"
        DROPPED = "dropped"

    class Action(models.TextChoices):
        TRIGGER = "trigger"
        ESCALATE = "escalate"
        ACKNOWLEDGE = "acknowledge"
        RESOLVE = "resolve"

    delivery_id = models.CharField("delivery id", max_length=32, unique=True, default=new_delivery_id, editable=False)
    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="deliveries")
    organization_id = models.CharField(max_length=50, blank=True, help_text="Whose alert it tells of.")
    alert_id = models.CharField(max_length=32)
    dedup_key = models.CharField(max_length=200)
    action = models.CharField(max_length=15, choices=Action)
    notice = models.JSONField(help_text="The alert as it was when this was written.")
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    may_have_arrived = models.BooleanField(default=False)
    error = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField()
    next_attempt_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    holder = models.CharField(max_length=40, blank=True)
    lease_until = models.DateTimeField(null=True)

    class Meta:
        db_table = "alert_deliveries"
        verbose_name_plural = "deliveries"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["channel", "next_attempt_at"], name="deliveries_due", condition=Q(status="pending")),
            models.Index(fields=["channel", "dedup_key", "id"], name="deliveries_in_order"),
            models.Index(fields=["dedup_key"], name="deliveries_open_of_key", condition=Q(status="pending")),
            models.Index(fields=["expires_at"], name="deliveries_expiring", condition=Q(status="pending")),
            models.Index(fields=["finished_at"], name="deliveries_over", condition=Q(finished_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.dedup_key}"
