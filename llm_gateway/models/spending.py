"""Spending by the hour: the ledger's calls added up, in the transaction that writes them."""

from django.db import models


class Spending(models.Model):
    """What the calls of one hour came to, by organization, key, model and provider."""

    organization_id = models.CharField(max_length=50)
    hour_at = models.DateTimeField()
    key_id = models.CharField(max_length=32)
    model = models.CharField(max_length=200)
    provider = models.CharField(max_length=50)
    requests = models.BigIntegerField(help_text="Calls that were billed.")
    failed = models.BigIntegerField(help_text="Calls that were not.")
    input_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    cost_usd_micros = models.BigIntegerField()
    cached = models.BigIntegerField(default=0, help_text="Calls that the cache answered; they are among the billed.")
    saved_usd_micros = models.BigIntegerField(default=0, help_text="What those answers had cost.")

    class Meta:
        db_table = "llm_spending"
        constraints = [
            models.UniqueConstraint(
                fields=["organization_id", "hour_at", "key_id", "model", "provider"], name="one_spending_row_each"
            )
        ]
        indexes = [models.Index(fields=["hour_at"], name="llm_spending_by_time")]

    def __str__(self) -> str:
        return f"{self.organization_id} {self.model} {self.hour_at}"
