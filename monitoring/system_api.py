"""REST doors of measurements: latest rows, history, statistics, collecting now, and how collecting goes (API §5)."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from monitoring import scope
from monitoring.metrics import collecting, latest, statistics
from monitoring.models import SystemMetric
from monitoring.rows import HOURS, ORGANIZATION, CollectionRow, SampleRow, Statistics
from moolai import errors
from moolai.errors import NotFound
from orgs import access, rendering, rest

LIMIT: Final = 500
SUMMARIES: Final[dict[str, Sequence[str]]] = {
    "cpu": ("cpu_usage_percent", "cpu_load_1min", "cpu_load_5min", "cpu_load_15min", "cpu_cores_used"),
    "memory": ("memory_percent", "memory_usage_mb", "memory_available_mb", "swap_usage_mb", "swap_percent"),
    "storage": (
        "storage_percent", "storage_usage_gb", "storage_available_gb", "disk_read_mb_s", "disk_write_mb_s",
        "iops_read", "iops_write",
    ),
}  # fmt: skip


class Watch(serializers.Serializer[Any]):
    """How the host is measured by the clock."""

    enabled = serializers.BooleanField()
    interval_seconds = serializers.FloatField()
    last_run = serializers.DateTimeField(allow_null=True)
    lag_seconds = serializers.FloatField(allow_null=True)
    is_late = serializers.BooleanField()


class MonitoringHealth(serializers.Serializer[Any]):
    """Whether measurements come in and can be read."""

    status = serializers.ChoiceField(["healthy", "degraded", "unhealthy"])
    storage = serializers.ChoiceField(["connected", "disconnected"])
    collection = Watch(allow_null=True)


class Summary(Statistics):
    """Statistics of the main column, and of each one."""

    metric = serializers.ChoiceField(list(SUMMARIES))
    organization_id = serializers.CharField(allow_null=True, help_text="Null: everything the caller sees.")
    hours_back = serializers.IntegerField()
    columns = serializers.DictField(child=Statistics())


class Nothing(serializers.Serializer[Any]):
    """A body without fields, which may be left out."""


class SystemHealth(rest.PublicView):
    """`/api/v1/system/health`: public, and about no organization."""

    rate = None

    @rest.operation(MonitoringHealth)
    def get(self, request: Request) -> Response:
        """Answer the status of the monitoring itself: unhealthy (503) without a database, degraded when it is late."""
        try:
            SystemMetric.objects.order_by("-pk").values_list("pk", flat=True).first()
            found = collecting.status(settings.DEFAULT_ORGANIZATION_ID)
        except (OperationalError, InterfaceError):
            return _unhealthy(request)
        watch = {name: found["schedule"][name] for name in ("enabled", "interval_seconds")}
        watch |= {name: found[name] for name in ("last_run", "lag_seconds", "is_late")}
        is_well = not watch["enabled"] or (watch["last_run"] is not None and not watch["is_late"])
        word = "healthy" if is_well else "degraded"
        response = rest.answer({"status": word, "storage": "connected", "collection": watch})
        response["Cache-Control"] = "no-store"
        return response


def _unhealthy(request: Request) -> Response:
    code = "database_unavailable"
    status, detail = errors.CODES[code]
    body = errors.body(code, detail, request_id=getattr(request._request, "request_id", ""))
    data = {"status": "unhealthy", "storage": "disconnected", "collection": None}
    return Response(body | {"data": data}, status=status, headers={"Retry-After": "5", "Cache-Control": "no-store"})


class Metrics(rest.View):
    """`/api/v1/system/metrics`, and `/v1/performance/metrics/current`."""

    renderer_classes = rendering.LARGE

    @rest.operation(SampleRow, shape=rest.Shape.PAGE, parameters={"organization_id": ORGANIZATION})
    def get(self, request: Request) -> Response:
        """List the latest row of every organization the caller sees, and of each of its orchestrators."""
        organizations = scope.organizations(request, self.query["organization_id"])
        return rest.page_of(request, latest.rows(organizations), SampleRow)


class OrganizationMetrics(rest.View):
    """`/api/v1/system/metrics/organization/{org}`."""

    renderer_classes = rendering.LARGE

    @rest.operation(
        SampleRow,
        shape=rest.Shape.PAGE,
        parameters={
            "hours_back": HOURS,
            "limit": rest.Parameter("Rows on a page, 500 where nothing is said.", "integer", maximum=1000),
        },
    )
    def get(self, request: Request, organization_id: str) -> Response:
        """List an organization's rows, newest first."""
        organization_id = scope.named(request, organization_id)
        size = self.query["page_size"] if "page_size" in request.query_params else LIMIT
        self.query["page_size"] = self.query["limit"] or size
        since = timezone.now() - timedelta(hours=self.query["hours_back"])
        rows = SystemMetric.objects.filter(organization_id=organization_id, timestamp__gte=since)
        return rest.page(request, rows.order_by("-timestamp", "-id"), SampleRow)


class LatestMetrics(rest.View):
    """`/api/v1/system/metrics/organization/{org}/latest`."""

    @rest.operation(SampleRow)
    def get(self, request: Request, organization_id: str) -> Response:
        """Answer an organization's newest row, of its host or of any of its orchestrators."""
        found = latest.rows([scope.named(request, organization_id)])
        if not found:
            raise NotFound(detail="Nothing was measured for this organization yet.")
        return rest.answer(SampleRow(max(found, key=lambda row: row.timestamp)).data)


class MetricsSummary(rest.View):
    """`/api/v1/system/metrics/summary/{cpu|memory|storage}`."""

    @rest.operation(Summary, parameters={"organization_id": ORGANIZATION, "hours_back": HOURS})
    def get(self, request: Request, kind: str) -> Response:
        """Answer what the samples come to; the first numbers are those of the share in use, in percent."""
        organizations = scope.organizations(request, self.query["organization_id"])
        if kind not in SUMMARIES:
            raise NotFound(detail=f"There are summaries of {', '.join(SUMMARIES)}.")
        now, hours, names = timezone.now(), self.query["hours_back"], SUMMARIES[kind]
        found = statistics.summarize(
            organizations=organizations, columns=names, since=now - timedelta(hours=hours), until=now
        )
        named = organizations[0] if organizations is not None and len(organizations) == 1 else None
        told = {"metric": kind, "organization_id": named, "hours_back": hours, "columns": found}
        return rest.answer(told | found[names[0]])


class Collect(rest.View):
    """`/api/v1/system/collect/immediate`."""

    @rest.operation(SampleRow, body=Nothing, body_may_be_empty=True, parameters={"organization_id": ORGANIZATION})
    def post(self, request: Request) -> Response:
        """Measure the controller's host now, for DEFAULT_ORGANIZATION_ID where none is named (superadmin)."""
        organizations = scope.organizations(request, self.query["organization_id"])
        access.require_superadmin(request)
        rest.body(request, Nothing, may_be_empty=True)
        return _collected(request, organizations[0] if organizations else settings.DEFAULT_ORGANIZATION_ID)


class CollectFor(rest.View):
    """`/api/v1/system/collect/organization/{org}`."""

    @rest.operation(SampleRow, body=Nothing, body_may_be_empty=True)
    def post(self, request: Request, organization_id: str) -> Response:
        """Measure the controller's host now, for an organization (superadmin)."""
        organization_id = scope.named(request, organization_id)
        access.require_superadmin(request)
        rest.body(request, Nothing, may_be_empty=True)
        return _collected(request, organization_id)


def _collected(request: Request, organization_id: str) -> Response:
    row = collecting.collect(organization_id, collected_by=access.caller(request).name[:50])
    return rest.answer(SampleRow(row).data)


class CollectionStatus(rest.View):
    """`/api/v1/system/status/background` and `/api/v1/system/status/collection`."""

    @rest.operation(CollectionRow, parameters={"organization_id": ORGANIZATION}, errors=("organization_required",))
    def get(self, request: Request) -> Response:
        """Answer how collecting goes for an organization; for all of them together, where a superadmin names none."""
        found = scope.organizations(request, self.query["organization_id"])
        of = None if found is None else scope.one(request, self.query["organization_id"])
        return rest.answer(CollectionRow(collecting.status(of)).data)
