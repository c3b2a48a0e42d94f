"""How prompts look on the API."""

from typing import Any

from rest_framework import serializers

from llm_gateway.models import Prompt
from llm_gateway.prompts import book
from orgs import spending

MISSING = (("private", "private"), ("expired", "expired"))


class PromptWish(serializers.Serializer[Any]):
    """The body that asks."""

    prompt = serializers.CharField(trim_whitespace=False)
    model = serializers.CharField(
        required=False, max_length=200, help_text="provider/model, a bare name or an alias; else the agent's."
    )
    temperature = serializers.FloatField(required=False, min_value=0, max_value=2)
    max_tokens = serializers.IntegerField(required=False, min_value=1, max_value=10_000_000)
    context = serializers.JSONField(  # type: ignore[assignment]  # serializers have a property of this name
        required=False, help_text="A text or any JSON, told before the prompt; or turns, [{role, content}]."
    )
    stream = serializers.BooleanField(required=False, help_text="Wait for GET …/stream, which runs it.")
    agent_id = serializers.CharField(
        required=False, max_length=50, help_text="Whose model, system prompt and parameters are taken."
    )


class PromptRow(serializers.ModelSerializer[Prompt]):
    """A prompt in numbers; nothing of its texts is among them."""

    model = serializers.SerializerMethodField(
        help_text="What answered, or was asked last; until then, what was asked for."
    )
    tokens_used = serializers.IntegerField(help_text="In and out.")
    cost = serializers.SerializerMethodField(help_text="USD, as the ledger has it.")

    def get_model(self, row: Prompt) -> str:
        """Return which model it was."""
        return row.model or row.requested_model

    def get_cost(self, row: Prompt) -> float:
        """Return what it cost, in dollars."""
        return spending.usd(row.cost_usd_micros) or 0.0

    class Meta:
        model = Prompt
        fields = [
            "prompt_id", "status", "error", "agent_id", "task_id", "requested_model", "model", "provider",
            "tokens_used", "input_tokens", "output_tokens", "cost", "latency_ms", "first_token_ms", "is_cached",
            "is_stream", "call_id", "created_by", "created_at", "finished_at",
        ]  # fmt: skip


class PromptAnswer(PromptRow):
    """A prompt with what was answered."""

    response = serializers.SerializerMethodField()
    content_missing = serializers.SerializerMethodField(
        help_text="Why its texts cannot be shown: private (none are kept) or expired; null where they can."
    )

    def get_response(self, row: Prompt) -> str | None:
        """Return what was answered, None before that and where it is not kept."""
        return texts(row)[1]

    def get_content_missing(self, row: Prompt) -> str | None:
        """Return why there are no texts."""
        return book.missing(row)

    class Meta(PromptRow.Meta):
        fields = [*PromptRow.Meta.fields, "response", "content_missing"]


class PromptDocument(PromptAnswer):
    """A prompt with all that is kept of it."""

    prompt = serializers.SerializerMethodField()
    context = serializers.SerializerMethodField()  # type: ignore[assignment]  # as above
    is_response_truncated = serializers.SerializerMethodField(help_text="Whether the answer was longer than is kept.")

    def get_prompt(self, row: Prompt) -> str | None:
        """Return what was asked."""
        return (texts(row)[0] or {}).get("prompt")

    def get_context(self, row: Prompt) -> Any:
        """Return what was said before it."""
        return (texts(row)[0] or {}).get("context")

    def get_is_response_truncated(self, row: Prompt) -> bool:
        """Return whether the end of the answer is missing."""
        content = getattr(row, "content", None)
        return content is not None and content.is_answer_truncated

    class Meta(PromptAnswer.Meta):
        fields = [*PromptAnswer.Meta.fields, "prompt", "context", "is_response_truncated"]


def texts(row: Prompt) -> tuple[dict[str, Any] | None, str | None]:
    """Return what is kept of what a prompt asked and was answered; no answer before it has one."""
    content = getattr(row, "content", None)
    if content is None:
        return None, None
    known: tuple[dict[str, Any] | None, str | None] | None = getattr(row, "_texts", None)
    if known is None:
        known = row._texts = book.opened(content)  # type: ignore[attr-defined]  # opened once for all columns
    asked, answer = known
    return asked, answer if answer or row.status == Prompt.Status.COMPLETED else None
