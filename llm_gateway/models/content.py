"""Contents: the prompt and the answer of a call, sealed, where its organization has them kept."""

from django.db import models

from orgs.models import Organization
from orgs.sealed import SealedDocument


class CallContent(models.Model):
    """What a call asked and was answered. The call itself is a row of the ledger, which may come a moment later."""

    call_id = models.CharField(primary_key=True, max_length=64)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    request = SealedDocument(help_text="The request's body, JSON.")
    answer = SealedDocument(blank=True, help_text="The answer's body; of a stream, what it said.")
    is_request_truncated = models.BooleanField(default=False)
    is_answer_truncated = models.BooleanField(default=False)
    kept_at = models.DateTimeField()

    class Meta:
        db_table = "llm_call_contents"
        indexes = [
            models.Index(fields=["kept_at"], name="llm_contents_by_time"),
            models.Index(fields=["organization", "kept_at"], name="llm_contents_by_organization"),
        ]

    def __str__(self) -> str:
        return self.call_id
