"""REST doors of prices of one's own: an organization's (API §6) and those for everybody (superadmins, §9)."""

from typing import Any, Final

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway import prices
from llm_gateway.models import Price
from orgs import access, rest
from orgs.models import Organization

MAX_USD: Final = 1_000_000


def usd(*, is_optional: bool = False) -> serializers.DecimalField:
    """Return a field for dollars per million tokens."""
    options: dict[str, Any] = {"required": False, "allow_null": True} if is_optional else {}
    return serializers.DecimalField(
        max_digits=14, decimal_places=6, min_value=0, max_value=MAX_USD, coerce_to_string=False, **options
    )


class PriceFields(serializers.Serializer[Any]):
    """What a model's tokens cost; cached and written tokens cost what input does unless said."""

    model = serializers.CharField(max_length=200)
    input_usd_per_million = usd()
    output_usd_per_million = usd()
    cached_input_usd_per_million = usd(is_optional=True)
    cache_write_usd_per_million = usd(is_optional=True)


class PriceRow(PriceFields):
    """A price as it is set."""

    price_id = serializers.CharField()
    organization_id = serializers.CharField(allow_null=True, help_text="null: for every organization.")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class Prices(rest.View):
    """`/api/v1/orchestrators/{organization_id}/prices`."""

    @rest.operation(PriceRow, shape=rest.Shape.PAGE)
    def get(self, request: Request, organization_id: str) -> Response:
        """List the organization's own prices, by model."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        return rest.page(request, Price.objects.filter(organization=organization), PriceRow)

    @rest.operation(PriceRow, body=PriceFields, status=201, errors=("conflict",))
    def post(self, request: Request, organization_id: str) -> Response:
        """Set what a model costs the organization."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        who = access.require_admin(request, organization_id)
        row = prices.create(organization, acting_user=who.user, **rest.body(request, PriceFields))
        return rest.answer(PriceRow(row).data, status=201)


class OnePrice(rest.View):
    """`/api/v1/orchestrators/{organization_id}/prices/{id}`."""

    @rest.operation(PriceRow)
    def get(self, request: Request, organization_id: str, price_id: str) -> Response:
        """Show one price."""
        return rest.answer(PriceRow(_get(request, organization_id, price_id)).data)

    @rest.operation(PriceRow, body=PriceFields, errors=("conflict",))
    def put(self, request: Request, organization_id: str, price_id: str) -> Response:
        """Replace a price; calls that are over keep the one they were made at."""
        row = _get(request, organization_id, price_id)
        who = access.require_admin(request, organization_id)
        return rest.answer(PriceRow(prices.update(row, acting_user=who.user, **_whole(request))).data)

    @rest.operation(status=204, shape=rest.Shape.EMPTY)
    def delete(self, request: Request, organization_id: str, price_id: str) -> Response:
        """Remove a price: the one for everybody, or the published one, counts again."""
        row = _get(request, organization_id, price_id)
        prices.delete(row, acting_user=access.require_admin(request, organization_id).user)
        return Response(status=204)


class PricesForAll(rest.View):
    """`/api/v1/llm/prices`."""

    @rest.operation(PriceRow, shape=rest.Shape.PAGE)
    def get(self, request: Request) -> Response:
        """List the prices that hold for every organization."""
        access.require_superadmin(request)
        return rest.page(request, _for_all(), PriceRow)

    @rest.operation(PriceRow, body=PriceFields, status=201, errors=("conflict",))
    def post(self, request: Request) -> Response:
        """Set what a model costs every organization that has no price of its own."""
        who = access.require_superadmin(request)
        row = prices.create(None, acting_user=who.user, **rest.body(request, PriceFields))
        return rest.answer(PriceRow(row).data, status=201)


class OnePriceForAll(rest.View):
    """`/api/v1/llm/prices/{id}`."""

    @rest.operation(PriceRow)
    def get(self, request: Request, price_id: str) -> Response:
        """Show one price."""
        access.require_superadmin(request)
        return rest.answer(PriceRow(access.get(request, _for_all(), price_id=price_id)).data)

    @rest.operation(PriceRow, body=PriceFields, errors=("conflict",))
    def put(self, request: Request, price_id: str) -> Response:
        """Replace a price."""
        who = access.require_superadmin(request)
        row = access.get(request, _for_all(), price_id=price_id)
        return rest.answer(PriceRow(prices.update(row, acting_user=who.user, **_whole(request))).data)

    @rest.operation(status=204, shape=rest.Shape.EMPTY)
    def delete(self, request: Request, price_id: str) -> Response:
        """Remove a price."""
        who = access.require_superadmin(request)
        prices.delete(access.get(request, _for_all(), price_id=price_id), acting_user=who.user)
        return Response(status=204)


def _for_all() -> QuerySet[Price]:
    return Price.objects.filter(organization=None)


def _get(request: Request, organization_id: str, price_id: str) -> Price:
    return access.get(request, Price.objects.filter(organization=organization_id), price_id=price_id)


def _whole(request: Request) -> dict[str, Any]:
    """Return all of a price: what the body leaves out is not set."""
    return dict.fromkeys(prices.FIELDS) | rest.body(request, PriceFields)
