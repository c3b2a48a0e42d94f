"""Metric samples in the console: a list to look at, and the last hour of one orchestrator for its page's chart."""

from datetime import timedelta
from typing import Final

from django.contrib import admin
from django.contrib.admin import display
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import RangeDateTimeFilter

from monitoring.models import SystemMetric
from orgs.admin.base import LongListAdmin, ago

WINDOW: Final = timedelta(hours=1)
MAX_POINTS: Final = 720


@admin.register(SystemMetric)
class SystemMetricAdmin(LongListAdmin):
    """Samples, newest first."""

    list_display = ["when", "orchestrator_id", "organization_id", "cpu", "memory", "collected_by"]
    list_filter = [("timestamp", RangeDateTimeFilter)]
    search_fields = ["=orchestrator_id", "=organization_id"]
    ordering = ["-timestamp"]

    def get_urls(self) -> list[URLPattern]:
        """Add the series the charts read."""
        view = self.admin_site.admin_view(self.series_view)
        return [path("series/", view, name="monitoring_systemmetric_series"), *super().get_urls()]

    def series_view(self, request: HttpRequest) -> HttpResponse:
        """Answer `{"points": [[epoch seconds, cpu %, memory %], …]}` of `?orchestrator_id=` for the last hour."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        since = timezone.now() - WINDOW
        rows = SystemMetric.objects.filter(orchestrator_id=request.GET.get("orchestrator_id", ""), timestamp__gte=since)
        columns = rows.order_by("-timestamp").values_list("timestamp", "cpu_usage_percent", "memory_percent")[
            :MAX_POINTS
        ]
        return JsonResponse(
            {"points": [[round(at.timestamp(), 1), cpu, memory] for at, cpu, memory in reversed(columns)]}
        )

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
