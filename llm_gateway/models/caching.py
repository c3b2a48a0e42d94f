"""Cache rules: whose answers are kept, of which models, and for how long."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from orgs.models import Organization

DEFAULT_SECONDS = 3_600
MAX_SECONDS = 30 * 86_400
MAX_MODELS = 100


class CacheRule(models.Model):
    """What an organization's cache does; without a row it is off but for calls that ask for it.

    `epoch` counts how often it was emptied: entries of another epoch are found by nobody.
    """

    organization = models.OneToOneField(Organization, primary_key=True, on_delete=models.CASCADE, related_name="+")
    is_enabled = models.BooleanField("enabled", default=True, help_text="Off: not even for calls that ask for it.")
    model_names = models.JSONField(
        "models", default=list, blank=True,
        help_text="Models and aliases whose answers are kept unasked; “*” is all of them.",
    )  # fmt: skip
    ttl_seconds = models.PositiveIntegerField(
        "time to live (seconds)", default=DEFAULT_SECONDS,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_SECONDS)],
    )  # fmt: skip
    epoch = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "llm_cache_rules"

    def __str__(self) -> str:
        return str(self.organization_id)
