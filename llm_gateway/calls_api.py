"""REST doors of the ledger: an organization's calls, and one of them with its attempts and what was kept of it."""

import logging
from typing import Any, Final

from django.db.models import Q, QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway.models import Attempt, Call, CallContent
from llm_gateway.watching import contents
from orgs import access, rest, spending, vault
from orgs.models import Organization

logger = logging.getLogger(__name__)
NOT_KEPT: Final = "not_kept"
ADMINS_ONLY: Final = "admins_only"
UNREADABLE: Final = "unreadable"
EXACT: Final = {"status": "status", "provider": "provider", "api_key": "key_id", "surface": "surface"}


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
        fields = [
            "number",
            "provider",
            "model",
            "http_status",
            "error",
            "provider_request_id",
            "latency_ms",
            "first_token_ms",
            "started_at",
        ]


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
    content = ContentRow(allow_null=True, help_text="null: `content_reason` says why.")
    content_reason = serializers.ChoiceField(
        choices=["", NOT_KEPT, ADMINS_ONLY, UNREADABLE],
        help_text="Why there is no content: nothing was kept, the caller is no admin, or no key opens it any more.",
    )

    class Meta(CallRow.Meta):
        fields = [*CallRow.Meta.fields, "tries", "has_content", "content", "content_reason"]


class Calls(rest.View):
    """`/api/v1/orchestrators/{organization_id}/llm/calls`."""

    @rest.operation(
        CallRow,
        shape=rest.Shape.PAGE,
        parameters={
            "status": rest.one_of(list(Call.Status.values), "Only calls that stand so."),
            "provider": rest.Parameter("Only calls that this provider answered, or failed last."),
            "model": rest.Parameter(
                "Only calls of this model: as asked for (also an alias), as its provider names it, or provider/model."
            ),
            "api_key": rest.Parameter("Only calls with this key (its key_id)."),
            "surface": rest.Parameter("Only calls of this surface, such as chat/completions or messages."),
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
        if model := self.query["model"]:
            provider, _, name = model.partition("/")
            rows = rows.filter(Q(requested_model=model) | Q(model=model) | Q(provider=provider, model=name))
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
        row.content, row.content_reason = _content(kept, is_admin=is_admin)
        return rest.answer(CallDetail(row).data)


def _content(kept: CallContent | None, *, is_admin: bool) -> tuple[contents.Opened | None, str]:
    """Return what a reader sees of a call's content, and why that is nothing."""
    if kept is None or not is_admin:
        return None, NOT_KEPT if kept is None else ADMINS_ONLY
    try:
        return contents.opened(kept), ""
    except vault.Unreadable:
        logger.error("the content of call %s cannot be opened: ENCRYPTION_KEY is another one", kept.pk)
        return None, UNREADABLE


def _rows(organization: Organization) -> QuerySet[Call]:
    return Call.objects.filter(organization_id=organization.pk)
