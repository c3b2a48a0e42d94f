"""REST door of an organization's budget and limits (API §6)."""

from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway.money import budgets
from orgs import access, rest, spending
from orgs.models import Organization
from orgs.spending_forms import LimitFields, Limits


class Standing(LimitFields):
    """A limit, and how its budget stands in the window that runs."""

    spent_usd = serializers.FloatField()
    reserved_usd = serializers.FloatField(help_text="What processes hold for calls under way and the next ones.")
    left_usd = serializers.FloatField(allow_null=True, help_text="null: there is no budget.")
    window_starts_at = serializers.DateTimeField(allow_null=True)
    window_ends_at = serializers.DateTimeField(allow_null=True, help_text="null: it does not end.")


class ModelStanding(Standing):
    """The limit of one model for all calls of the organization."""

    model = serializers.CharField()


class BudgetRow(Standing):
    """An organization's limits and those of its models."""

    organization_id = serializers.CharField()
    by_model = ModelStanding(many=True)


class Budget(rest.View):
    """`/api/v1/orchestrators/{organization_id}/budget`."""

    @rest.operation(BudgetRow)
    def get(self, request: Request, organization_id: str) -> Response:
        """Show the organization's limits, and what of its budget is spent, reserved and left."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        return self.answer(organization)

    @rest.operation(BudgetRow, body=Limits, body_may_be_empty=True)
    def put(self, request: Request, organization_id: str) -> Response:
        """Replace the limits; what is left out is not limited any more. They hold within five seconds."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        who = access.require_admin(request, organization_id)
        wanted: dict[str, Any] = rest.body(request, Limits, may_be_empty=True)
        spending.put(organization, acting_user=who.user, **wanted)
        return self.answer(organization)

    @staticmethod
    def answer(organization: Organization) -> Response:
        """Show how the budget stands now."""
        return rest.answer(BudgetRow(budgets.report(organization, now=timezone.now())).data)
