"""Providers: who answers calls to models, at which address, with which key."""

import secrets

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q

from orgs import sealed, vault
from orgs.models import Organization

NAME_PATTERN = r"^[a-z0-9][a-z0-9_.-]{0,49}\Z"
LAST_CHARACTERS = 4
MIN_KEY_LENGTH = 12  # the last four characters of a shorter key say too much of it


def new_provider_id() -> str:
    """Return a public id that no other provider has."""
    return f"prv_{secrets.token_hex(8)}"


class SealedKey(sealed.SealedText):
    """A provider's key; doors see its last four characters."""

    def mask(self, plain: str) -> str:
        """Return stars and the end of the key."""
        if not plain or (plain.startswith(vault.STARS) and len(plain) <= len(vault.STARS) + LAST_CHARACTERS):
            return plain  # what is masked already stays as it is
        return vault.STARS + (plain[-LAST_CHARACTERS:] if len(plain) >= MIN_KEY_LENGTH else "")


class Provider(models.Model):
    """One provider of an organization, or of all organizations when it names none.

    Of providers that could answer, the one with the highest `priority` does. One that is local costs nothing.
    """

    class Dialect(models.TextChoices):
        OPENAI = "openai", "OpenAI"
        ANTHROPIC = "anthropic", "Anthropic"
        GOOGLE = "google", "Google"
        ECHO = "echo", "Echo (answers by itself)"

    class Auth(models.TextChoices):
        BEARER = "bearer", "Authorization: Bearer"
        API_KEY = "api-key", "api-key (Azure)"

    provider_id = models.CharField("provider id", max_length=32, unique=True, default=new_provider_id, editable=False)
    organization = models.ForeignKey(
        Organization, null=True, blank=True, on_delete=models.CASCADE, related_name="+",
        help_text="Empty: every organization may call it.",
    )  # fmt: skip
    name = models.CharField(
        max_length=50, validators=[RegexValidator(NAME_PATTERN, "Use up to 50 of a-z, 0-9, dots, dashes, underscores.")]
    )
    dialect = models.CharField(max_length=20, choices=Dialect)
    base_url = models.CharField("address", max_length=2000, blank=True, help_text="Empty: the provider's own.")
    api_key = SealedKey("key", blank=True)
    auth = models.CharField(
        "key goes as", max_length=10, choices=Auth, default=Auth.BEARER,
        help_text="The header of the key; for the OpenAI dialect only.",
    )  # fmt: skip
    is_enabled = models.BooleanField("enabled", default=True)
    is_local = models.BooleanField("local", default=False, help_text="Runs on own machines: its calls cost nothing.")
    priority = models.IntegerField(default=0, help_text="The highest answers, where several could.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    known_models = models.JSONField("models", default=list, blank=True, help_text="Names of its models; empty: any.")

    class Meta:
        db_table = "llm_providers"
        ordering = ["organization_id", "-priority", "name"]
        constraints = [
            models.UniqueConstraint(fields=["organization", "name"], name="llm_provider_names"),
            models.UniqueConstraint(
                fields=["name"], condition=Q(organization__isnull=True), name="llm_provider_global_names"
            ),
        ]

    def __str__(self) -> str:
        return self.name
