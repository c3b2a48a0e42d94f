"""REST door of the overview (API §3)."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from monitoring import overview, periods
from orchestrators.models import Instance, Message
from orgs import access, rest
from orgs.models import Organization


class TopOrganization(serializers.Serializer[Any]):
    """An organization and what it cost."""

    organization_id = serializers.CharField()
    name = serializers.CharField()
    cost_usd = serializers.FloatField()


class OverviewRow(serializers.Serializer[Any]):
    """The overview."""

    start_date = serializers.DateTimeField()
    end_date = serializers.DateTimeField()
    organizations = serializers.DictField(child=serializers.IntegerField(), help_text="`total` and by status.")
    orchestrators = serializers.DictField(child=serializers.IntegerField(), help_text="`total` and by status.")
    messages = serializers.DictField(child=serializers.IntegerField(), help_text="Made in the period, by status.")
    requests = serializers.IntegerField(help_text="Calls through the gateway.")
    tokens = serializers.IntegerField(help_text="Tokens of those calls.")
    cost_usd = serializers.FloatField(help_text="What they cost, in US dollars.")
    alerts_open = serializers.IntegerField()
    top_organizations = TopOrganization(many=True, help_text="Up to ten, most expensive first.")


class Overview(rest.View):
    """`/api/v1/controller/overview`."""

    @rest.operation(
        OverviewRow,
        parameters={"organization_id": rest.Parameter("Only this organization's."), **periods.PARAMETERS},
    )
    def get(self, request: Request) -> Response:
        """Count what the caller may see."""
        organizations = access.narrow(request, Organization.objects.all(), field="pk")
        is_all = access.caller(request).is_superadmin and not (self.query["organization_id"] or access.chosen(request))
        built = overview.build(
            organizations=organizations,
            instances=access.narrow(request, Instance.objects.present()),
            messages=access.narrow(request, Message.objects.all(), field="orchestrator__organization_id"),
            scope=None if is_all else list(organizations.values_list("pk", flat=True)),
            period=periods.read(request, self.query),
        )
        return rest.answer(OverviewRow(built).data)
