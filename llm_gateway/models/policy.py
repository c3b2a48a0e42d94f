"""Policies: what the gateway keeps of the content of an organization's calls; nothing without a row."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from orgs.models import Organization

MAX_DAYS = 3650


class GatewayPolicy(models.Model):
    """Whether an organization's prompts and answers are kept, and for how long. Private wins over everything."""

    organization = models.OneToOneField(Organization, primary_key=True, on_delete=models.CASCADE, related_name="+")
    is_private = models.BooleanField(
        "private", default=False, help_text="Nothing of prompts and answers stays anywhere."
    )
    keeps_content = models.BooleanField(
        "keeps content", default=False, help_text="Prompts and answers are kept, sealed."
    )
    content_days = models.PositiveIntegerField(
        "days", null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(MAX_DAYS)],
        help_text="Empty: as long as the installation keeps them.",
    )  # fmt: skip
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "llm_policies"
        verbose_name = "privacy setting"
        verbose_name_plural = "privacy settings"

    def __str__(self) -> str:
        return str(self.organization_id)

    @property
    def is_kept(self) -> bool:
        """Whether prompts and answers are kept."""
        return self.keeps_content and not self.is_private
