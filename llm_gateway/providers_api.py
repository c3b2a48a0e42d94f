"""REST doors of providers: an organization's own, and those of all organizations. Keys go in and never come out."""

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway import providers, trials
from llm_gateway.models import Provider
from orgs import access, rest, sealed
from orgs.authentication import Caller
from orgs.models import Organization


class ProviderRow(serializers.ModelSerializer[Provider]):
    """A provider; of `api_key` the last four characters are shown."""

    organization_id = serializers.CharField(allow_null=True)
    api_key = serializers.SerializerMethodField()
    models = serializers.ListField(source="known_models", child=serializers.CharField())
    enabled = serializers.BooleanField(source="is_enabled")

    class Meta:
        model = Provider
        fields = [
            "provider_id", "organization_id", "name", "dialect", "base_url", "api_key", "auth", "models",
            "enabled", "is_local", "priority", "created_at", "updated_at",
        ]  # fmt: skip

    def get_api_key(self, row: Provider) -> str:
        """Mask the key."""
        return str(sealed.masked(row)["api_key"])


class ProviderChange(serializers.Serializer[Any]):
    """The body that changes a provider. An address at another host clears the key, unless one is sent along."""

    name = serializers.CharField(required=False, max_length=50)
    dialect = serializers.ChoiceField(Provider.Dialect.choices, required=False)
    base_url = serializers.CharField(required=False, allow_blank=True, max_length=2000)
    api_key = serializers.CharField(
        required=False, allow_blank=True, max_length=4000, trim_whitespace=False, write_only=True
    )
    models = serializers.ListField(
        source="known_models", child=serializers.CharField(max_length=200), required=False, max_length=500
    )
    auth = serializers.ChoiceField(
        Provider.Auth.choices, required=False, help_text="The header that the key goes in; Azure's is `api-key`."
    )
    enabled = serializers.BooleanField(source="is_enabled", required=False)
    is_local = serializers.BooleanField(required=False)
    priority = serializers.IntegerField(
        required=False, min_value=-providers.MAX_PRIORITY, max_value=providers.MAX_PRIORITY
    )


class NewProvider(ProviderChange):
    """The body that makes a provider."""

    name = serializers.CharField(max_length=50)
    dialect = serializers.ChoiceField(Provider.Dialect.choices)


class ProviderTrial(serializers.Serializer[Any]):
    """The body of a test call: which model to ask; without one, the first that the provider names."""

    model = serializers.CharField(required=False, max_length=200)


class ProviderTrialRow(serializers.Serializer[Any]):
    """What became of a test call."""

    is_working = serializers.BooleanField()
    model = serializers.CharField(allow_blank=True)
    error = serializers.CharField(allow_blank=True)
    duration_ms = serializers.IntegerField()


class GlobalProviders(rest.View):
    """`/api/v1/llm/providers`."""

    @rest.operation(ProviderRow, shape=rest.Shape.PAGE)
    def get(self, request: Request) -> Response:
        """List the providers of all organizations, the first to answer first."""
        access.require_superadmin(request)
        return rest.page(request, _rows(None).order_by("-priority", "name"), ProviderRow)

    @rest.operation(ProviderRow, body=NewProvider, status=201, errors=("destination_not_allowed", "conflict"))
    def post(self, request: Request) -> Response:
        """Make a provider that every organization may call."""
        who = access.require_superadmin(request)
        return _made(None, who, rest.body(request, NewProvider))


class Providers(rest.View):
    """`/api/v1/orchestrators/{organization_id}/providers`."""

    @rest.operation(ProviderRow, shape=rest.Shape.PAGE)
    def get(self, request: Request, organization_id: str) -> Response:
        """List the organization's own providers, the first to answer first."""
        _home(request, organization_id)
        return rest.page(request, _rows(organization_id).order_by("-priority", "name"), ProviderRow)

    @rest.operation(ProviderRow, body=NewProvider, status=201, errors=("destination_not_allowed", "conflict"))
    def post(self, request: Request, organization_id: str) -> Response:
        """Make a provider of the organization's own."""
        organization, who = _home(request, organization_id)
        return _made(organization, who, rest.body(request, NewProvider))


class _OneProvider(rest.View):
    """What both paths of a single provider do."""

    def find(self, request: Request, provider_id: str, organization_id: str = "") -> tuple[Provider, Caller]:
        """Return the provider and the caller, who administers it."""
        if not organization_id:
            who = access.require_superadmin(request)
            return access.get(request, _rows(None), provider_id=provider_id), who
        _, who = _home(request, organization_id)
        return access.get(request, _rows(organization_id), provider_id=provider_id), who

    @rest.operation(ProviderRow)
    def get(self, request: Request, **names: str) -> Response:
        """Return one provider."""
        return rest.answer(ProviderRow(self.find(request, **names)[0]).data)

    @rest.operation(ProviderRow, body=ProviderChange, errors=("destination_not_allowed", "conflict"))
    def put(self, request: Request, **names: str) -> Response:
        """Change what the body names; the rest stays."""
        return self.change(request, **names)

    @rest.operation(ProviderRow, body=ProviderChange, errors=("destination_not_allowed", "conflict"))
    def patch(self, request: Request, **names: str) -> Response:
        """Change what the body names; the rest stays."""
        return self.change(request, **names)

    @rest.operation(status=204, shape=rest.Shape.EMPTY)
    def delete(self, request: Request, **names: str) -> Response:
        """Delete the provider with its key."""
        row, who = self.find(request, **names)
        providers.delete(row, acting_user=who.user)
        return Response(status=204)

    def change(self, request: Request, **names: str) -> Response:
        """Write the change."""
        row, who = self.find(request, **names)
        wish = rest.body(request, ProviderChange)
        row = providers.update(row, acting_user=who.user, is_superadmin=who.is_superadmin, **wish)
        return rest.answer(ProviderRow(row).data)


class GlobalProvider(_OneProvider):
    """`/api/v1/llm/providers/{provider_id}`."""


class OneProvider(_OneProvider):
    """`/api/v1/orchestrators/{organization_id}/providers/{provider_id}`."""


class _Test(_OneProvider):
    """What both paths of a test call do."""

    http_method_names = ["post"]

    @rest.operation(ProviderTrialRow, body=ProviderTrial, body_may_be_empty=True)
    def post(self, request: Request, **names: str) -> Response:
        """Ask the provider for one token, and tell what became of it."""
        row, who = self.find(request, **names)
        wish = rest.body(request, ProviderTrial, may_be_empty=True)
        trial = trials.try_out(row, model=wish.get("model", ""))
        providers.record_test(row, acting_user=who.user, is_working=trial.is_working, error=trial.error)
        return rest.answer(ProviderTrialRow(trial).data)


class GlobalTest(_Test):
    """`/api/v1/llm/providers/{provider_id}/test`."""


class Test(_Test):
    """`/api/v1/orchestrators/{organization_id}/providers/{provider_id}/test`."""


def _rows(organization_id: str | None) -> QuerySet[Provider]:
    return Provider.objects.filter(organization=organization_id)


def _home(request: Request, organization_id: str) -> tuple[Organization, Caller]:
    """Return the organization for a caller that administers it; providers are not shown to others."""
    organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
    return organization, access.require_admin(request, organization.pk)


def _made(organization: Organization | None, who: Caller, wish: dict[str, Any]) -> Response:
    row = providers.create(organization, acting_user=who.user, is_superadmin=who.is_superadmin, **wish)
    return rest.answer(ProviderRow(row).data, status=201)
