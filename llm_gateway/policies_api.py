"""REST door of an organization's policy: what the gateway keeps of its prompts and answers."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway import policies
from llm_gateway.models.policy import MAX_DAYS
from orgs import access, rest
from orgs.models import Organization


class PolicyWish(serializers.Serializer[Any]):
    """What is to be kept; what is left out is off."""

    is_private = serializers.BooleanField(required=False, default=False)
    keeps_content = serializers.BooleanField(required=False, default=False)
    content_days = serializers.IntegerField(required=False, allow_null=True, min_value=1, max_value=MAX_DAYS)


class PolicyRow(serializers.Serializer[Any]):
    """What is kept of an organization's prompts and answers."""

    organization_id = serializers.CharField()
    is_private = serializers.BooleanField(help_text="Nothing of them stays anywhere, whatever else is set.")
    keeps_content = serializers.BooleanField(help_text="They are kept, sealed, beside the ledger.")
    content_days = serializers.IntegerField(allow_null=True, help_text="null: as long as the installation keeps them.")
    is_kept = serializers.BooleanField(help_text="Whether they are kept, all in all.")
    kept_days = serializers.SerializerMethodField(help_text="For how many days; 0: for ever.")
    updated_at = serializers.DateTimeField(allow_null=True)

    def get_kept_days(self, row: Any) -> int:
        """Return the days that hold."""
        return policies.days(row)


class Policy(rest.View):
    """`/api/v1/orchestrators/{organization_id}/llm-policy`."""

    @rest.operation(PolicyRow)
    def get(self, request: Request, organization_id: str) -> Response:
        """Show what is kept of the organization's prompts and answers."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        return rest.answer(PolicyRow(policies.of(organization)).data)

    @rest.operation(PolicyRow, body=PolicyWish, body_may_be_empty=True)
    def put(self, request: Request, organization_id: str) -> Response:
        """Replace it; it holds within two seconds. What is left out is off, and private deletes what was kept."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        who = access.require_admin(request, organization_id)
        wanted = rest.body(request, PolicyWish, may_be_empty=True)
        return rest.answer(PolicyRow(policies.put(organization, acting_user=who.user, **wanted)).data)
