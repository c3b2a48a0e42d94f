"""REST doors of orchestrators that hold no socket: register, heartbeat, deregister (API §4). Success is flat."""

from typing import Any, Final

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from moolai.errors import Forbidden, NotFound
from orchestrators import plain_http
from orchestrators.models import Instance
from orgs import access, rest
from orgs.models import Organization
from orgs.names import NameText

ENDPOINTS: Final = "/api/v1/internal/orchestrators"


class Registration(serializers.Serializer[Any]):
    """The body of register."""

    orchestrator_id = serializers.CharField(max_length=50)
    organization_id = serializers.CharField(max_length=50)
    name = NameText()
    internal_url = serializers.CharField(max_length=2000)
    database_url = serializers.CharField(max_length=2000)
    redis_url = serializers.CharField(max_length=2000, required=False, allow_blank=True)
    container_id = serializers.CharField(max_length=200, required=False, allow_blank=True)
    image_name = serializers.CharField(max_length=300, required=False, allow_blank=True)
    environment_variables = serializers.DictField(
        child=serializers.CharField(allow_blank=True, trim_whitespace=False), required=False
    )
    monitoring = serializers.BooleanField(required=False)


class Beat(serializers.Serializer[Any]):
    """The body of a heartbeat."""

    orchestrator_id = serializers.CharField(max_length=50)
    status = serializers.ChoiceField(["active", "degraded", "error"])
    health_status = serializers.ChoiceField(["healthy", "degraded", "unhealthy"])


class Endpoints(serializers.Serializer[Any]):
    """Where to call next."""

    heartbeat = serializers.CharField()
    deregister = serializers.CharField()


class Life(serializers.Serializer[Any]):
    """What each of the three calls answers."""

    success = serializers.BooleanField()
    message = serializers.CharField()
    orchestrator_id = serializers.CharField()
    organization_id = serializers.CharField()
    status = serializers.ChoiceField(Instance.Status.choices)
    controller_endpoints = Endpoints()


class FleetView(rest.View):
    """A call that a whole fleet may make with one key."""

    is_counted_by_address = True


class Register(FleetView):
    """`/api/v1/internal/orchestrators/register`."""

    @rest.operation(Life, body=Registration, shape=rest.Shape.FLAT)
    def post(self, request: Request) -> Response:
        """Make or renew the instance and call it alive."""
        wish = rest.body(request, Registration)
        orchestrator_id, organization_id = wish.pop("orchestrator_id"), wish.pop("organization_id")
        key = access.caller(request).key
        instance = plain_http.register(
            orchestrator_id,
            organization=_organization(request, organization_id, orchestrator_id=orchestrator_id),
            fields=wish,
            may_create=key is None or not key.orchestrator_id,
            acting_user=access.caller(request).user,
        )
        return _answer(instance, "Registered.")


class Heartbeat(FleetView):
    """`/api/v1/internal/orchestrators/heartbeat`."""

    @rest.operation(Life, body=Beat, shape=rest.Shape.FLAT)
    def post(self, request: Request) -> Response:
        """Note that the instance is alive, and how it is."""
        wish = rest.body(request, Beat)
        orchestrator_id = _own(request, wish["orchestrator_id"])
        instance = plain_http.heartbeat(orchestrator_id, status=wish["status"], health_status=wish["health_status"])
        return _answer(instance, "Heartbeat received.")


class Deregister(FleetView):
    """`/api/v1/internal/orchestrators/{id}/deregister`."""

    @rest.operation(Life, shape=rest.Shape.FLAT)
    def delete(self, request: Request, orchestrator_id: str) -> Response:
        """Note a clean leave; the instance stays in the registry."""
        orchestrator_id = _own(request, orchestrator_id)
        instance = plain_http.deregister(orchestrator_id, acting_user=access.caller(request).user)
        return _answer(instance, "Deregistered.")


def _own(request: Request, orchestrator_id: str) -> str:
    """Return the id when it names an instance the caller may speak for; a foreign one is as absent as a missing one."""
    row = Instance.objects.present().filter(orchestrator_id=orchestrator_id).first()
    _organization(request, row.organization_id if row else "", orchestrator_id=orchestrator_id)
    return orchestrator_id


def _organization(request: Request, organization_id: str, *, orchestrator_id: str) -> Organization:
    """Return the organization the caller may speak for `orchestrator_id` in.

    An orchestrator's key may in its own organization, a bound one for its own orchestrator; else an administrator.
    """
    key = access.caller(request).key
    if key is None or not key.may_register:
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        access.require_admin(request, organization_id)
        return organization
    if key.organization_id != organization_id:
        raise NotFound
    if key.orchestrator_id not in ("", orchestrator_id):
        raise Forbidden(detail="This key is for another orchestrator.")
    return Organization.objects.get(pk=organization_id)


def _answer(instance: Instance, message: str) -> Response:
    return Response(
        {
            "success": True,
            "message": message,
            "orchestrator_id": instance.orchestrator_id,
            "organization_id": instance.organization_id,
            "status": instance.status,
            "controller_endpoints": {
                "heartbeat": f"{ENDPOINTS}/heartbeat",
                "deregister": f"{ENDPOINTS}/{instance.orchestrator_id}/deregister",
            },
        }
    )
