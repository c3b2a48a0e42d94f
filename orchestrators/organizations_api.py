"""REST doors of the registry: organizations (API §3). They live beside the fleet, which follows every change."""

from typing import Any, Final

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from moolai.errors import Forbidden
from orchestrators import tenants
from orgs import access, rest
from orgs.models import Organization
from orgs.models.organization import validate_identifier
from orgs.names import NameText

GOVERNED: Final = {"status", "is_active"}  # what only a superadmin changes


class OrganizationRow(serializers.ModelSerializer[Organization]):
    """An organization as published (API §8)."""

    class Meta:
        model = Organization
        fields = [
            "organization_id", "name", "status", "is_active", "is_independent", "settings", "admin_email",
            "support_email", "website", "created_at", "updated_at",
        ]  # fmt: skip


class OrganizationChange(serializers.Serializer[Any]):
    """The body that changes some columns of an organization."""

    name = NameText(required=False)
    status = serializers.ChoiceField(Organization.Status.choices, required=False)
    is_active = serializers.BooleanField(required=False)
    is_independent = serializers.BooleanField(required=False)
    settings = serializers.DictField(required=False)
    admin_email = serializers.EmailField(required=False, allow_blank=True, max_length=254)
    support_email = serializers.EmailField(required=False, allow_blank=True, max_length=254)
    website = serializers.URLField(required=False, allow_blank=True, max_length=200)


class OrganizationReplacement(OrganizationChange):
    """The body that replaces them all: what it leaves out goes back to its default."""

    name = NameText()


class NewOrganization(OrganizationReplacement):
    """The body that makes an organization."""

    organization_id = serializers.CharField(max_length=50, validators=[validate_identifier])


class Organizations(rest.View):
    """`/api/v1/controller/organizations`, also `/api/v1/organizations`."""

    @rest.operation(
        OrganizationRow,
        shape=rest.Shape.PAGE,
        parameters={
            "status": rest.one_of(Organization.Status.values),
            "search": rest.Parameter("Part of the id or the name."),
        },
    )
    def get(self, request: Request) -> Response:
        """List the organizations by id."""
        rows = access.narrow(request, Organization.objects.all(), field="pk")
        if status := self.query["status"]:
            rows = rows.filter(status=status)
        if search := self.query["search"]:
            rows = rows.filter(organization_id__icontains=search) | rows.filter(name__icontains=search)
        return rest.page(request, rows.order_by("pk"), OrganizationRow)

    @rest.operation(OrganizationRow, body=NewOrganization, status=201, errors=("conflict",))
    def post(self, request: Request) -> Response:
        """Make an organization (superadmin)."""
        who = access.require_superadmin(request)
        row = tenants.create(acting_user=who.user, **rest.body(request, NewOrganization))
        return rest.answer(OrganizationRow(row).data, status=201)


class OneOrganization(rest.View):
    """`/api/v1/controller/organizations/{id}`, also `/api/v1/organizations/{id}`."""

    @rest.operation(OrganizationRow)
    def get(self, request: Request, organization_id: str) -> Response:
        """Return one organization."""
        return rest.answer(OrganizationRow(_get(request, organization_id)).data)

    @rest.operation(OrganizationRow, body=OrganizationReplacement)
    def put(self, request: Request, organization_id: str) -> Response:
        """Replace what the caller may write; what the body leaves out goes back to its default."""
        row = _get(request, organization_id)
        who = access.require_admin(request, organization_id)
        wish = _wish(request, OrganizationReplacement)
        writable = set(OrganizationChange().fields) - (set() if who.is_superadmin else GOVERNED)
        defaults = {name: Organization._meta.get_field(name).get_default() for name in writable}  # type: ignore[union-attr]
        row = tenants.update(row, acting_user=who.user, **defaults | wish)
        return rest.answer(OrganizationRow(row).data)

    @rest.operation(OrganizationRow, body=OrganizationChange)
    def patch(self, request: Request, organization_id: str) -> Response:
        """Change what the body names; an administrator leaves `status` and `is_active` to a superadmin."""
        row = _get(request, organization_id)
        who = access.require_admin(request, organization_id)
        row = tenants.update(row, acting_user=who.user, **_wish(request, OrganizationChange))
        return rest.answer(OrganizationRow(row).data)

    @rest.operation(status=204, shape=rest.Shape.EMPTY, errors=("conflict",))
    def delete(self, request: Request, organization_id: str) -> Response:
        """Delete it with its orchestrators, keys and memberships (superadmin), unless an orchestrator is connected."""
        row = _get(request, organization_id)
        who = access.require_superadmin(request)
        tenants.delete(row, acting_user=who.user)
        return Response(status=204)


class OrganizationHealthRow(serializers.Serializer[Any]):
    """How an organization's orchestrators are."""

    organization_id = serializers.CharField()
    status = serializers.ChoiceField(["healthy", "degraded", "unhealthy"])
    orchestrators = serializers.DictField(child=serializers.IntegerField(), help_text="`total` and by status.")
    connected = serializers.IntegerField(help_text="Open sessions.")
    silent = serializers.IntegerField(help_text="Active ones without a session or a heartbeat within their TTL.")
    pending_messages = serializers.IntegerField(help_text="Queued or sent, and not acknowledged.")


class OrganizationHealth(rest.View):
    """`/api/v1/orchestrators/{organization_id}/health`."""

    rate = None

    @rest.operation(OrganizationHealthRow)
    def get(self, request: Request, organization_id: str) -> Response:
        """Answer how the organization's orchestrators are."""
        return rest.answer(
            OrganizationHealthRow(tenants.health(_get(request, organization_id), now=timezone.now())).data
        )


def _get(request: Request, organization_id: str) -> Organization:
    return access.get(request, Organization.objects.all(), field="pk", pk=organization_id)


def _wish(request: Request, serializer: type[OrganizationChange]) -> dict[str, Any]:
    """Return the body; an administrator's must not name what only a superadmin changes."""
    wish = rest.body(request, serializer)
    if GOVERNED & set(wish) and not access.caller(request).is_superadmin:
        raise Forbidden(detail="Only a superadmin changes status and is_active.")
    return wish
