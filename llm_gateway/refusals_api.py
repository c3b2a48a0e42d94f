"""REST door of refused calls: how often an organization's calls ended before they came to the ledger, and why."""

from typing import Any, Final

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway.models import Refusal
from orgs import access, rest
from orgs.models import Organization

EXACT: Final = {"code": "code", "api_key": "key_id", "model": "requested_model"}


class RefusalRow(serializers.ModelSerializer[Refusal]):
    """The refused calls of one minute, one key, one model and one code."""

    organization_id = serializers.CharField()
    requested_model = serializers.CharField(
        help_text='The model that was asked for; "" where it leads nowhere, and where too many are told apart.'
    )

    class Meta:
        model = Refusal
        fields = ["organization_id", "minute_at", "code", "key_id", "requested_model", "count", "last_at"]


class Refusals(rest.View):
    """`/api/v1/orchestrators/{organization_id}/llm/refusals`."""

    @rest.operation(
        RefusalRow,
        shape=rest.Shape.PAGE,
        parameters={
            "code": rest.Parameter("Only calls that were refused with this code, such as insufficient_quota."),
            "api_key": rest.Parameter("Only calls with this key (its key_id)."),
            "model": rest.Parameter("Only calls of this model, as asked for."),
            "since": rest.Parameter("From this moment on; a minute counts by its beginning.", "date-time"),
            "until": rest.Parameter("Until before this moment.", "date-time"),
        },
    )
    def get(self, request: Request, organization_id: str) -> Response:
        """List the organization's refused calls by the minute, newest first."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        wanted: dict[str, Any] = {field: self.query[name] for name, field in EXACT.items() if self.query[name]}
        rows = Refusal.objects.filter(organization=organization, **wanted)
        if since := self.query["since"]:
            rows = rows.filter(minute_at__gte=since)
        if until := self.query["until"]:
            rows = rows.filter(minute_at__lt=until)
        return rest.page(request, rows, RefusalRow)
