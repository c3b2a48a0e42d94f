"""The door of exported samples: JSON, CSV, Prometheus' format, and series for Grafana (API §5)."""

from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any, Final

import orjson
from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request

from monitoring import periods, scope
from monitoring.metrics import latest, prometheus, series
from monitoring.models import NUMBERS, SystemMetric
from monitoring.periods import Period
from monitoring.rows import FIELDS, SampleRow
from moolai.errors import AppError
from orgs import rest, spreadsheet

FORMATS: Final = ("json", "prometheus", "grafana", "csv")
DEFAULT_HOURS: Final = 24
MAX_ROWS: Final = 20_000
JSON, TEXT, CSV = "application/json", "text/plain", "text/csv"


class Exported(serializers.Serializer[Any]):
    """Samples, oldest first (`format=json`); `format=grafana` is a list of series instead."""

    organization_id = serializers.CharField(allow_null=True)
    start_date = serializers.DateTimeField()
    end_date = serializers.DateTimeField()
    count = serializers.IntegerField()
    metrics = SampleRow(many=True)


class ExportMetrics(rest.View):
    """`/export/metrics`."""

    @rest.operation(
        content_types=(JSON, CSV, TEXT),
        parameters={
            "org_id": rest.Parameter("Only this organization's."),
            **periods.PARAMETERS,
            "start_date": rest.Parameter("From this moment on; 24 hours before the end.", "date-time"),
            "format": rest.Parameter("json, where nothing is said.", choices=FORMATS, default="json"),
        },
    )
    def get(self, request: Request) -> HttpResponse:
        """Export samples of a period (json, csv), each source's latest one (prometheus), or series (grafana)."""
        organizations = scope.organizations(request, self.query["org_id"])
        if self.query["start_date"] is None:
            end_at = self.query["end_date"] or timezone.now()
            self.query["start_date"] = end_at - timedelta(hours=DEFAULT_HOURS)
        body, content_type = WRITERS[self.query["format"]](organizations, periods.read(request, self.query))
        response = HttpResponse(body, content_type=content_type, headers={"Cache-Control": "no-store"})
        if content_type == spreadsheet.CONTENT_TYPE:
            response["Content-Disposition"] = 'attachment; filename="metrics.csv"'
        return response


Scope = Collection[str] | None


def _rows(organizations: Scope, period: Period) -> list[SystemMetric]:
    """Return the samples of a period, oldest first; refuses more than fit rather than cut them off."""
    rows: QuerySet[SystemMetric] = SystemMetric.objects.order_by("timestamp", "id")
    rows = rows.filter(timestamp__gte=period.start_at, timestamp__lt=period.end_at)
    if organizations is not None:
        rows = rows.filter(organization_id__in=list(organizations))
    found = list(rows[: MAX_ROWS + 1])
    if len(found) > MAX_ROWS:
        raise AppError("invalid_parameter", f"These are more than {MAX_ROWS} samples: choose a shorter period.")
    return found


def _json(organizations: Scope, period: Period) -> tuple[bytes, str]:
    rows = _rows(organizations, period)
    named = next(iter(organizations)) if organizations is not None and len(organizations) == 1 else None
    told = {
        "organization_id": named,
        "start_date": period.start_at,
        "end_date": period.end_at,
        "count": len(rows),
        "metrics": rows,
    }
    return orjson.dumps(Exported(told).data, option=orjson.OPT_UTC_Z), JSON


def _csv(organizations: Scope, period: Period) -> tuple[bytes, str]:
    rows = _rows(organizations, period)
    return spreadsheet.encode(
        [FIELDS, *([getattr(row, name) for name in FIELDS] for row in rows)]
    ), spreadsheet.CONTENT_TYPE


def _prometheus(organizations: Scope, period: Period) -> tuple[bytes, str]:
    """Write the latest sample of every source, where it lies in the period."""
    rows = [row for row in latest.rows(organizations) if period.start_at <= row.timestamp < period.end_at]
    return prometheus.of_samples(rows)


def _grafana(organizations: Scope, period: Period) -> tuple[bytes, str]:
    """Write `[{"target", "datapoints": [[value, milliseconds since 1970], …]}]`, as its JSON data sources read it."""
    found = series.read(
        organizations=organizations, columns=NUMBERS, since=period.start_at, until=period.end_at, now=timezone.now()
    )
    told = [
        {"target": name, "datapoints": [[average, at * 1000] for at, average, _, _ in points]}
        for name, points in found.columns.items()
        if points
    ]
    return orjson.dumps(told), JSON


WRITERS: Final[dict[str, Callable[[Scope, Period], tuple[bytes, str]]]] = {
    "json": _json,
    "prometheus": _prometheus,
    "grafana": _grafana,
    "csv": _csv,
}
