"""REST doors of performance: component health, history, statistics, status, recommendations (API §5)."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from monitoring import optimization, scope
from monitoring.metrics import calls, collecting, latest, levels, series, statistics
from monitoring.models import NUMBERS
from monitoring.rows import HOURS, ORGANIZATION, CollectionRow, Statistics
from moolai.errors import AppError
from orchestrators.protocol import iso
from orgs import rendering, rest

MAIN: Final = (
    "cpu_usage_percent", "memory_percent", "storage_percent", "disk_read_mb_s", "disk_write_mb_s", "network_in_mb_s",
    "network_out_mb_s", "api_latency_ms", "db_latency_ms", "redis_latency_ms",
)  # fmt: skip
LEVELS: Final = list(levels.WORST_LAST)
COLUMNS: Final = rest.Parameter("Columns, separated by commas; the usual ones where nothing is said.")
POINTS: Final = rest.Parameter("How many points a series has at most.", "integer", default=720, maximum=2000)


class Component(serializers.Serializer[Any]):
    """How a part is, and the measurement that says so; without a fresh one it is unknown."""

    level = serializers.ChoiceField(LEVELS)
    metric = serializers.CharField()
    value = serializers.FloatField(allow_null=True)
    unit = serializers.CharField()
    warning_at = serializers.FloatField(allow_null=True)
    critical_at = serializers.FloatField(allow_null=True)
    measured_at = serializers.DateTimeField(allow_null=True)
    organization_id = serializers.CharField(allow_null=True)
    orchestrator_id = serializers.CharField(
        allow_null=True, allow_blank=True, help_text="Empty: the organization's host."
    )


class Health(serializers.Serializer[Any]):
    """The worst level, and each part's."""

    status = serializers.ChoiceField(LEVELS)
    components = serializers.DictField(child=Component())


class Point(serializers.Serializer[Any]):
    """What the values of one bucket come to."""

    timestamp = serializers.DateTimeField(help_text="The bucket's beginning.")
    avg = serializers.FloatField()
    min = serializers.FloatField()
    max = serializers.FloatField()


class HistoryRow(serializers.Serializer[Any]):
    """Series over time, oldest first; buckets without a value are left out."""

    resolution = serializers.ChoiceField(["raw", "hourly", "daily"])
    step_seconds = serializers.IntegerField()
    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    series = serializers.DictField(child=serializers.ListField(child=Point()))


class SummaryRow(serializers.Serializer[Any]):
    """Statistics by column."""

    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    columns = serializers.DictField(child=Statistics())


class CallsRow(serializers.Serializer[Any]):
    """Calls of the controller's API in the span."""

    count = serializers.IntegerField()
    client_errors = serializers.IntegerField()
    server_errors = serializers.IntegerField()
    error_rate = serializers.FloatField(allow_null=True)
    avg_ms = serializers.FloatField(allow_null=True)
    p50_ms = serializers.FloatField(allow_null=True)
    p95_ms = serializers.FloatField(allow_null=True)
    p99_ms = serializers.FloatField(allow_null=True)
    max_ms = serializers.FloatField(allow_null=True)


class StatusRow(serializers.Serializer[Any]):
    """How things are: the parts, the calls of the last hour, and how collecting goes."""

    status = serializers.ChoiceField(LEVELS)
    requests = CallsRow()
    collection = CollectionRow(allow_null=True)


class Measured(serializers.Serializer[Any]):
    """The measurement behind a recommendation."""

    metric = serializers.CharField()
    statistic = serializers.CharField()
    value = serializers.FloatField()
    unit = serializers.CharField()
    threshold = serializers.FloatField()
    sample_count = serializers.IntegerField()
    since = serializers.DateTimeField()
    until = serializers.DateTimeField()


class Advice(serializers.Serializer[Any]):
    """What to do, how urgent it is, and why."""

    component = serializers.CharField()
    severity = serializers.ChoiceField(["info", "warning", "critical"])
    title = serializers.CharField()
    detail = serializers.CharField()
    measurement = Measured()


class OptimizationRow(serializers.Serializer[Any]):
    """Recommendations, most urgent first."""

    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    recommendations = Advice(many=True)


class OptimizationWish(serializers.Serializer[Any]):
    """What to look at."""

    organization_id = serializers.CharField(required=False, max_length=50)
    hours_back = serializers.IntegerField(required=False, default=24, min_value=1, max_value=720)


class PerformanceHealth(rest.View):
    """`/v1/performance/health`."""

    @rest.operation(Health, parameters={"organization_id": ORGANIZATION})
    def get(self, request: Request) -> Response:
        """Answer the level of processors, memory, disk, network, database and Redis, by the latest samples."""
        rows = latest.rows(scope.organizations(request, self.query["organization_id"]))
        found = levels.components(rows, now=timezone.now())
        return rest.answer(Health({"status": levels.overall(found), "components": found}).data)


class History(rest.View):
    """`/v1/performance/metrics/history`."""

    renderer_classes = rendering.LARGE

    @rest.operation(
        HistoryRow,
        parameters={
            "organization_id": ORGANIZATION,
            "orchestrator_id": rest.Parameter("Only this orchestrator's; `host` for the samples of the host itself."),
            "columns": COLUMNS,
            "hours_back": HOURS,
            "max_points": POINTS,
        },
    )
    def get(self, request: Request) -> Response:
        """Answer series of columns: from samples up to 3 hours, from hourly roll-ups up to 14 days, then daily ones."""
        organizations = scope.organizations(request, self.query["organization_id"])
        until = timezone.now()
        since, wanted = until - timedelta(hours=self.query["hours_back"]), self.query["orchestrator_id"]
        found = series.read(
            organizations=organizations,
            orchestrator_id="" if wanted == "host" else wanted,
            columns=_columns(self.query["columns"]),
            since=since,
            until=until,
            max_points=self.query["max_points"],
            now=until,
        )
        points = {name: _points(values) for name, values in found.columns.items()}
        told = {"resolution": found.resolution, "step_seconds": found.step_seconds, "since": since, "until": until}
        return rest.answer(told | {"series": points})  # as HistoryRow has it, without a field for each of the numbers


def _points(values: Sequence[series.Value]) -> list[dict[str, Any]]:
    return [{"timestamp": _moment(at), "avg": avg, "min": low, "max": high} for at, avg, low, high in values]


@lru_cache(maxsize=4096)  # the columns of a series share their buckets
def _moment(at: int) -> str:
    return iso(datetime.fromtimestamp(at, UTC))


def _columns(text: str | None) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()] if text else list(MAIN)
    if unknown := [name[:50] for name in names if name not in NUMBERS]:
        raise AppError("invalid_parameter", f"There is no column {unknown[0]!r}.")
    if not names:
        raise AppError("invalid_parameter", "Name at least one column.")
    return list(dict.fromkeys(names))


class PerformanceSummary(rest.View):
    """`/v1/performance/metrics/summary`."""

    @rest.operation(SummaryRow, parameters={"organization_id": ORGANIZATION, "columns": COLUMNS, "hours_back": HOURS})
    def get(self, request: Request) -> Response:
        """Answer statistics of columns over the time before now."""
        organizations = scope.organizations(request, self.query["organization_id"])
        until, columns = timezone.now(), _columns(self.query["columns"])
        since = until - timedelta(hours=self.query["hours_back"])
        found = statistics.summarize(organizations=organizations, columns=columns, since=since, until=until, now=until)
        return rest.answer(SummaryRow({"since": since, "until": until, "columns": found}).data)


class PerformanceStatus(rest.View):
    """`/v1/performance/status`."""

    @rest.operation(StatusRow, parameters={"organization_id": ORGANIZATION})
    def get(self, request: Request) -> Response:
        """Answer how things are now; of the calls of the API a member sees those of its organization."""
        organizations = scope.organizations(request, self.query["organization_id"])
        now = timezone.now()
        found = levels.components(latest.rows(organizations), now=now)
        counted = calls.by_route(organizations=organizations, since=now - timedelta(hours=1), until=now, now=now)
        is_one = organizations is not None and len(organizations) == 1
        status = collecting.status(organizations[0] if organizations and is_one else None, now=now)
        told = {"status": levels.overall(found), "requests": calls.together(counted).told()}
        is_told = is_one or organizations is None  # of several together there is no such thing
        return rest.answer(StatusRow(told | {"collection": status if is_told else None}).data)


class Optimization(rest.View):
    """`/v1/performance/optimize`."""

    @rest.operation(OptimizationRow, body=OptimizationWish, body_may_be_empty=True)
    def post(self, request: Request) -> Response:
        """Answer what the measurements give reason to change; each recommendation names its measurement."""
        organizations = scope.organizations(request)
        wish = rest.body(request, OptimizationWish, may_be_empty=True)
        if wish.get("organization_id"):
            organizations = scope.organizations(request, wish["organization_id"])
        until = timezone.now()
        since = until - timedelta(hours=wish["hours_back"])
        found = optimization.recommend(organizations=organizations, since=since, until=until)
        return rest.answer(OptimizationRow({"since": since, "until": until, "recommendations": found}).data)
