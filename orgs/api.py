"""REST doors of the registry: organizations."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from orgs import access, organizations, rest
from orgs.models import Organization


class OrganizationRow(serializers.ModelSerializer[Organization]):
    """An organization as published (API §8)."""

    class Meta:
        model = Organization
        fields = [
            "organization_id", "name", "status", "is_active", "is_independent", "settings", "admin_email",
            "support_email", "website", "created_at", "updated_at",
        ]  # fmt: skip


class NewOrganization(serializers.Serializer[Any]):
    """The body that makes an organization."""

    organization_id = serializers.CharField(max_length=50)
    name = serializers.CharField(max_length=200)
    status = serializers.ChoiceField(Organization.Status.choices, required=False)
    settings = serializers.DictField(required=False)
    admin_email = serializers.EmailField(required=False, allow_blank=True)
    support_email = serializers.EmailField(required=False, allow_blank=True)
    website = serializers.URLField(required=False, allow_blank=True)


class Organizations(rest.View):
    """`/api/v1/controller/organizations`."""

    @rest.operation(OrganizationRow, body=NewOrganization, status=201, errors=("conflict",))
    def post(self, request: Request) -> Response:
        """Make an organization (superadmin)."""
        who = access.require_superadmin(request)
        row = organizations.create(acting_user=who.user, **rest.body(request, NewOrganization))
        return rest.answer(OrganizationRow(row).data, status=201)
