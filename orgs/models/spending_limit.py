"""Spending limits: what an organization, one of its keys, or a model in it may spend, and how fast it may be called."""

from django.db import models
from django.db.models import Q

from orgs.models.api_key import ApiKey
from orgs.models.organization import Organization


class SpendingLimit(models.Model):
    """The limits of one organization (neither key nor model), of one of its keys, or of one model for all its calls.

    What is empty is not limited. The LLM gateway keeps to them.
    """

    class Window(models.TextChoices):
        DAY = "day"
        WEEK = "week"
        MONTH = "month"
        TOTAL = "total"

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="spending_limits")
    key = models.OneToOneField(ApiKey, null=True, blank=True, on_delete=models.CASCADE, related_name="spending_limit")
    counted_as = models.CharField(max_length=32, blank=True, help_text="The id of the key that this one succeeded.")
    model = models.CharField(max_length=200, blank=True)
    allowed_models = models.JSONField(default=list, blank=True, help_text="The only models a key may call; empty: all.")
    budget_usd_micros = models.BigIntegerField("budget in micro-dollars", null=True, blank=True)
    budget_window = models.CharField(max_length=10, choices=Window, default=Window.MONTH)
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    tokens_per_minute = models.PositiveBigIntegerField(null=True, blank=True)
    max_parallel = models.PositiveIntegerField("calls at once", null=True, blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "spending_limits"
        ordering = ["organization", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "model"], condition=Q(key__isnull=True), name="one_spending_limit_each"
            )
        ]

    def __str__(self) -> str:
        return f"limits of {self.model or self.key or self.organization_id}"
