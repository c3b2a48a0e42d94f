"""Prompts: what people and programs of an organization asked a model, and what that came to; texts stand apart."""

from django.db import models
from django.db.models import Q

from orgs.models import Organization
from orgs.sealed import SealedDocument


class Prompt(models.Model):
    """A prompt, in numbers: `pending → running → completed | failed | cancelled`.

    `call_id` is its call in the ledger, which its tokens and its cost are taken from. No column holds anything of what
    was asked or answered.
    """

    class Status(models.TextChoices):
        PENDING = "pending", "waits for its stream"
        RUNNING = "running"
        COMPLETED = "completed"
        FAILED = "failed"
        CANCELLED = "cancelled", "left by the client"

    prompt_id = models.CharField(max_length=40, unique=True)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    agent_id = models.CharField(max_length=50, blank=True)
    task_id = models.CharField(max_length=40, blank=True, help_text="The task that asked.")
    requested_model = models.CharField(
        max_length=200, blank=True, help_text="Once it is known to be the name of a model, and no text."
    )
    model = models.CharField(max_length=200, blank=True)
    provider = models.CharField(max_length=50, blank=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    error = models.CharField(max_length=100, blank=True, help_text="A code, never a text.")
    is_stream = models.BooleanField(default=False)
    is_cached = models.BooleanField(default=False)
    is_private = models.BooleanField(default=False, help_text="Nothing of its texts stays anywhere.")
    call_id = models.CharField(max_length=64, blank=True)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cost_usd_micros = models.BigIntegerField(default=0)
    latency_ms = models.FloatField(null=True)
    first_token_ms = models.FloatField(null=True)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "prompts"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["organization", "-id"], name="prompts_by_organization"),
            models.Index(fields=["created_at"], name="prompts_by_time"),
            models.Index(fields=["started_at"], name="prompts_running", condition=Q(status="running")),
        ]

    def __str__(self) -> str:
        return self.prompt_id

    @property
    def tokens_used(self) -> int:
        """Tokens in and out."""
        return self.input_tokens + self.output_tokens

    @property
    def is_over(self) -> bool:
        """Whether it does not change any more."""
        return self.status not in (self.Status.PENDING, self.Status.RUNNING)


class PromptContent(models.Model):
    """What a prompt asked and was answered, sealed; no row where its organization is private, or after its days."""

    prompt = models.OneToOneField(Prompt, primary_key=True, on_delete=models.CASCADE, related_name="content")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    request = SealedDocument(help_text="What was asked, and with which settings, JSON.")
    answer = SealedDocument(blank=True, help_text="What was answered.")
    is_answer_truncated = models.BooleanField(default=False)
    kept_at = models.DateTimeField()

    class Meta:
        db_table = "prompt_contents"
        indexes = [
            models.Index(fields=["kept_at"], name="prompt_contents_by_time"),
            models.Index(fields=["organization", "kept_at"], name="prompt_contents_by_org"),
        ]

    def __str__(self) -> str:
        return str(self.pk)
