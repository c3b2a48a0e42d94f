"""REST doors of the registry: orchestrators, and their open sessions (API §3)."""

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from orchestrators import hub as hubs
from orchestrators import instances, protocol, selection
from orchestrators.models import Instance
from orgs import access, rest, sealed
from orgs.models import Organization
from orgs.models.organization import validate_identifier
from orgs.names import NameText
from orgs.sealed import MAX_LENGTH


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
            "connected_at", "remote_address", "labels", "config_version", "config_hash", "config_reported_hash",
            "config_status", "config_error",
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


class SecretURL(serializers.CharField):
    """A URL that may hold a password; sent back as it was shown, with stars, it stays what it is."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=MAX_LENGTH, required=False, allow_blank=True, **options)


class InstanceChange(serializers.Serializer[Any]):
    """The columns of an orchestrator that people write."""

    name = NameText(required=False, allow_blank=True)
    is_independent = serializers.BooleanField(required=False)
    features = serializers.DictField(required=False)
    session_config = serializers.DictField(required=False)
    privacy_mode = serializers.BooleanField(required=False)
    monitoring_enabled = serializers.BooleanField(required=False)
    labels = serializers.DictField(child=serializers.CharField(), required=False)
    internal_url = SecretURL()
    database_url = SecretURL()
    redis_url = SecretURL()
    environment_variables = serializers.DictField(
        child=serializers.CharField(allow_blank=True, trim_whitespace=False), required=False
    )
    container_id = serializers.CharField(max_length=200, required=False, allow_blank=True)
    image_name = serializers.CharField(max_length=300, required=False, allow_blank=True)
    phoenix_endpoint = serializers.CharField(max_length=500, required=False, allow_blank=True)
    admin_email = serializers.EmailField(max_length=254, required=False, allow_blank=True)
    support_email = serializers.EmailField(max_length=254, required=False, allow_blank=True)
    website = serializers.URLField(max_length=200, required=False, allow_blank=True)


class NewInstance(InstanceChange):
    """The body that makes an orchestrator."""

    orchestrator_id = serializers.CharField(max_length=50, validators=[validate_identifier])
    organization_id = serializers.CharField(max_length=50)


class EnrolledInstance(InstanceRow):
    """An orchestrator with the key it registers with, whose secret is shown this one time."""

    key_id = serializers.CharField()
    secret = serializers.CharField()

    class Meta(InstanceRow.Meta):
        fields = [*InstanceRow.Meta.fields, "key_id", "secret"]


def fleet() -> QuerySet[Instance]:
    """Return the orchestrators that were not deleted, with their organizations."""
    return Instance.objects.present().select_related("organization")


class Orchestrators(rest.View):
    """`/api/v1/controller/orchestrators`."""

    @rest.operation(
        InstanceRow,
        shape=rest.Shape.PAGE,
        parameters={
            "status": rest.one_of(Instance.Status.values),
            "organization_id": rest.Parameter("Only this organization's."),
            "search": rest.Parameter("Part of the id or the name."),
            "labels": rest.Parameter("Only with these labels: env=prod,region=eu."),
        },
    )
    def get(self, request: Request) -> Response:
        """List the fleet by id."""
        rows = access.narrow(request, fleet().defer("organization__settings"), own="orchestrator_id")
        if status := self.query["status"]:
            rows = rows.filter(status=status)
        rows = selection.by_search(rows, self.query["search"] or "")
        rows = selection.by_labels(rows, selection.labels_parameter(self.query["labels"] or ""))
        return rest.page(request, rows.order_by("orchestrator_id"), InstanceRow)

    @rest.operation(EnrolledInstance, body=NewInstance, status=201, errors=("conflict",))
    def post(self, request: Request) -> Response:
        """Make an orchestrator and the key it registers with; the answer holds the key's secret, this one time."""
        wish = rest.body(request, NewInstance)
        organization_id, orchestrator_id = wish.pop("organization_id"), wish.pop("orchestrator_id")
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        who = access.require_admin(request, organization_id)
        row, key, secret = instances.enrol(
            orchestrator_id,
            organization=organization,
            acting_user=who.user,
            may_take_over=who.is_superadmin,
            **wish,
        )
        shown = InstanceRow(row).data | {"key_id": key.key_id, "secret": secret}
        return rest.answer(shown, status=201)


class Orchestrator(rest.View):
    """`/api/v1/controller/orchestrators/{id}`."""

    @rest.operation(InstanceRow)
    def get(self, request: Request, orchestrator_id: str) -> Response:
        """Return one orchestrator; an orchestrator's key may read its own."""
        row = access.get(request, fleet(), own="orchestrator_id", orchestrator_id=orchestrator_id)
        return rest.answer(InstanceRow(row).data)

    @rest.operation(InstanceRow, body=InstanceChange)
    def put(self, request: Request, orchestrator_id: str) -> Response:
        """Replace every writable column; what the body leaves out goes back to its default."""
        row = _mine(request, orchestrator_id)
        wish = rest.body(request, InstanceChange)
        return _change(request, row, _defaults() | wish)

    @rest.operation(InstanceRow, body=InstanceChange)
    def patch(self, request: Request, orchestrator_id: str) -> Response:
        """Change the columns the body names."""
        row = _mine(request, orchestrator_id)
        return _change(request, row, rest.body(request, InstanceChange))

    @rest.operation(status=204, shape=rest.Shape.EMPTY)
    def delete(self, request: Request, orchestrator_id: str) -> Response:
        """Delete it: its session is closed, its keys die, and its id is blocked until POST makes it anew."""
        row = _mine(request, orchestrator_id)
        instances.delete(row, acting_user=access.caller(request).user)
        return Response(status=204)


class Live(rest.View):
    """`/api/v1/controller/orchestrators/live`."""

    @rest.operation(
        LiveRow,
        shape=rest.Shape.PAGE,
        parameters={"organization_id": rest.Parameter("Only this organization's.")},
    )
    def get(self, request: Request) -> Response:
        """List the open sessions: a partial index, no table scan. An orchestrator's key sees its own."""
        rows = access.narrow(request, Instance.objects.connected().slim(), own="orchestrator_id")
        return rest.page(request, rows.order_by("organization_id", "orchestrator_id"), LiveRow)


def _mine(request: Request, orchestrator_id: str) -> Instance:
    """Return the orchestrator for a caller that administers its organization."""
    row = access.get(request, fleet(), orchestrator_id=orchestrator_id)
    access.require_admin(request, row.organization_id)
    return row


def _defaults() -> dict[str, Any]:
    """Return what every writable column is when nobody says otherwise."""
    columns = {field.name: field for field in Instance._meta.fields}
    return {str(name): columns[str(name)].get_default() for name in InstanceChange().fields}


def _change(request: Request, row: Instance, fields: dict[str, Any]) -> Response:
    """Write `fields`; without a name it is called by its id."""
    if fields.get("name") == "":
        fields["name"] = row.orchestrator_id
    row = instances.update(row, acting_user=access.caller(request).user, **fields)
    return rest.answer(InstanceRow(row).data)
