"""Prices of one's own: what a model costs an organization, or everybody."""

import secrets
from typing import Any

from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q

from orgs.models import Organization

MODEL_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,199}\Z"


def new_price_id() -> str:
    """Return a public id that no other price has."""
    return f"prc_{secrets.token_hex(8)}"


def usd_per_million(label: str, *, is_optional: bool = False) -> "models.DecimalField[Any, Any]":
    """Return a column for dollars per million tokens."""
    return models.DecimalField(
        label, max_digits=14, decimal_places=6, validators=[MinValueValidator(0)], null=is_optional, blank=is_optional
    )


class Price(models.Model):
    """What a model (`provider/model`, or a bare name) costs an organization; without one, what it costs everybody."""

    price_id = models.CharField("price id", max_length=32, unique=True, default=new_price_id, editable=False)
    organization = models.ForeignKey(
        Organization, null=True, blank=True, on_delete=models.CASCADE, related_name="+",
        help_text="Empty: for every organization.",
    )  # fmt: skip
    model = models.CharField(
        max_length=200, validators=[RegexValidator(MODEL_PATTERN, "Use up to 200 letters, digits and _.:/@+-.")]
    )
    input_usd_per_million = usd_per_million("input")
    output_usd_per_million = usd_per_million("output")
    cached_input_usd_per_million = usd_per_million("cached input", is_optional=True)
    cache_write_usd_per_million = usd_per_million("cache writes", is_optional=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "llm_prices"
        ordering = ["organization_id", "model"]
        constraints = [
            models.UniqueConstraint(fields=["organization", "model"], name="llm_price_models"),
            models.UniqueConstraint(
                fields=["model"], condition=Q(organization__isnull=True), name="llm_price_global_models"
            ),
        ]

    def __str__(self) -> str:
        return self.model
