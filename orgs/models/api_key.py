"""API keys: bearer secrets of orchestrators and tools, of which only a hash is stored."""

from datetime import datetime

from django.db import models
from django.db.models import Q

from orgs.models.organization import Organization
from orgs.models.user import Role, User
from orgs.names import NameField


class ApiKey(models.Model):
    """A key of one organization: either a role's, or one with scopes (`orchestrator`), maybe bound to one instance."""

    key_id = models.CharField(max_length=32, unique=True, help_text="Public id of the key.")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="api_keys")
    name = NameField(max_length=200)
    prefix = models.CharField(max_length=16, help_text="How the secret begins, to recognize it.")
    secret_hash = models.CharField(max_length=64, unique=True, editable=False)
    role = models.CharField(max_length=20, choices=Role, blank=True)
    scopes = models.JSONField(default=list, blank=True)
    orchestrator_id = models.CharField(max_length=50, blank=True, help_text="Bound to this orchestrator only.")
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "api_keys"
        verbose_name = "API key"
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["orchestrator_id"], condition=~Q(orchestrator_id=""), name="api_keys_bound"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    def is_usable(self, *, now: datetime) -> bool:
        """Whether the key itself is neither revoked nor expired at `now` (its organization is looked at elsewhere)."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)
