"""Versions of an orchestrator's override: what it had of its own, who made it so, and what that changed."""

from typing import Any

from django.db import models

from orchestrators.models.instance import Instance
from orgs.models import User


class OverrideVersion(models.Model):
    """One version of what an orchestrator has on top of its organization's configuration; written once."""

    class Source(models.TextChoices):
        EDIT = "edit"
        BULK = "bulk"
        ROLLBACK = "rollback"
        RECOMMENDATION = "recommendation"
        IMPORT = "import"

    orchestrator = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="override_versions")
    version = models.PositiveIntegerField()
    document = models.JSONField(default=dict, help_text="{features, session, privacy_mode, monitoring_enabled}")
    changes = models.JSONField(default=list, help_text="[{path, before?, after?}] against the version before it.")
    comment = models.CharField(max_length=500, blank=True)
    source = models.CharField(max_length=20, choices=Source, default=Source.EDIT)
    author = models.CharField(max_length=200, help_text="As the audit trail names it.")
    created_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField()

    class Meta:
        db_table = "override_versions"
        ordering = ["-version"]
        verbose_name = "override version"
        constraints = [models.UniqueConstraint(fields=["orchestrator", "version"], name="override_version_once")]

    def __str__(self) -> str:
        return f"{self.orchestrator} v{self.version}"

    @property
    def content(self) -> dict[str, Any]:
        """Return the document as the object it always is."""
        return self.document if isinstance(self.document, dict) else {}
