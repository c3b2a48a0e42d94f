"""Aliases: names of an organization's own for models, with what answers when the first does not."""

import secrets

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q

from orgs.models import Organization

ALIAS_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}\Z"


def new_alias_id() -> str:
    """Return a public id that no other alias has."""
    return f"als_{secrets.token_hex(8)}"


class Alias(models.Model):
    """One alias of an organization, or of all organizations when it names none.

    `targets` is [{"model", "weight"?}]: those with weights share the calls, the others follow in their order.
    """

    alias_id = models.CharField("alias id", max_length=32, unique=True, default=new_alias_id, editable=False)
    organization = models.ForeignKey(
        Organization, null=True, blank=True, on_delete=models.CASCADE, related_name="+",
        help_text="Empty: every organization may use it.",
    )  # fmt: skip
    alias = models.CharField(
        max_length=100,
        validators=[RegexValidator(ALIAS_PATTERN, "Use up to 100 letters, digits, dots, colons, dashes.")],
    )
    targets = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "llm_aliases"
        verbose_name_plural = "aliases"
        ordering = ["organization_id", "alias"]
        constraints = [
            models.UniqueConstraint(fields=["organization", "alias"], name="llm_alias_names"),
            models.UniqueConstraint(
                fields=["alias"], condition=Q(organization__isnull=True), name="llm_alias_global_names"
            ),
        ]

    def __str__(self) -> str:
        return self.alias
