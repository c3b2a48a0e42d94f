"""The audit trail: one row for every administrative change."""

from django.db import models


class AuditEntry(models.Model):
    """Who changed what, when, from where, from which value to which; written by `orgs.audit` alone."""

    organization_id = models.CharField(max_length=50, blank=True)
    sequence = models.PositiveBigIntegerField(help_text="Place in the organization's chain, from 1.")
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
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    class Meta:
        db_table = "audit_log"
        ordering = ["-id"]
        verbose_name, verbose_name_plural = "audit entry", "audit trail"
        constraints = [models.UniqueConstraint(fields=["organization_id", "sequence"], name="audit_one_place")]
        indexes = [
            models.Index(fields=["organization_id", "-id"], name="audit_by_organization"),
            models.Index(fields=["target_type", "target_id", "-id"], name="audit_by_target"),
            models.Index(fields=["actor", "-id"], name="audit_by_actor"),
            models.Index(fields=["action", "-id"], name="audit_by_action"),
            models.Index(fields=["created_at"], name="audit_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.actor}: {self.action} {self.target_type} {self.target_id}"


class AuditHead(models.Model):
    """The newest place and hash of one organization's chain; its lock keeps the chain in order."""

    organization_id = models.CharField(primary_key=True, max_length=50)
    sequence = models.PositiveBigIntegerField(default=0)
    hash = models.CharField(max_length=64)

    class Meta:
        db_table = "audit_heads"

    def __str__(self) -> str:
        return f"{self.organization_id or 'system'} at {self.sequence}"
