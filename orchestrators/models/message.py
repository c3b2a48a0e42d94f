"""Messages both ways: the row is the queue."""

from django.db import models
from django.db.models import Q

from orchestrators.models.instance import Instance
from orgs.models import User


class Message(models.Model):
    """A message down to an orchestrator or up from it; `pending → sent → delivered | failed | expired`."""

    class Direction(models.TextChoices):
        OUTBOUND = "outbound"
        INBOUND = "inbound"

    class Status(models.TextChoices):
        PENDING = "pending"
        SENT = "sent"
        DELIVERED = "delivered"
        FAILED = "failed"
        EXPIRED = "expired"

    orchestrator = models.ForeignKey(
        Instance, on_delete=models.CASCADE, to_field="orchestrator_id", related_name="messages"
    )
    message_id = models.CharField(max_length=100, help_text="The id on the wire.")
    direction = models.CharField(max_length=10, choices=Direction, default=Direction.OUTBOUND)
    message_type = models.CharField(max_length=50)
    message_content = models.JSONField(default=dict, blank=True)
    content_hash = models.CharField(max_length=64, blank=True, editable=False)
    status = models.CharField(max_length=20, choices=Status, default=Status.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=1000, blank=True)
    result = models.JSONField(null=True, blank=True)
    created_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "orchestrator_messages"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["orchestrator", "direction", "message_id"], name="message_once"),
        ]
        indexes = [
            models.Index(
                fields=["orchestrator", "id"],
                name="messages_open",
                condition=Q(direction="outbound", status__in=["pending", "sent"]),
            ),
            models.Index(
                fields=["-id"],
                name="messages_recommended",
                condition=Q(direction="inbound", message_type="recommendation"),
            ),
            models.Index(fields=["finished_at"], name="messages_finished", condition=Q(finished_at__isnull=False)),
            models.Index(fields=["created_at"], name="messages_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.message_type} {self.message_id}"
