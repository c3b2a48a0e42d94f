"""REST doors of the fleet: read it, steer independence, queue messages (API §3, §4)."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from moolai.errors import Forbidden
from orchestrators import hub as hubs
from orchestrators import independence, messages, protocol
from orchestrators.messages import outbox
from orchestrators.models import Instance, Message
from orgs import access, rest, sealed
from orgs.authentication import Caller
from orgs.models import Organization, Role


class InstanceRow(serializers.ModelSerializer[Instance]):
    """An orchestrator as published (API §8); passwords in URLs and the values of variables are stars."""

    organization_id = serializers.CharField()
    independence_source = serializers.CharField(allow_null=True)

    class Meta:
        model = Instance
        fields = [
            "id", "orchestrator_id", "organization_id", "name", "organization_name", "status", "health_status",
            "is_independent", "independence_source", "last_seen", "features", "session_config", "privacy_mode",
            "internal_url", "database_url", "redis_url", "container_id", "image_name", "environment_variables",
            "phoenix_endpoint", "monitoring_enabled", "admin_email", "support_email", "website", "last_activity",
            "created_at", "updated_at", "version", "capabilities", "is_connected", "session_id", "epoch", "node",
            "connected_at", "remote_address", "config_version", "config_hash", "config_reported_hash", "config_status",
            "config_error",
        ]  # fmt: skip

    def to_representation(self, instance: Instance) -> dict[str, Any]:
        """Mask the secrets."""
        return super().to_representation(instance) | sealed.masked(instance)


class LiveRow(serializers.Serializer[Instance]):
    """An open session (API §3)."""

    orchestrator_id = serializers.CharField()
    organization_id = serializers.CharField()
    status = serializers.CharField()
    session_id = serializers.CharField()
    connected_at = serializers.DateTimeField()
    last_seen = serializers.DateTimeField()
    is_independent = serializers.BooleanField(source="is_effectively_independent")
    independence_source = serializers.CharField(allow_null=True)
    node = serializers.CharField()
    remote_address = serializers.CharField()
    version = serializers.CharField()

    def to_representation(self, instance: Instance) -> dict[str, Any]:
        """Overlay what this process knows fresher than the row."""
        row = super().to_representation(instance)
        hub = hubs.running()
        session = hub.sessions.get(instance.orchestrator_id) if hub else None
        if session is not None and session.epoch == instance.epoch and not session.is_independent:
            row["last_seen"] = protocol.iso(session.last_seen)
        return row


class MessageRow(serializers.ModelSerializer[Message]):
    """A message either way."""

    orchestrator_id = serializers.CharField()

    class Meta:
        model = Message
        fields = [
            "id", "message_id", "orchestrator_id", "direction", "message_type", "message_content", "status", "attempts",
            "error", "result", "expires_at", "sent_at", "finished_at", "created_at", "updated_at",
        ]  # fmt: skip


def _fleet() -> Any:
    return Instance.objects.present().select_related("organization")


def _require_operator(request: Request, organization_id: str) -> Caller:
    """Return the caller when it may send messages in the organization, else raise Forbidden."""
    who = access.caller(request)
    if not who.is_superadmin and who.roles.get(organization_id) not in (Role.ADMIN, Role.OPERATOR):
        raise Forbidden
    return who


class Orchestrators(rest.View):
    """`/api/v1/controller/orchestrators`."""

    @rest.operation(
        InstanceRow,
        shape=rest.Shape.PAGE,
        parameters={
            "status": rest.one_of(Instance.Status.values),
            "organization_id": rest.Parameter("Only this organization's."),
            "search": rest.Parameter("Part of the id or the name."),
        },
    )
    def get(self, request: Request) -> Response:
        """List the fleet by id."""
        rows = access.narrow(request, _fleet(), own="orchestrator_id")
        if status := self.query["status"]:
            rows = rows.filter(status=status)
        if search := self.query["search"]:
            rows = rows.filter(orchestrator_id__icontains=search) | rows.filter(name__icontains=search)
        return rest.page(request, rows.order_by("orchestrator_id"), InstanceRow)


class Orchestrator(rest.View):
    """`/api/v1/controller/orchestrators/{id}`."""

    @rest.operation(InstanceRow)
    def get(self, request: Request, orchestrator_id: str) -> Response:
        """Return one orchestrator; an orchestrator's key may read its own."""
        row = access.get(request, _fleet(), own="orchestrator_id", orchestrator_id=orchestrator_id)
        return rest.answer(InstanceRow(row).data)


class Live(rest.View):
    """`/api/v1/controller/orchestrators/live`."""

    @rest.operation(
        LiveRow,
        shape=rest.Shape.PAGE,
        parameters={"organization_id": rest.Parameter("Only this organization's.")},
    )
    def get(self, request: Request) -> Response:
        """List the open sessions: a partial index, no table scan."""
        rows = access.narrow(request, Instance.objects.connected().select_related("organization"))
        return rest.page(request, rows.order_by("organization_id", "orchestrator_id"), LiveRow)


class Flag(serializers.Serializer[Any]):
    """The body of an independence call."""

    is_independent = serializers.BooleanField()
    reason = serializers.CharField(required=False, allow_blank=True, max_length=500)


class Independence(rest.View):
    """`/api/v1/internal/orchestrators/{id}/independence`."""

    @rest.operation(InstanceRow, body=Flag)
    def put(self, request: Request, orchestrator_id: str) -> Response:
        """Set an orchestrator's own flag."""
        row = access.get(request, _fleet(), orchestrator_id=orchestrator_id)
        who = access.require_admin(request, row.organization_id)
        wish = rest.body(request, Flag)
        row = independence.set_instance(
            orchestrator_id,
            is_independent=wish["is_independent"],
            acting_user=who.user,
            reason=wish.get("reason", ""),
        )
        return rest.answer(InstanceRow(row).data)


class IndependentOrganization(serializers.ModelSerializer[Organization]):
    """An organization with its flag."""

    class Meta:
        model = Organization
        fields = ["organization_id", "name", "status", "is_independent"]


class OrganizationIndependence(rest.View):
    """`/api/v1/internal/organizations/{id}/independence`."""

    @rest.operation(IndependentOrganization, body=Flag)
    def put(self, request: Request, organization_id: str) -> Response:
        """Set the flag that all of an organization's orchestrators inherit."""
        access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        who = access.require_admin(request, organization_id)
        wish = rest.body(request, Flag)
        row = independence.set_organization(
            organization_id,
            is_independent=wish["is_independent"],
            acting_user=who.user,
            reason=wish.get("reason", ""),
        )
        return rest.answer(IndependentOrganization(row).data)


class NewMessage(serializers.Serializer[Any]):
    """The body that queues a message."""

    message_type = serializers.CharField(max_length=protocol.MAX_MESSAGE_TYPE_LENGTH)
    message_content = serializers.JSONField(required=False)
    expires_in = serializers.FloatField(required=False, min_value=1, max_value=31_536_000)


class Queue(rest.View):
    """`/api/v1/internal/orchestrators/{id}/messages`."""

    @rest.operation(MessageRow, body=NewMessage, status=202, errors=("reserved_message_type",))
    def post(self, request: Request, orchestrator_id: str) -> Response:
        """Queue a message; it is sent when the orchestrator is connected."""
        row = access.get(request, _fleet(), orchestrator_id=orchestrator_id)
        who = _require_operator(request, row.organization_id)
        wish = rest.body(request, NewMessage)
        message = messages.queue(
            orchestrator_id,
            message_type=wish["message_type"],
            content=wish.get("message_content", {}),
            acting_user=who.user,
            expires_in_seconds=wish.get("expires_in"),
        )
        return rest.answer(MessageRow(message).data, status=202)


class Messages(rest.View):
    """`/api/v1/internal/messages`."""

    @rest.operation(
        MessageRow,
        shape=rest.Shape.PAGE,
        parameters={
            "organization_id": rest.Parameter("Only this organization's."),
            "orchestrator_id": rest.Parameter("Only to and from this orchestrator."),
            "status": rest.one_of(Message.Status.values),
            "direction": rest.one_of(Message.Direction.values),
            "message_type": rest.Parameter("Only of this type."),
        },
    )
    def get(self, request: Request) -> Response:
        """List messages, newest first."""
        rows = access.narrow(request, Message.objects.all(), field="orchestrator__organization_id")
        if orchestrator_id := self.query["orchestrator_id"]:
            rows = rows.filter(orchestrator__orchestrator_id=orchestrator_id)
        if status := self.query["status"]:
            rows = rows.filter(status=status)
        if direction := self.query["direction"]:
            rows = rows.filter(direction=direction)
        if message_type := self.query["message_type"]:
            rows = rows.filter(message_type=message_type)
        return rest.page(request, rows.order_by("-id"), MessageRow)


class Verdict(serializers.Serializer[Any]):
    """The body that settles a message by hand."""

    status = serializers.ChoiceField([status.value for status in outbox.BY_HAND])
    error = serializers.CharField(required=False, allow_blank=True, max_length=1000)


class MessageStatus(rest.View):
    """`/api/v1/internal/messages/{id}/status`; the id is the integer one."""

    @rest.operation(MessageRow, body=Verdict, errors=("conflict",))
    def put(self, request: Request, pk: str) -> Response:
        """Settle a message or queue it anew, along the state machine."""
        rows = Message.objects.select_related("orchestrator")
        row = access.get(request, rows, field="orchestrator__organization_id", pk=int(pk))
        who = _require_operator(request, row.orchestrator.organization_id)
        wish = rest.body(request, Verdict)
        row = outbox.set_status(row, wish["status"], acting_user=who.user, error=wish.get("error", ""))
        return rest.answer(MessageRow(row).data)
