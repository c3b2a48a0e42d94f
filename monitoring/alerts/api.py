"""REST doors of alerts: what is wrong in an organization, taking an alert on, ending it (API §5)."""

from collections.abc import Callable
from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from monitoring.alerts import handling
from monitoring.models import Alert, Severity
from orgs import access, rest
from orgs.models import Organization

FILTERS = {
    "status": rest.one_of([*Alert.Status.values, "open"], "`open`: firing or acknowledged."),
    "severity": rest.one_of(Severity.values),
    "alert_type": rest.Parameter("Such as `cpu` or `orchestrator_inactive`."),
    "orchestrator_id": rest.Parameter("Only this orchestrator's."),
    "limit": rest.Parameter("At most so many; the same as `page_size`.", "integer", maximum=1000),
}


class TimelineRow(serializers.Serializer[Any]):
    """Something that happened to an alert."""

    at = serializers.DateTimeField()
    what = serializers.CharField()
    who = serializers.CharField(required=False)
    note = serializers.CharField(required=False)


class AlertRow(serializers.ModelSerializer[Alert]):
    """An alert; without an `organization_id` it is the controller's own, or an incident of the whole installation."""

    incident = serializers.CharField(
        source="parent.alert_id", allow_null=True, default=None, help_text="The alert this one is part of."
    )

    is_announced = serializers.BooleanField(source="is_told", help_text="Whether channels know that it fires.")
    announced_at = serializers.DateTimeField(
        source="told_at", allow_null=True, help_text="When channels were last told that it fires."
    )

    class Meta:
        model = Alert
        fields = [
            "alert_id", "organization_id", "orchestrator_id", "alert_type", "rule_key", "severity", "status", "title",
            "detail", "value", "threshold", "started_at", "last_seen_at", "acknowledged_at", "acknowledged_by",
            "resolved_at", "resolved_by", "escalation_level", "reopened", "is_silenced", "is_announced",
            "announced_at", "told_channels", "incident", "dedup_key",
        ]  # fmt: skip


class AlertDetail(AlertRow):
    """An alert with what happened to it, and how many others it stands for."""

    children = serializers.SerializerMethodField(help_text="How many alerts are part of this incident.")
    timeline = TimelineRow(many=True)

    class Meta(AlertRow.Meta):
        fields = [*AlertRow.Meta.fields, "children", "timeline"]

    def get_children(self, row: Alert) -> int:
        """Count them."""
        return row.children.count()


def _page(view: rest.View, request: Request, rows: QuerySet[Alert]) -> Response:
    for name in ("severity", "alert_type", "orchestrator_id"):
        if wanted := view.query[name]:
            rows = rows.filter(**{name: wanted})
    if view.query["status"] == "open":
        rows = rows.exclude(status=Alert.Status.RESOLVED)
    elif wanted := view.query["status"]:
        rows = rows.filter(status=wanted)
    if view.query["limit"]:
        view.query["page_size"] = view.query["limit"]
    return rest.page(request, rows.select_related("parent"), AlertRow)


class Alerts(rest.View):
    """`/api/v1/system/alerts` and `/v1/performance/alerts`."""

    @rest.operation(
        AlertRow,
        shape=rest.Shape.PAGE,
        parameters={"organization_id": rest.Parameter("Only this organization's."), **FILTERS},
    )
    def get(self, request: Request) -> Response:
        """List the alerts the caller may see, newest first."""
        return _page(self, request, access.narrow(request, Alert.objects.all()))


class OrganizationAlerts(rest.View):
    """`/api/v1/system/alerts/organization/{organization_id}`."""

    @rest.operation(AlertRow, shape=rest.Shape.PAGE, parameters=FILTERS)
    def get(self, request: Request, organization_id: str) -> Response:
        """List an organization's alerts, newest first."""
        organization = access.get(request, Organization.objects.all(), field="pk", pk=organization_id)
        return _page(self, request, Alert.objects.filter(organization_id=organization.pk))


class OneAlert(rest.View):
    """`/api/v1/system/alerts/{alert_id}`."""

    @rest.operation(AlertDetail)
    def get(self, request: Request, alert_id: str) -> Response:
        """Return one alert with its timeline."""
        return rest.answer(AlertDetail(_alert(request, alert_id)).data)


class _Handling(rest.View):
    deed: ClassVar[Callable[..., Alert]]

    def do(self, request: Request, alert_id: str) -> Response:
        row = _alert(request, alert_id)
        who = access.require_admin(request, row.organization_id)
        wish = rest.body(request, rest.Reason, may_be_empty=True)
        row = type(self).deed(row, acting_user=who.user, reason=wish.get("reason", ""))
        return rest.answer(AlertDetail(row).data)


class Acknowledgement(_Handling):
    """`/api/v1/system/alerts/{alert_id}/acknowledge`."""

    deed = staticmethod(handling.acknowledge)

    @rest.operation(AlertDetail, body=rest.Reason, body_may_be_empty=True, errors=("conflict",))
    def post(self, request: Request, alert_id: str) -> Response:
        """Take an alert on: it is escalated no further."""
        return self.do(request, alert_id)


class Resolution(_Handling):
    """`/api/v1/system/alerts/{alert_id}/resolve`."""

    deed = staticmethod(handling.resolve)

    @rest.operation(AlertDetail, body=rest.Reason, body_may_be_empty=True, errors=("conflict",))
    def post(self, request: Request, alert_id: str) -> Response:
        """End an alert by hand, an incident with its parts; a cause that is still there opens it again."""
        return self.do(request, alert_id)


def _alert(request: Request, alert_id: str) -> Alert:
    return access.get(request, Alert.objects.select_related("parent"), alert_id=alert_id)
