"""REST doors of aliases: an organization's own, and those of all organizations."""

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway import aliases
from llm_gateway.models import Alias
from orgs import access, rest
from orgs.authentication import Caller
from orgs.models import Organization


class AliasTarget(serializers.Serializer[Any]):
    """A model that an alias leads to; those with weights share the calls, the others follow in their order."""

    def to_internal_value(self, data: Any) -> Any:
        """Refuse what a target does not have."""
        if isinstance(data, dict) and (unknown := sorted(set(data) - set(self.fields))):
            raise serializers.ValidationError(dict.fromkeys(unknown, "unknown field"))
        return super().to_internal_value(data)

    model = serializers.CharField(max_length=200)
    weight = serializers.FloatField(required=False, min_value=0.000001, max_value=aliases.MAX_WEIGHT)


class AliasRow(serializers.ModelSerializer[Alias]):
    """An alias and what it leads to."""

    organization_id = serializers.CharField(allow_null=True)
    targets = serializers.ListField(child=AliasTarget())

    class Meta:
        model = Alias
        fields = ["alias_id", "organization_id", "alias", "targets", "created_at", "updated_at"]


class AliasChange(serializers.Serializer[Any]):
    """The body that changes an alias."""

    alias = serializers.CharField(required=False, max_length=100)
    targets = serializers.ListField(child=AliasTarget(), required=False, min_length=1, max_length=aliases.MAX_TARGETS)


class NewAlias(AliasChange):
    """The body that makes an alias."""

    alias = serializers.CharField(max_length=100)
    targets = serializers.ListField(child=AliasTarget(), min_length=1, max_length=aliases.MAX_TARGETS)


class GlobalAliases(rest.View):
    """`/api/v1/llm/aliases`."""

    @rest.operation(AliasRow, shape=rest.Shape.PAGE)
    def get(self, request: Request) -> Response:
        """List the aliases of all organizations."""
        access.require_superadmin(request)
        return rest.page(request, _rows(None).order_by("alias"), AliasRow)

    @rest.operation(AliasRow, body=NewAlias, status=201, errors=("conflict",))
    def post(self, request: Request) -> Response:
        """Make an alias that every organization may use."""
        who = access.require_superadmin(request)
        row = aliases.create(None, acting_user=who.user, **rest.body(request, NewAlias))
        return rest.answer(AliasRow(row).data, status=201)


class Aliases(rest.View):
    """`/api/v1/orchestrators/{organization_id}/aliases`."""

    @rest.operation(AliasRow, shape=rest.Shape.PAGE)
    def get(self, request: Request, organization_id: str) -> Response:
        """List the organization's own aliases."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        return rest.page(request, _rows(organization.pk).order_by("alias"), AliasRow)

    @rest.operation(AliasRow, body=NewAlias, status=201, errors=("conflict",))
    def post(self, request: Request, organization_id: str) -> Response:
        """Make an alias of the organization's own."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        who = access.require_admin(request, organization_id)
        row = aliases.create(organization, acting_user=who.user, **rest.body(request, NewAlias))
        return rest.answer(AliasRow(row).data, status=201)


class _OneAlias(rest.View):
    """What both paths of a single alias do."""

    def find(self, request: Request, alias_id: str, organization_id: str = "") -> Alias:
        """Return the alias for a caller that may read it."""
        if not organization_id:
            access.require_superadmin(request)
            return access.get(request, _rows(None), alias_id=alias_id)
        return access.get(request, _rows(organization_id), alias_id=alias_id)

    def administered(self, request: Request, alias_id: str, organization_id: str = "") -> tuple[Alias, Caller]:
        """Return the alias and the caller, who administers it."""
        row = self.find(request, alias_id, organization_id)
        if not organization_id:
            return row, access.require_superadmin(request)
        return row, access.require_admin(request, organization_id)

    @rest.operation(AliasRow)
    def get(self, request: Request, **names: str) -> Response:
        """Return one alias."""
        return rest.answer(AliasRow(self.find(request, **names)).data)

    @rest.operation(AliasRow, body=AliasChange, errors=("conflict",))
    def put(self, request: Request, **names: str) -> Response:
        """Change what the body names."""
        return self.change(request, **names)

    @rest.operation(AliasRow, body=AliasChange, errors=("conflict",))
    def patch(self, request: Request, **names: str) -> Response:
        """Change what the body names."""
        return self.change(request, **names)

    @rest.operation(status=204, shape=rest.Shape.EMPTY)
    def delete(self, request: Request, **names: str) -> Response:
        """Delete the alias."""
        row, who = self.administered(request, **names)
        aliases.delete(row, acting_user=who.user)
        return Response(status=204)

    def change(self, request: Request, **names: str) -> Response:
        """Write the change."""
        row, who = self.administered(request, **names)
        return rest.answer(AliasRow(aliases.update(row, acting_user=who.user, **rest.body(request, AliasChange))).data)


class GlobalAlias(_OneAlias):
    """`/api/v1/llm/aliases/{alias_id}`."""


class OneAlias(_OneAlias):
    """`/api/v1/orchestrators/{organization_id}/aliases/{alias_id}`."""


def _rows(organization_id: str | None) -> QuerySet[Alias]:
    return Alias.objects.filter(organization=organization_id)
