"""Versions of an organization's configuration: what it was, who made it so, and what that changed."""

from typing import Any

from django.db import models

from orgs.models import Organization, User


class ConfigVersion(models.Model):
    """One version of the base that every orchestrator of an organization gets; written once, never changed.

    `released_at` is when it became the organization's configuration: at once, or at the end of a staged rollout;
    None for one that is still being rolled out or never got through.
    """

    class Source(models.TextChoices):
        EDIT = "edit"
        ROLLBACK = "rollback"
        AUTOMATIC_ROLLBACK = "automatic rollback"
        RECOMMENDATION = "recommendation"
        IMPORT = "import"

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="config_versions")
    version = models.PositiveIntegerField()
    document = models.JSONField(default=dict)
    config_hash = models.CharField(max_length=80)
    changes = models.JSONField(default=list, help_text="[{path, before?, after?}] against the version before it.")
    comment = models.CharField(max_length=500, blank=True)
    source = models.CharField(max_length=20, choices=Source, default=Source.EDIT)
    author = models.CharField(max_length=200, help_text="As the audit trail names it.")
    created_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField()
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "config_versions"
        ordering = ["-version"]
        verbose_name = "configuration version"
        constraints = [models.UniqueConstraint(fields=["organization", "version"], name="config_version_once")]

    def __str__(self) -> str:
        return f"{self.organization_id} v{self.version}"

    @property
    def content(self) -> dict[str, Any]:
        """Return the document as the object it always is."""
        return self.document if isinstance(self.document, dict) else {}
