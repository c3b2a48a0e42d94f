"""Metric samples in the console: a list to look at, and the series that the charts draw."""

from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import RangeDateTimeFilter

from monitoring.admin.exports import ExportPage
from monitoring.metrics import series
from monitoring.models import SystemMetric
from orgs.admin.base import LongListAdmin, ago

RANGES: Final = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
DRAWN: Final = ("cpu_usage_percent", "memory_percent")
SLIDES_SECONDS: Final = 30  # an unchanged chart is sent again this often: its beginning moves


@admin.register(SystemMetric)
class SystemMetricAdmin(ExportPage, LongListAdmin):
    """Samples, newest first."""

    list_before_template = "admin/monitoring/systemmetric/tools.html"

    list_display = ["when", "orchestrator_id", "organization_id", "cpu", "memory", "collected_by"]
    list_filter = [("timestamp", RangeDateTimeFilter)]
    search_fields = ["=orchestrator_id", "=organization_id"]
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
        """Add the series the charts read, and the page of exports."""
        wrap = self.admin_site.admin_view
        own = [
            path("series/", wrap(self.series_view), name="monitoring_systemmetric_series"),
            path("export/", wrap(self.export_view), name="monitoring_systemmetric_export"),
        ]
        return [*own, *super().get_urls()]

    def series_view(self, request: HttpRequest) -> HttpResponse:
        """Answer what a chart draws of `?orchestrator_id=` over `?range=`, 304 when that is what the browser has.

        `{"range", "resolution", "points": [[epoch seconds, cpu %, memory %], …], "latest": [cpu %, memory %]}`.
        """
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        span = request.GET.get("range", "1h")
        if span not in RANGES:
            return JsonResponse({"detail": f"range must be one of {', '.join(RANGES)}."}, status=400)
        orchestrator_id, now = request.GET.get("orchestrator_id", ""), timezone.now()
        rows = SystemMetric.objects.filter(orchestrator_id=orchestrator_id).order_by("-timestamp")
        newest = rows.values_list("pk", *DRAWN).first()
        tag = f'"{span}-{newest and newest[0]}-{int(now.timestamp()) // SLIDES_SECONDS}"'
        if request.headers.get("If-None-Match") == tag:
            return HttpResponse(status=304, headers={"ETag": tag})
        latest = list(newest[1:]) if newest else [None, None]
        drawn = _drawn(orchestrator_id, since=now - RANGES[span], until=now)
        return JsonResponse({"range": span, "latest": latest, **drawn}, headers={"ETag": tag})

    @display(description="When", ordering="timestamp")
    def when(self, row: SystemMetric) -> SafeString:
        """Show the time."""
        return ago(row.timestamp)

    @display(description="CPU", ordering="cpu_usage_percent")
    def cpu(self, row: SystemMetric) -> str:
        """Show the share of the processors."""
        return "–" if row.cpu_usage_percent is None else f"{row.cpu_usage_percent:.1f} %"

    @display(description="Memory", ordering="memory_percent")
    def memory(self, row: SystemMetric) -> str:
        """Show the share of the memory."""
        return "–" if row.memory_percent is None else f"{row.memory_percent:.1f} %"


def _drawn(orchestrator_id: str, *, since: datetime, until: datetime) -> dict[str, Any]:
    """Return the averages of both columns side by side, None where one has no value."""
    found = series.read(organizations=None, orchestrator_id=orchestrator_id, columns=DRAWN, since=since, until=until)
    points: dict[int, list[Any]] = {}
    for index, name in enumerate(DRAWN, start=1):
        for at, average, *_ in found.columns[name]:
            points.setdefault(at, [at, None, None])[index] = round(average, 3)
    return {"resolution": found.resolution, "points": [points[at] for at in sorted(points)]}
