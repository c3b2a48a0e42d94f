"""Metric samples in the console: a list, the series that charts draw, the latest of each orchestrator."""

from typing import Any, Final

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import RangeDateTimeFilter

from monitoring.admin import machines
from monitoring.admin.exports import ExportPage
from monitoring.metrics import charts
from monitoring.models import NUMBERS, SystemMetric
from orgs.admin.base import LongListAdmin, ago

SLIDES_SECONDS: Final = 30  # an unchanged chart is sent again this often: its beginning moves
MAX_COLUMNS: Final = 16


@admin.register(SystemMetric)
class SystemMetricAdmin(ExportPage, LongListAdmin):
    """Samples, newest first."""

    list_before_template = "admin/monitoring/systemmetric/tools.html"

    list_display = ["when", "source", "organization", "cpu", "memory", "collected_by"]
    list_filter = [("timestamp", RangeDateTimeFilter)]
    search_fields = ["=orchestrator_id", "=organization_id"]
    search_help_text = "Search by orchestrator id or organization id, in full"
    ordering = ["-timestamp"]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[SystemMetric], search_term: str
    ) -> tuple[QuerySet[SystemMetric], bool]:
        """Look for an orchestrator of this name, else for an organization: either is read along an index of its own."""
        if name := search_term.strip():
            ours = queryset.filter(orchestrator_id=name)
            return (ours if ours.exists() else queryset.filter(organization_id=name)), False
        return queryset, False

    def get_urls(self) -> list[URLPattern]:
        """Add the series that the charts read, the table of the latest samples, and the page of exports."""
        wrap = self.admin_site.admin_view
        own = [
            path("series/", wrap(self.series_view), name="monitoring_systemmetric_series"),
            path("latest/", wrap(self.latest_view), name="monitoring_systemmetric_latest"),
            path("export/", wrap(self.export_view), name="monitoring_systemmetric_export"),
        ]
        return [*own, *super().get_urls()]

    def series_view(self, request: HttpRequest) -> HttpResponse:
        """Answer what charts draw over `?range=`, 304 when that is what the browser has.

        Of `organization_id` and `orchestrator_id` (empty: the host; absent: everything in the organization), the
        `columns`, with `calls=1` the calls of the API, with `tasks=own` (or `all`) the tasks of the organization (of
        all organizations). `{"range", "since", "until", "measured", "calls", "tasks", "latest"}`
        (monitoring/metrics/charts.py); `latest` is `[epoch seconds, {column: value}]` of the newest sample.
        """
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        asked = _asked(request)
        if isinstance(asked, str):
            return JsonResponse({"detail": asked}, status=400)
        organization_id, orchestrator_id, names = asked
        span, until = request.GET.get("range", "1h"), timezone.now()
        newest = _newest(organization_id, orchestrator_id, names)
        tag = f'"{span}-{newest and newest[0]}-{int(until.timestamp()) // SLIDES_SECONDS}"'
        if request.headers.get("If-None-Match") == tag:
            return HttpResponse(status=304, headers={"ETag": tag})
        since = until - charts.RANGES[span]
        found: dict[str, Any] = {"range": span, "since": since.timestamp(), "until": until.timestamp()}
        found["latest"] = [newest[1].timestamp(), dict(zip(names, newest[2:], strict=True))] if newest else None
        found["measured"] = charts.measured(
            organization_id, orchestrator_id=orchestrator_id, columns=names, since=since, until=until
        )
        found["calls"] = charts.calls(since=since, until=until) if "calls" in request.GET else None
        whose = None if request.GET.get("tasks") == "all" else organization_id
        found["tasks"] = charts.tasks(whose, since=since, until=until) if "tasks" in request.GET else None
        return JsonResponse(found, headers={"ETag": tag})

    def latest_view(self, request: HttpRequest) -> HttpResponse:
        """Answer the table of an organization's orchestrators with their latest samples, busiest first."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        organization_id = request.GET.get("organization_id", "")[:50]
        return render(request, "console/charts/machines.html", machines.table(organization_id, now=timezone.now()))

    @display(description="When", ordering="timestamp")
    def when(self, row: SystemMetric) -> SafeString:
        """Show the time."""
        return ago(row.timestamp)

    @display(description="Of", ordering="orchestrator_id")
    def source(self, row: SystemMetric) -> str:
        """Show whose sample it is."""
        return row.orchestrator_id or "this controller's host"

    @display(description="Organization", ordering="organization_id")
    def organization(self, row: SystemMetric) -> str:
        """Show for which organization it counts."""
        return row.organization_id

    @display(description="CPU", ordering="cpu_usage_percent")
    def cpu(self, row: SystemMetric) -> str:
        """Show the share of the processors."""
        return "–" if row.cpu_usage_percent is None else f"{row.cpu_usage_percent:.1f} %"

    @display(description="Memory", ordering="memory_percent")
    def memory(self, row: SystemMetric) -> str:
        """Show the share of the memory."""
        return "–" if row.memory_percent is None else f"{row.memory_percent:.1f} %"


def _asked(request: HttpRequest) -> tuple[str, str | None, list[str]] | str:
    """Return the organization, the orchestrator and the columns that are asked for; a sentence when they cannot be."""
    names = [name for name in request.GET.get("columns", "").split(",") if name]
    if request.GET.get("range", "1h") not in charts.RANGES:
        return f"range must be one of {', '.join(charts.RANGES)}."
    if not request.GET.get("organization_id"):
        return "organization_id must be given."
    if not 1 <= len(names) <= MAX_COLUMNS or len(set(names)) != len(names) or not set(names) <= set(NUMBERS):
        return f"columns must be 1 to {MAX_COLUMNS} different columns of a sample."
    return request.GET["organization_id"][:50], request.GET.get("orchestrator_id"), names


def _newest(organization_id: str, orchestrator_id: str | None, names: list[str]) -> tuple[Any, ...] | None:
    rows = SystemMetric.objects.filter(organization_id=organization_id)
    if orchestrator_id is not None:
        rows = rows.filter(orchestrator_id=orchestrator_id)
    return rows.order_by("-timestamp").values_list("pk", "timestamp", *names).first()
