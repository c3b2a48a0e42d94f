"""REST doors of analytics: performance and queries (API §3)."""

from collections.abc import Mapping
from datetime import UTC, timedelta
from typing import Any, Final

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from monitoring import periods, scope
from monitoring.analytics import insights, performance, query
from monitoring.analytics.query import Spec
from monitoring.analytics.spec import AGGREGATIONS, MAX_LIMIT
from monitoring.periods import Period
from moolai.errors import AppError
from orgs import parsing, rest

WHOSE: Final = {
    "organization_id": rest.Parameter("Only this organization's."),
    "organization_ids": rest.Parameter("Only these organizations', separated by commas."),
}
PERCENTILES: Final = "50,90,95,99"
MAX_PERCENTILES: Final = 10
INSIGHT_DAYS: Final = 7
MAX_INSIGHT_SPAN: Final = timedelta(days=92)


class Numbers(serializers.Serializer[Any]):
    """A value with its extremes and the number of samples behind it."""

    value = serializers.FloatField(allow_null=True)
    min = serializers.FloatField(allow_null=True)
    max = serializers.FloatField(allow_null=True)
    sample_count = serializers.IntegerField()


class PerformancePoint(serializers.Serializer[Any]):
    """What a bucket comes to."""

    timestamp = serializers.DateTimeField(help_text="The bucket's beginning.")
    value = serializers.FloatField(allow_null=True)
    sample_count = serializers.IntegerField()
    percentiles = serializers.DictField(child=serializers.FloatField(allow_null=True), required=False)


class PerformanceGroup(Numbers):
    """What a group comes to: an organization, an endpoint, a model, an orchestrator."""

    key = serializers.CharField(
        allow_blank=True, help_text="Empty: nobody's calls, or the samples of an organization's host."
    )
    percentiles = serializers.DictField(child=serializers.FloatField(allow_null=True))


class PerformanceRow(serializers.Serializer[Any]):
    """Performance over a period; `basis` says what was measured."""

    metric_type = serializers.ChoiceField(performance.TYPES)
    unit = serializers.CharField()
    basis = serializers.CharField()
    note = serializers.CharField(allow_blank=True)
    start_date = serializers.DateTimeField()
    end_date = serializers.DateTimeField()
    measured_from = serializers.DateTimeField(help_text="Nothing older is kept.")
    group_by = serializers.ChoiceField(performance.GROUPS, allow_null=True)
    step_seconds = serializers.IntegerField()
    summary = Numbers()
    percentiles = serializers.DictField(child=serializers.FloatField(allow_null=True))
    series = PerformancePoint(many=True)
    groups = PerformanceGroup(many=True)
    groups_total = serializers.IntegerField()


class Performance(rest.View):
    """`/api/v1/controller/performance`."""

    @rest.operation(
        PerformanceRow,
        parameters={
            "metric_type": rest.Parameter(
                "latency, where nothing is said.", choices=performance.TYPES, default="latency"
            ),
            "percentiles": rest.Parameter("Up to ten, between 0 and 100, separated by commas.", default=PERCENTILES),
            "group_by": rest.one_of(list(performance.GROUPS), "By what there are groups; without it there are none."),
            **WHOSE,
            **periods.PARAMETERS,
        },
    )
    def get(self, request: Request) -> Response:
        """Answer latency, throughput, errors or availability of a period: in all, over time, and by group."""
        organizations = scope.several(request, self.query["organization_id"], self.query["organization_ids"])
        period = period_of(request, self.query)
        asked = performance.Asked(
            self.query["metric_type"],
            organizations,
            period.start_at,
            period.end_at,
            _percentiles(self.query["percentiles"]),
            self.query["group_by"] or None,
        )
        return rest.answer(PerformanceRow(performance.build(asked, now=timezone.now())).data)


def period_of(request: Request, values: Mapping[str, Any]) -> Period:
    """Return the period of the call, in UTC: hours and days begin where UTC's do."""
    period = periods.read(request, values)
    return Period(period.start_at.astimezone(UTC), period.end_at.astimezone(UTC))


def _percentiles(text: str) -> list[float]:
    parts = [part.strip() for part in text.split(",")]
    try:
        found = [float(part) for part in parts]
    except ValueError:
        found = []
    if not 1 <= len(found) <= MAX_PERCENTILES or not all(0 < number < 100 for number in found):
        raise AppError("invalid_parameter", f"percentiles are up to {MAX_PERCENTILES} numbers between 0 and 100.")
    return list(dict.fromkeys(found))


# --- insights ---------------------------------------------------------------------------------------------------------


class FindingRow(serializers.Serializer[Any]):
    """What was found, and the numbers behind it."""

    insight_type = serializers.ChoiceField(list(insights.FINDERS))
    topic = serializers.CharField(help_text="What it is about: a metric, a group, a pattern.")
    title = serializers.CharField()
    detail = serializers.CharField()
    severity = serializers.ChoiceField(["info", "warning", "critical"])
    numbers = serializers.DictField()


class AdviceRow(serializers.Serializer[Any]):
    """What to do; `finding` is the place of its reason in `findings`, from 0."""

    finding = serializers.IntegerField()
    insight_type = serializers.ChoiceField(list(insights.FINDERS))
    severity = serializers.ChoiceField(["info", "warning", "critical"])
    title = serializers.CharField()
    detail = serializers.CharField()
    numbers = serializers.DictField()


class InsightsRow(serializers.Serializer[Any]):
    """Findings, and recommendations, most urgent first."""

    start_date = serializers.DateTimeField()
    end_date = serializers.DateTimeField()
    findings = FindingRow(many=True)
    recommendations = AdviceRow(many=True)


class Insights(rest.View):
    """`/api/v1/controller/insights`."""

    @rest.operation(
        InsightsRow,
        parameters={
            "insight_type": rest.one_of(list(insights.FINDERS), "All, where nothing is said."),
            **WHOSE,
            **periods.PARAMETERS,
            "start_date": rest.Parameter("From this moment on; 7 days before the end.", "date-time"),
        },
    )
    def get(self, request: Request) -> Response:
        """Answer what the measurements of a period show, each with the numbers behind it."""
        organizations = scope.several(request, self.query["organization_id"], self.query["organization_ids"])
        now = timezone.now()
        if self.query["start_date"] is None:
            self.query["start_date"] = (self.query["end_date"] or now) - timedelta(days=INSIGHT_DAYS)
        period = period_of(request, self.query)
        if period.end_at - period.start_at > MAX_INSIGHT_SPAN:
            raise AppError("invalid_parameter", f"At most {MAX_INSIGHT_SPAN.days} days.")
        wanted = self.query["insight_type"]
        found = insights.build(
            [wanted] if wanted else list(insights.FINDERS),
            organizations=organizations,
            since=period.start_at,
            until=period.end_at,
            now=now,
        )
        return rest.answer(InsightsRow(found).data)


# --- queries ----------------------------------------------------------------------------------------------------------


class TimeRange(serializers.Serializer[Any]):
    """From `start` on, until before `end` (a day: to its end)."""

    start = serializers.CharField()
    end = serializers.CharField()


class Question(serializers.Serializer[Any]):
    """What a query asks for; a filter is a value or a list of them, `group_by` a name or a list of them."""

    metrics = serializers.ListField(child=serializers.CharField())
    time_range = TimeRange()
    filters = serializers.DictField(required=False)
    group_by = serializers.JSONField(required=False)
    aggregation = serializers.ChoiceField(AGGREGATIONS, required=False)
    limit = serializers.IntegerField(required=False, min_value=1, max_value=MAX_LIMIT)


class QueryRow(serializers.Serializer[Any]):
    """The rows of a query: `timestamp` where it is by time, the dimensions, a number or null per metric."""

    columns = serializers.ListField(child=serializers.CharField())
    rows = serializers.ListField(child=serializers.DictField())
    row_count = serializers.IntegerField()
    has_more = serializers.BooleanField()


class Query(rest.View):
    """`/api/v1/controller/query`."""

    @rest.operation(QueryRow, body=Question, parameters=WHOSE)
    def post(self, request: Request) -> Response:
        """Answer rows of named metrics; it changes nothing."""
        organizations = scope.several(request, self.query["organization_id"], self.query["organization_ids"])
        spec = Spec.parse(parsing.read(request._request))
        if wanted := spec.filters.get("organization"):
            scope.named_ones(request, wanted)
        return rest.answer(_answered(spec, list(query.rows(spec.one_more(), organizations=organizations))))


def _answered(spec: Spec, rows: list[dict[str, Any]]) -> dict[str, Any]:
    has_more = spec.limit is not None and len(rows) > spec.limit
    shown = rows[: spec.limit]
    return {"columns": list(spec.columns), "rows": shown, "row_count": len(shown), "has_more": has_more}
