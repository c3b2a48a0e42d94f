"""Samples and statistics as the API writes them (API §5)."""

from operator import attrgetter
from typing import Any, Final

from django.db.models import QuerySet
from rest_framework import serializers

from monitoring.models import NUMBERS, SystemMetric
from orgs import rest

IDENTITY: Final = ("metric_id", "user_id", "organization_id", "orchestrator_id", "timestamp")
ORIGIN: Final = ("collected_by", "collection_duration_ms", "created_at", "custom")
FIELDS: Final = [*IDENTITY, *(name for name in NUMBERS if name not in ORIGIN), *ORIGIN]
_columns: Final = attrgetter(*FIELDS)
ORGANIZATION: Final = rest.Parameter("Only this organization's.")
MAX_HOURS: Final = 24 * 366
HOURS: Final = rest.Parameter("How many hours back from now.", "integer", default=24, maximum=MAX_HOURS)


class _SampleRows(serializers.ListSerializer[Any]):
    """Many samples, without a serializer's field for each of their values."""

    def to_representation(self, data: Any) -> list[dict[str, Any]]:
        """Return the columns by name; the renderer writes times as the fields would."""
        if isinstance(data, QuerySet):
            return [dict(zip(FIELDS, values, strict=True)) for values in data.values_list(*FIELDS)]
        return [dict(zip(FIELDS, _columns(row), strict=True)) for row in data]


class SampleRow(serializers.ModelSerializer[SystemMetric]):
    """One sample of a machine or an orchestrator; what it could not tell is null."""

    class Meta:
        model = SystemMetric
        fields = FIELDS
        list_serializer_class = _SampleRows


class Statistics(serializers.Serializer[Any]):
    """What the values of a column come to; null where there is none."""

    avg = serializers.FloatField(allow_null=True)
    max = serializers.FloatField(allow_null=True)
    min = serializers.FloatField(allow_null=True)
    p95 = serializers.FloatField(allow_null=True, help_text="The 95th percentile, to about 3 %.")
    sample_count = serializers.IntegerField()


class Schedule(serializers.Serializer[Any]):
    """When the host is measured."""

    enabled = serializers.BooleanField()
    interval_seconds = serializers.FloatField()
    organization_id = serializers.CharField(allow_null=True, help_text="Null: not of the one that is asked for.")


class CollectionRow(serializers.Serializer[Any]):
    """How collecting goes."""

    schedule = Schedule()
    last_run = serializers.DateTimeField(allow_null=True)
    lag_seconds = serializers.FloatField(allow_null=True, help_text="How long the clock's next run is overdue.")
    is_late = serializers.BooleanField()
    records = serializers.IntegerField()
    failures = serializers.IntegerField()
    missed = serializers.IntegerField()
    last_error = serializers.CharField(allow_blank=True)
    last_error_at = serializers.DateTimeField(allow_null=True)
