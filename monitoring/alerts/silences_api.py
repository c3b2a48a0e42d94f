"""REST doors of silences: maintenance, snoozes, and alerts that are known."""

from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from monitoring.alerts import silences
from monitoring.alerts.rules_api import target
from monitoring.models import Alert, Severity, Silence
from orchestrators.models import Instance
from orgs import access, rest


class SilenceRow(serializers.ModelSerializer[Silence]):
    """A silence: it covers what fits everything it names."""

    is_active = serializers.SerializerMethodField()

    class Meta:
        model = Silence
        fields = [
            "silence_id", "kind", *silences.MATCHERS, "starts_at", "ends_at", "is_active", "reason", "created_by",
            "created_at",
        ]  # fmt: skip

    def get_is_active(self, row: Silence) -> bool:
        """Look at the clock."""
        return row.is_active(now=timezone.now())


class NewSilence(serializers.Serializer[Any]):
    """The body that makes a silence; `severity` covers that one and milder ones."""

    kind = serializers.ChoiceField(Silence.Kind.values, required=False)
    organization_id = serializers.CharField(max_length=50, required=False, allow_blank=True)
    orchestrator_id = serializers.CharField(max_length=50, required=False, allow_blank=True)
    labels = serializers.DictField(child=serializers.CharField(), required=False)
    rule_key = serializers.CharField(max_length=80, required=False, allow_blank=True, help_text="Or an alert's type.")
    severity = serializers.ChoiceField(Severity.values, required=False, allow_blank=True)
    alert_id = serializers.CharField(max_length=32, required=False, allow_blank=True)
    starts_at = serializers.DateTimeField(required=False, help_text="Now when left out.")
    ends_at = serializers.DateTimeField()
    everything = serializers.BooleanField(required=False, help_text="True where nothing is named: all is silenced.")
    reason = serializers.CharField(max_length=500, required=False, allow_blank=True)


class Silences(rest.View):
    """`/api/v1/system/silences`."""

    @rest.operation(
        SilenceRow,
        shape=rest.Shape.PAGE,
        parameters={
            "organization_id": rest.Parameter("Only this organization's."),
            "is_active": rest.Parameter("Whether it holds now.", "boolean"),
        },
    )
    def get(self, request: Request) -> Response:
        """List the silences, newest first."""
        rows, now = access.narrow(request, Silence.objects.all()), timezone.now()
        wanted = self.query["is_active"]
        if wanted is not None:
            active = rows.filter(starts_at__lte=now, ends_at__gt=now)
            rows = active if wanted else rows.exclude(pk__in=active.values("pk"))
        return rest.page(request, rows, SilenceRow)

    @rest.operation(SilenceRow, body=NewSilence, status=201)
    def post(self, request: Request) -> Response:
        """Silence an organization's alerts, or (superadmin) everybody's."""
        wish = rest.body(request, NewSilence)
        organization_id = target(request, wish.pop("organization_id", ""))
        who = access.require_admin(request, organization_id)
        _require_known(request, wish)
        kind = wish.pop("kind", Silence.Kind.SNOOZE if wish.get("alert_id") else Silence.Kind.SILENCE)
        row = silences.create(kind=kind, organization_id=organization_id, acting_user=who.user, **wish)
        return rest.answer(SilenceRow(row).data, status=201)


class OneSilence(rest.View):
    """`/api/v1/system/silences/{silence_id}`."""

    @rest.operation(SilenceRow)
    def get(self, request: Request, silence_id: str) -> Response:
        """Return one silence."""
        return rest.answer(SilenceRow(_silence(request, silence_id)).data)

    @rest.operation(status=204, shape=rest.Shape.EMPTY, errors=("conflict",))
    def delete(self, request: Request, silence_id: str) -> Response:
        """End it now; what still fires is announced."""
        row = _silence(request, silence_id)
        who = access.require_admin(request, row.organization_id)
        silences.end(row, acting_user=who.user)
        return Response(status=204)


def _require_known(request: Request, wish: dict[str, Any]) -> None:
    """Raise `not_found` when an orchestrator or an alert is named that the caller does not have."""
    if orchestrator_id := wish.get("orchestrator_id"):
        access.get(request, Instance.objects.present(), orchestrator_id=orchestrator_id)
    if alert_id := wish.get("alert_id"):
        access.get(request, Alert.objects.all(), alert_id=alert_id)


def _silence(request: Request, silence_id: str) -> Silence:
    return access.get(request, Silence.objects.all(), silence_id=silence_id)
