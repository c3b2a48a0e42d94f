"""REST doors of allowed networks: what organizations may call although it is inside; only superadmins come here."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from orgs import access, networks, rest
from orgs.models import AllowedNetwork, Organization


class NetworkRow(serializers.ModelSerializer[AllowedNetwork]):
    """A network that an organization may call."""

    organization_id = serializers.CharField()

    class Meta:
        model = AllowedNetwork
        fields = ["id", "organization_id", "cidr", "reason", "created_by", "created_at"]


class NewNetwork(serializers.Serializer[Any]):
    """The body that allows a network."""

    organization_id = serializers.CharField(max_length=50)
    cidr = serializers.CharField(max_length=50, help_text="A network such as 10.1.0.0/16, or one address.")
    reason = serializers.CharField(required=False, allow_blank=True, max_length=200)


class Networks(rest.View):
    """`/api/v1/internal/allowed-networks`."""

    @rest.operation(
        NetworkRow,
        shape=rest.Shape.PAGE,
        parameters={"organization_id": rest.Parameter("Only this organization's.")},
    )
    def get(self, request: Request) -> Response:
        """List what is allowed, by organization."""
        access.require_superadmin(request)
        rows = access.narrow(request, AllowedNetwork.objects.all())
        return rest.page(request, rows.order_by("organization_id", "cidr", "pk"), NetworkRow)

    @rest.operation(NetworkRow, body=NewNetwork, status=201, errors=("conflict",))
    def post(self, request: Request) -> Response:
        """Let an organization's channels and providers call a network that lies inside."""
        who = access.require_superadmin(request)
        wish = rest.body(request, NewNetwork)
        home = access.get(request, Organization.objects.all(), field="pk", pk=wish.pop("organization_id"))
        return rest.answer(NetworkRow(networks.allow(home, acting_user=who.user, **wish)).data, status=201)


class OneNetwork(rest.View):
    """`/api/v1/internal/allowed-networks/{id}`."""

    @rest.operation(status=204, shape=rest.Shape.EMPTY)
    def delete(self, request: Request, network_id: str) -> Response:
        """Take the permission back; what is called from now on is checked without it."""
        who = access.require_superadmin(request)
        row = access.get(request, AllowedNetwork.objects.all(), pk=int(network_id))
        networks.refuse(row, acting_user=who.user)
        return Response(status=204)
