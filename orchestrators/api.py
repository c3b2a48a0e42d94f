"""REST doors that steer the fleet: independence and messages (API §4)."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from moolai.errors import Forbidden
from orchestrators import independence, messages, protocol
from orchestrators.instances_api import InstanceRow, fleet
from orchestrators.messages import outbox
from orchestrators.models import Message
from orgs import access, rest
from orgs.authentication import Caller
from orgs.models import Organization, Role


class MessageRow(serializers.ModelSerializer[Message]):
    """A message either way."""

    orchestrator_id = serializers.CharField()

    class Meta:
        model = Message
        fields = [
            "id", "message_id", "orchestrator_id", "direction", "message_type", "message_content", "status", "attempts",
            "error", "result", "expires_at", "sent_at", "finished_at", "created_at", "updated_at",
        ]  # fmt: skip


def _require_operator(request: Request, organization_id: str) -> Caller:
    """Return the caller when it may send messages in the organization, else raise Forbidden."""
    who = access.caller(request)
    if not who.is_superadmin and who.roles.get(organization_id) not in (Role.ADMIN, Role.OPERATOR):
        raise Forbidden
    return who


class Flag(serializers.Serializer[Any]):
    """The body of an independence call."""

    is_independent = serializers.BooleanField()
    reason = serializers.CharField(required=False, allow_blank=True, max_length=500)


class Independence(rest.View):
    """`/api/v1/internal/orchestrators/{id}/independence`."""

    @rest.operation(InstanceRow, body=Flag)
    def put(self, request: Request, orchestrator_id: str) -> Response:
        """Set an orchestrator's own flag."""
        row = access.get(request, fleet(), orchestrator_id=orchestrator_id)
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
        row = access.get(request, fleet(), orchestrator_id=orchestrator_id)
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

    status = serializers.ChoiceField(Message.Status.values, help_text="sent: only the controller says that (409).")
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
