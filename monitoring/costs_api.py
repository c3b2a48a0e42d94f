"""REST door of costs (API §3)."""

from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway.money.spending import GRANULARITIES
from monitoring import costs, periods, scope
from monitoring.costs import GROUPS, Wish
from orgs import access, rest


class CostNumbers(serializers.Serializer[Any]):
    """What some calls came to."""

    cost = serializers.FloatField(help_text="US dollars, exact to the micro-dollar.")
    token_count = serializers.IntegerField()
    request_count = serializers.IntegerField(help_text="Calls that were billed.")
    failed_count = serializers.IntegerField(help_text="The others.")


class CostLine(CostNumbers):
    """What the calls of one organization, model, provider or key came to."""

    dimension = serializers.CharField()
    dimension_value = serializers.CharField(allow_blank=True)
    cost_per_request = serializers.FloatField(allow_null=True)
    trend = serializers.FloatField(
        allow_null=True, help_text="Percent against the period of the same length before; null where that cost nothing."
    )


class CostPoint(CostNumbers):
    """What the calls of one hour, day, week or month came to; those without calls are left out."""

    start = serializers.DateTimeField()


class Forecast(serializers.Serializer[Any]):
    """What the calendar month (UTC) will have cost."""

    end_of_period_cost = serializers.FloatField()
    low = serializers.FloatField()
    high = serializers.FloatField()
    method = serializers.CharField()


class CostsRow(serializers.Serializer[Any]):
    """What calls of models cost."""

    start_date = serializers.DateTimeField()
    end_date = serializers.DateTimeField()
    total_cost = serializers.FloatField(help_text="US dollars, exact to the micro-dollar; calls are rounded half up.")
    saved_by_cache = serializers.FloatField(help_text="What answers had cost that the cache gave again.")
    currency = serializers.CharField()
    request_count = serializers.IntegerField(help_text="Calls that were billed.")
    failed_count = serializers.IntegerField(help_text="The others.")
    token_count = serializers.IntegerField()
    cost_breakdown = CostLine(many=True, help_text="Most expensive first.")
    series = CostPoint(many=True)
    forecast = Forecast(allow_null=True, help_text="null when not asked for, or after fewer than three days of calls.")


class Costs(rest.View):
    """`/api/v1/controller/costs`."""

    @rest.operation(
        CostsRow,
        parameters={
            "granularity": rest.one_of(list(GRANULARITIES), "Of `series`; day unless said."),
            "group_by": rest.one_of(list(GROUPS), "Of `cost_breakdown`; organization unless said."),
            "organization_id": rest.Parameter("Only this organization's."),
            "organization_ids": rest.Parameter("Only these organizations', separated by commas."),
            "include_forecast": rest.Parameter("Whether to add a forecast for the month.", "boolean", default=False),
            **periods.PARAMETERS,
        },
    )
    def get(self, request: Request) -> Response:
        """Add up what the caller's organizations spent on calls of models."""
        wish = Wish(
            self.organizations(request),
            periods.read(request, self.query),
            self.query["group_by"] or "organization",
            self.query["granularity"] or "day",
        )
        built = costs.report(wish, now=timezone.now(), with_forecast=self.query["include_forecast"])
        return rest.answer(CostsRow(built).data)

    def organizations(self, request: Request) -> list[str] | None:
        """Return whose costs to add up (None: all); a foreign or unknown one is 404."""
        found = scope.organizations(request, self.query["organization_id"])
        named = [name for name in (self.query["organization_ids"] or "").split(",") if name]
        for name in named:
            access.check(request, name)
        if not named:
            return found
        return [name for name in named if found is None or name in found]
