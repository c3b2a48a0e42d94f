"""Idempotency keys: what was answered to a write, so that its repeat is answered the same."""

from django.db import models

from orgs.sealed import SealedDocument


class IdempotencyKey(models.Model):
    """One write of one caller with its answer, which may hold a secret that is shown once."""

    caller = models.CharField(max_length=100)
    key = models.CharField(max_length=200)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 over method, path and body.")
    status = models.PositiveSmallIntegerField(null=True)
    response = SealedDocument(blank=True)
    task_id = models.CharField(
        max_length=40, blank=True, default="", db_default="", help_text="The task whose texts the answer holds."
    )
    created_at = models.DateTimeField()

    class Meta:
        db_table = "idempotency_keys"
        constraints = [models.UniqueConstraint(fields=["caller", "key"], name="idempotency_once")]
        indexes = [models.Index(fields=["created_at"], name="idempotency_by_time")]

    def __str__(self) -> str:
        return f"{self.caller} {self.key}"
