"""Calls and their attempts: the ledger of the gateway. No row holds anything of a prompt or an answer."""

from django.db import models


class Call(models.Model):
    """One call of a client: who, which model, how many tokens, what it cost at which price, and how it ended.

    It is `running` until its end was read from the journal; `lost` is a call whose process died, counted at what it
    had reserved.
    """

    class Status(models.TextChoices):
        RUNNING = "running"
        COMPLETED = "completed"
        FAILED = "failed"
        CANCELLED = "cancelled", "left by the client"
        LOST = "lost", "lost with its process"

    call_id = models.CharField(primary_key=True, max_length=64)
    organization_id = models.CharField(max_length=50)
    key_id = models.CharField(max_length=32, blank=True)
    user = models.CharField(max_length=150, blank=True)
    orchestrator_id = models.CharField(max_length=50, blank=True)
    surface = models.CharField(max_length=20, blank=True)
    requested_model = models.CharField(max_length=200)
    scope_model = models.CharField(max_length=200, blank=True, help_text="What limits of models know it by.")
    scope_key = models.CharField(max_length=32, blank=True, help_text="The key its budget is counted for.")
    model = models.CharField(max_length=200, blank=True)
    provider = models.CharField(max_length=50, blank=True)
    is_stream = models.BooleanField(default=False)
    is_cached = models.BooleanField(default=False)
    status = models.CharField(max_length=10, choices=Status, default=Status.RUNNING)
    error = models.CharField(max_length=100, blank=True, help_text="A code, never a text.")
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cached_input_tokens = models.BigIntegerField(default=0)
    cache_write_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    is_estimated = models.BooleanField(default=False, help_text="The provider did not say how many tokens.")
    cost_usd_micros = models.BigIntegerField(default=0)
    reserved_usd_micros = models.BigIntegerField(default=0)
    saved_usd_micros = models.BigIntegerField(default=0, help_text="What a cached answer had cost when it was made.")
    price = models.JSONField(default=dict, help_text="The unit price the cost was computed with.")
    latency_ms = models.FloatField(null=True)
    first_token_ms = models.FloatField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    holder = models.CharField(max_length=120, help_text="The process that served it.")
    leases = models.JSONField(default=list, help_text="The leases its reservation was taken from.")

    class Meta:
        db_table = "llm_calls"
        ordering = ["-started_at", "call_id"]
        indexes = [
            models.Index(fields=["organization_id", "-started_at"], name="llm_calls_by_organization"),
            models.Index(fields=["-started_at"], name="llm_calls_by_time"),
            models.Index(fields=["key_id", "-started_at"], name="llm_calls_by_key"),
            models.Index(fields=["holder"], condition=models.Q(status="running"), name="llm_calls_running"),
        ]

    def __str__(self) -> str:
        return self.call_id


class Attempt(models.Model):
    """One request to a provider on behalf of a call."""

    call = models.ForeignKey(Call, on_delete=models.CASCADE, related_name="tries", db_constraint=False)
    organization_id = models.CharField(max_length=50)
    number = models.PositiveSmallIntegerField()
    provider = models.CharField(max_length=50)
    model = models.CharField(max_length=200)
    http_status = models.PositiveSmallIntegerField(null=True)
    error = models.CharField(max_length=100, blank=True, help_text="A code, never a text.")
    provider_request_id = models.CharField(
        max_length=128, blank=True, default="", db_default="", help_text="The provider's own id of it."
    )
    latency_ms = models.FloatField(null=True)
    first_token_ms = models.FloatField(null=True)
    started_at = models.DateTimeField()

    class Meta:
        db_table = "llm_attempts"
        ordering = ["call", "number"]
        constraints = [models.UniqueConstraint(fields=["call", "number"], name="one_row_per_attempt")]

    def __str__(self) -> str:
        return f"{self.call_id} #{self.number}"
