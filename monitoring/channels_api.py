"""REST doors of alert channels: make, change, delete and try them. Secrets go in and never come out."""

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from monitoring.alerts import channels
from monitoring.models import Channel, Delivery, Severity
from orgs import access, rest
from orgs.authentication import Caller
from orgs.models import Organization

KINDS = rest.one_of(list(Channel.Kind.values), "Only channels of this kind.")
STATUSES = rest.one_of(list(Delivery.Status.values), "Only deliveries in this state.")
NAMED = {"organization_id": rest.Parameter("Only those of this organization."), "kind": KINDS}


class ChannelRow(serializers.ModelSerializer[Channel]):
    """A channel; `url` shows the host, `has_secret` whether a secret is stored."""

    organization_id = serializers.CharField(allow_null=True)
    url = serializers.SerializerMethodField()
    has_secret = serializers.SerializerMethodField()
    recipients = serializers.SerializerMethodField()
    sender = serializers.SerializerMethodField()
    username = serializers.SerializerMethodField()

    class Meta:
        model = Channel
        fields = [
            "channel_id", "organization_id", "kind", "name", "min_severity", "is_enabled", "takes_approvals", "url",
            "has_secret", "recipients", "sender", "username", "failures", "parked_until", "last_ok_at", "last_error",
            "last_error_at", "created_at", "updated_at",
        ]  # fmt: skip

    def get_url(self, row: Channel) -> str:
        """Show where it leads, not the path, which is a secret."""
        return str(channels.shown(row)["url"])

    def get_has_secret(self, row: Channel) -> bool:
        """Tell whether there is one."""
        return bool(row.secret)

    def get_recipients(self, row: Channel) -> list[str]:
        """Return whom mail goes to."""
        return list(row.settings.get("recipients", []))

    def get_sender(self, row: Channel) -> str:
        """Return whom mail comes from, "" for the installation's."""
        return str(row.settings.get("sender", ""))

    def get_username(self, row: Channel) -> str:
        """Return the user name at the mail server."""
        return str(row.settings.get("username", ""))


class MadeChannel(ChannelRow):
    """A channel with the signing secret that was made for it; it is shown this once."""

    secret = serializers.CharField(allow_null=True, default=None, help_text="Null unless one was made just now.")

    class Meta(ChannelRow.Meta):
        fields = [*ChannelRow.Meta.fields, "secret"]


class ChannelChange(serializers.Serializer[Any]):
    """The body that changes a channel. Another `url` clears the secret."""

    name = serializers.CharField(required=False, max_length=100)
    min_severity = serializers.ChoiceField(Severity.choices, required=False)
    is_enabled = serializers.BooleanField(required=False)
    takes_approvals = serializers.BooleanField(
        required=False, help_text="Whether its readers may decide approvals by links. Not for PagerDuty."
    )
    url = serializers.CharField(required=False, allow_blank=True, max_length=2000)
    secret = serializers.CharField(required=False, allow_blank=True, max_length=500, trim_whitespace=False)
    recipients = serializers.ListField(child=serializers.EmailField(), required=False, max_length=50)
    sender = serializers.EmailField(required=False, allow_blank=True)
    username = serializers.CharField(required=False, allow_blank=True, max_length=200)


class NewChannel(ChannelChange):
    """The body that makes a channel; without an organization it is the superadmin's, for the alerts of all."""

    kind = serializers.ChoiceField(Channel.Kind.choices)
    name = serializers.CharField(max_length=100)
    organization_id = serializers.CharField(required=False, max_length=50)


class TrialRow(serializers.Serializer[Any]):
    """What became of a test notification."""

    is_delivered = serializers.BooleanField()
    error = serializers.CharField(allow_blank=True)
    duration_ms = serializers.IntegerField()


class DeliveryRow(serializers.ModelSerializer[Delivery]):
    """One notification and how far it got."""

    class Meta:
        model = Delivery
        fields = [
            "delivery_id", "organization_id", "alert_id", "dedup_key", "action", "status", "attempts", "error",
            "created_at", "next_attempt_at", "finished_at",
        ]  # fmt: skip


class Channels(rest.View):
    """`/api/v1/system/channels`."""

    @rest.operation(ChannelRow, shape=rest.Shape.PAGE, parameters=NAMED)
    def get(self, request: Request) -> Response:
        """List the channels by organization and name; the superadmin's own are for superadmins."""
        rows = access.narrow(request, Channel.objects.all())
        if kind := self.query["kind"]:
            rows = rows.filter(kind=kind)
        return rest.page(request, rows.order_by("organization_id", "name", "pk"), ChannelRow)

    @rest.operation(MadeChannel, body=NewChannel, status=201, errors=("destination_not_allowed",))
    def post(self, request: Request) -> Response:
        """Make a channel; a webhook without a secret gets one, which is answered this once."""
        wish = rest.body(request, NewChannel)
        organization, who = _home(request, wish.pop("organization_id", ""))
        row, secret = channels.create(organization, acting_user=who.user, **wish)
        return rest.answer(_shown(row, secret), status=201)


class OneChannel(rest.View):
    """`/api/v1/system/channels/{channel_id}`."""

    @rest.operation(ChannelRow)
    def get(self, request: Request, channel_id: str) -> Response:
        """Return one channel."""
        return rest.answer(ChannelRow(_row(request, channel_id)).data)

    @rest.operation(MadeChannel, body=ChannelChange, errors=("destination_not_allowed",))
    def patch(self, request: Request, channel_id: str) -> Response:
        """Change what the body names; the kind and the organization stay."""
        row, who = _administered(request, channel_id)
        row, secret = channels.update(row, acting_user=who.user, **rest.body(request, ChannelChange))
        return rest.answer(_shown(row, secret))

    @rest.operation(status=204, shape=rest.Shape.EMPTY)
    def delete(self, request: Request, channel_id: str) -> Response:
        """Delete a channel with what waits for it."""
        row, who = _administered(request, channel_id)
        channels.delete(row, acting_user=who.user)
        return Response(status=204)


class Test(rest.View):
    """`/api/v1/system/channels/{channel_id}/test`."""

    @rest.operation(TrialRow, body=rest.Reason, body_may_be_empty=True)
    def post(self, request: Request, channel_id: str) -> Response:
        """Send a test notification now and tell what became of it."""
        row, who = _administered(request, channel_id)
        wish = rest.body(request, rest.Reason, may_be_empty=True)
        return rest.answer(TrialRow(channels.try_out(row, acting_user=who.user, **wish)).data)


class Deliveries(rest.View):
    """`/api/v1/system/channels/{channel_id}/deliveries`."""

    @rest.operation(DeliveryRow, shape=rest.Shape.PAGE, parameters={"status": STATUSES})
    def get(self, request: Request, channel_id: str) -> Response:
        """List what the channel was told, newest first."""
        rows = Delivery.objects.filter(channel=_row(request, channel_id))
        if status := self.query["status"]:
            rows = rows.filter(status=status)
        return rest.page(request, rows.order_by("-pk"), DeliveryRow)


def _home(request: Request, organization_id: str) -> tuple[Organization | None, Caller]:
    """Return whose channel it will be and who makes it; the header names the organization where the body does not."""
    wanted = organization_id or access.chosen(request)
    if not wanted:
        return None, access.require_superadmin(request)
    organization = access.get(request, Organization.objects.all(), field="pk", pk=wanted)
    return organization, access.require_admin(request, organization.pk)


def _row(request: Request, channel_id: str) -> Channel:
    rows: QuerySet[Channel] = Channel.objects.all()
    return access.get(request, rows, channel_id=channel_id)


def _administered(request: Request, channel_id: str) -> tuple[Channel, Caller]:
    row = _row(request, channel_id)
    if row.organization_id is None:
        return row, access.require_superadmin(request)
    return row, access.require_admin(request, row.organization_id)


def _shown(row: Channel, secret: str) -> dict[str, Any]:
    return {**ChannelRow(row).data, "secret": secret or None}
