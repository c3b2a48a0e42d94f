"""The audit trail: one row for every administrative change."""

from django.db import models


class AuditEntry(models.Model):
    """Who changed what, when, from where, from which value to which; written by `orgs.audit` alone."""

    organization_id = models.CharField(max_length=50, blank=True)
    actor = models.CharField(max_length=200)
    action = models.CharField(max_length=100)
    target_type = models.CharField(max_length=50)
    target_id = models.CharField(max_length=200)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    reason = models.CharField(max_length=500, blank=True)
    remote_address = models.CharField(max_length=64, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        db_table = "audit_log"
        ordering = ["-id"]
        verbose_name, verbose_name_plural = "audit entry", "audit trail"
        indexes = [
            models.Index(fields=["organization_id", "-id"], name="audit_by_organization"),
            models.Index(fields=["target_type", "target_id", "-id"], name="audit_by_target"),
        ]

    def __str__(self) -> str:
        return f"{self.actor}: {self.action} {self.target_type} {self.target_id}"
