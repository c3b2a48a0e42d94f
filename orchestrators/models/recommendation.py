"""Recommendations: inbound messages of that type, and what people made of them."""

from typing import Any, ClassVar

from django.db import models

from orchestrators.models.message import Message
from orgs.models import User


class RecommendationManager(models.Manager["Recommendation"]):
    """Only inbound messages of the type `recommendation`."""

    def get_queryset(self) -> models.QuerySet["Recommendation"]:
        """Return them."""
        return super().get_queryset().filter(direction=Message.Direction.INBOUND, message_type="recommendation")


class Recommendation(Message):
    """What an orchestrator suggests; its review is a row of its own, which is missing as long as nobody read it."""

    objects: ClassVar[RecommendationManager] = RecommendationManager()

    class Meta:
        proxy = True
        ordering = ["-id"]

    @property
    def state(self) -> str:
        """`new`, or the state of its review."""
        review = getattr(self, "review", None)
        return review.status if review else "new"

    @property
    def suggestion(self) -> dict[str, Any] | None:
        """The merge patch (RFC 7396) it suggests, None where it only says something."""
        content = self.message_content if isinstance(self.message_content, dict) else {}
        found = content.get("suggested_config", content.get("config"))
        return found if isinstance(found, dict) and found else None


class Review(models.Model):
    """What became of a recommendation, who said so, and what was changed for it."""

    class Status(models.TextChoices):
        READ = "read"
        ACCEPTED = "accepted"
        DISMISSED = "dismissed"

    message = models.OneToOneField(Message, on_delete=models.CASCADE, primary_key=True, related_name="review")
    status = models.CharField(max_length=20, choices=Status)
    reason = models.CharField(max_length=500, blank=True)
    applied = models.JSONField(null=True, help_text="{target, target_id}: whose configuration it became part of.")
    reviewed_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    actor = models.CharField(max_length=200)
    reviewed_at = models.DateTimeField()

    class Meta:
        db_table = "recommendation_reviews"

    def __str__(self) -> str:
        return f"{self.message_id} {self.status}"
