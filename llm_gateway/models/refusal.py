"""Calls that were refused before a provider was asked and stand in no ledger: counted by the minute."""

from typing import Final

from django.db import models

from orgs.models import Organization

MODEL_LENGTH: Final = 100


class Refusal(models.Model):
    """How often the calls of one key, for one model, were refused with one code in one minute.

    All processes count into the same row. `requested_model` is "" where the name leads nowhere: it may be any text.
    """

    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    minute_at = models.DateTimeField(help_text="The beginning of the minute.")
    code = models.CharField(max_length=60, help_text="What the client was told.")
    key_id = models.CharField(max_length=32, blank=True, default="", db_default="")
    requested_model = models.CharField(max_length=MODEL_LENGTH, blank=True, default="", db_default="")
    count = models.PositiveBigIntegerField(default=0, db_default=0)
    last_at = models.DateTimeField(help_text="When the last of them was refused.")

    class Meta:
        db_table = "llm_refusals"
        verbose_name = "refused call"
        ordering = ["-minute_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "minute_at", "code", "key_id", "requested_model"], name="one_refusal_row_each"
            )
        ]
        indexes = [
            models.Index(fields=["-minute_at", "-id"], name="llm_refusals_by_time"),
            models.Index(fields=["organization", "-minute_at", "-id"], name="llm_refusals_by_org"),
        ]

    def __str__(self) -> str:
        return f"{self.code} of {self.organization_id} at {self.minute_at:%H:%M}"
