"""REST doors of the ledger: an organization's calls, and one of them with its attempts and what was kept of it."""

from typing import Any, Final

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway.models import Attempt, Call
from llm_gateway.watching import contents
from orgs import access, rest, spending
from orgs.models import Organization

EXACT: Final = {"status": "status", "provider": "provider", "model": "model", "api_key": "key_id", "surface": "surface"}


class CallRow(serializers.ModelSerializer[Call]):
    """A call of the ledger."""

    cost_usd = serializers.SerializerMethodField()

    def get_cost_usd(self, row: Call) -> float:
        """Return what it cost, in dollars."""
        return spending.usd(row.cost_usd_micros) or 0.0

    class Meta:
        model = Call
        fields = [
            "call_id", "organization_id", "status", "error", "surface", "requested_model", "provider", "model",
            "key_id", "user", "orchestrator_id", "is_stream", "is_cached", "is_estimated", "input_tokens",
            "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens", "cost_usd",
            "latency_ms", "first_token_ms", "attempts", "started_at", "finished_at",
        ]  # fmt: skip


class AttemptRow(serializers.ModelSerializer[Attempt]):
    """One request to a provider."""

    class Meta:
        model = Attempt
        fields = ["number", "provider", "model", "http_status", "error", "latency_ms", "first_token_ms", "started_at"]


class ContentRow(serializers.Serializer[Any]):
    """What a call asked and was answered."""

    request = serializers.CharField(help_text="The request's body, JSON.")
    answer = serializers.CharField(help_text="The answer's body; of a stream, what it said.")
    is_request_truncated = serializers.BooleanField(help_text="Whether the request was longer than what is kept.")
    is_answer_truncated = serializers.BooleanField(help_text="Whether the answer was longer than what is kept.")
    kept_at = serializers.DateTimeField()


class CallDetail(CallRow):
    """A call with its attempts and its content."""

    tries = AttemptRow(many=True)
    has_content = serializers.BooleanField(help_text="Whether prompt and answer were kept.")
    content = ContentRow(allow_null=True, help_text="null: nothing was kept, or the caller is no admin.")

    class Meta(CallRow.Meta):
        fields = [*CallRow.Meta.fields, "tries", "has_content", "content"]


class Calls(rest.View):
    """`/api/v1/orchestrators/{organization_id}/llm/calls`."""

    @rest.operation(
        CallRow,
        shape=rest.Shape.PAGE,
        parameters={
            "status": rest.one_of(list(Call.Status.values), "Only calls that stand so."),
            "provider": rest.Parameter("Only calls that this provider answered."),
            "model": rest.Parameter("Only calls of this model, by the provider's name for it."),
            "api_key": rest.Parameter("Only calls with this key (its key_id)."),
            "surface": rest.Parameter("Only calls of this surface, such as messages."),
            "since": rest.Parameter("From this moment on.", "date-time"),
            "until": rest.Parameter("Until before this moment.", "date-time"),
        },
    )
    def get(self, request: Request, organization_id: str) -> Response:
        """List the organization's calls, newest first; nothing of their content is among it."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        rows = _rows(organization).filter(
            **{field: self.query[name] for name, field in EXACT.items() if self.query[name]}
        )
        if since := self.query["since"]:
            rows = rows.filter(started_at__gte=since)
        if until := self.query["until"]:
            rows = rows.filter(started_at__lt=until)
        return rest.page(request, rows, CallRow)


class OneCall(rest.View):
    """`/api/v1/orchestrators/{organization_id}/llm/calls/{call_id}`."""

    @rest.operation(CallDetail)
    def get(self, request: Request, organization_id: str, call_id: str) -> Response:
        """Show one call with its attempts; admins also see its content, where that was kept."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        row: Any = access.get(request, _rows(organization).prefetch_related("tries"), call_id=call_id)
        kept = contents.find(organization.pk, call_id)
        row.has_content = kept is not None
        is_admin = access.caller(request).may_write(organization.pk)
        row.content = contents.opened(kept) if kept is not None and is_admin else None
        return rest.answer(CallDetail(row).data)


def _rows(organization: Organization) -> QuerySet[Call]:
    return Call.objects.filter(organization_id=organization.pk)
