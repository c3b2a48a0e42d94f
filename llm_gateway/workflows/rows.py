"""Rows: what the doors of workflows take and answer."""

from typing import Any

from rest_framework import serializers

from llm_gateway.models import WorkflowRun, WorkflowStep
from llm_gateway.workflows.making import MAX_BATCH

STATUSES = WorkflowRun.Status.choices
IDENTIFIER = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$"


class WorkflowWish(serializers.Serializer[Any]):
    """The body that asks for a run."""

    workflow_type = serializers.CharField(max_length=50, help_text="One of GET workflows/types.")
    input_data = serializers.DictField(help_text="What the type takes; anything else is told the model as context.")
    expected_outputs = serializers.ListField(
        child=serializers.CharField(max_length=100), required=False, max_length=50, help_text="Only these; all without."
    )
    priority = serializers.JSONField(
        required=False, help_text="1 to 10 (10 first), P0 to P3, or critical, high, normal, low; 5 without."
    )
    workflow_id = serializers.RegexField(
        IDENTIFIER, required=False, help_text="An id of the caller's: asked for again, it is the same run."
    )
    user_id = serializers.CharField(required=False, max_length=200, help_text="For whom; only kept.")


class BatchWish(serializers.Serializer[Any]):
    """The body that asks for several runs: all are queued, or none."""

    workflows = WorkflowWish(many=True, allow_empty=False, max_length=MAX_BATCH)  # type: ignore[call-arg]


class RunRow(serializers.Serializer[Any]):
    """A run in brief."""

    workflow_id = serializers.CharField()
    workflow_type = serializers.CharField()
    organization_id = serializers.CharField()
    status = serializers.ChoiceField(STATUSES)
    progress = serializers.IntegerField(help_text="0 to 100.")
    priority = serializers.IntegerField()
    batch_id = serializers.CharField(allow_null=True)
    user_id = serializers.CharField(allow_null=True)
    cached = serializers.BooleanField(help_text="Whether the result is that of an equal run of the last hour.")
    error = serializers.CharField()
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    completed_at = serializers.DateTimeField(allow_null=True)


class RunStepRow(serializers.Serializer[Any]):
    """A step of a run."""

    name = serializers.CharField()
    type = serializers.CharField()
    status = serializers.ChoiceField(WorkflowStep.Status.choices)
    progress = serializers.IntegerField()
    model = serializers.CharField(allow_null=True)
    error = serializers.CharField()
    calls = serializers.IntegerField(help_text="Calls of models.")
    repairs = serializers.IntegerField(help_text="Calls that asked again for what was malformed.")
    cost_usd = serializers.FloatField()
    started_at = serializers.DateTimeField(allow_null=True)
    completed_at = serializers.DateTimeField(allow_null=True)
    duration_ms = serializers.IntegerField(allow_null=True)


class StepFault(serializers.Serializer[Any]):
    """Why a step, or a run of a batch, has no result."""

    step = serializers.CharField()
    error = serializers.CharField()


class RunDocument(RunRow):
    """A run with its steps and its result; a batch has `workflows` in their place."""

    cost_usd = serializers.FloatField(help_text="The sum of its calls in the ledger.")
    steps = RunStepRow(many=True)
    result = serializers.JSONField(allow_null=True)
    result_note = serializers.CharField(help_text="Why there is no result, or not another time.")
    errors = StepFault(many=True)  # type: ignore[assignment]
    workflows = RunRow(many=True, allow_null=True)


class BatchRow(serializers.Serializer[Any]):
    """A batch that was queued; its `batch_id` is what `workflows/{id}/status` takes."""

    batch_id = serializers.CharField()
    total = serializers.IntegerField()
    workflows = RunRow(many=True)


class PlannedStep(serializers.Serializer[Any]):
    """A step of a template."""

    name = serializers.CharField()
    type = serializers.CharField()
    after = serializers.ListField(child=serializers.CharField())


class TypeRow(serializers.Serializer[Any]):
    """A type of workflow."""

    workflow_type = serializers.CharField()
    description = serializers.CharField()
    is_template = serializers.BooleanField(help_text="Whether the organization made it.")
    inputs = serializers.DictField(child=serializers.CharField())
    outputs = serializers.ListField(child=serializers.CharField())
    steps = PlannedStep(many=True)


class TypesRow(serializers.Serializer[Any]):
    """What can be run."""

    types = TypeRow(many=True)


class AdviceWish(serializers.Serializer[Any]):
    """What is to be looked at."""

    workflow_type = serializers.CharField(required=False, max_length=50)
    days = serializers.IntegerField(required=False, min_value=1, max_value=90, help_text="7 without.")


class MeasuredRow(serializers.Serializer[Any]):
    """What one model did for one type of step."""

    type = serializers.CharField()
    model = serializers.CharField()
    calls = serializers.IntegerField()
    latency_p50_ms = serializers.FloatField(allow_null=True)
    latency_p95_ms = serializers.FloatField(allow_null=True)
    cost_usd_per_call = serializers.FloatField(allow_null=True)
    repair_rate = serializers.FloatField(help_text="Answers that had to be asked for again, of all answers.")
    failure_rate = serializers.FloatField(help_text="Calls that ended with an error, of all calls.")
    cache_hit_rate = serializers.FloatField()


class WorkflowAdviceRow(serializers.Serializer[Any]):
    """What to change, with the measurements that led to it."""

    kind = serializers.ChoiceField(["repairs", "failures", "cost", "latency"])
    recommendation = serializers.CharField()
    measurements = MeasuredRow(many=True)


class RunCounts(serializers.Serializer[Any]):
    """Runs of the days that were looked at."""

    runs = serializers.IntegerField()
    cached = serializers.IntegerField()
    failed = serializers.IntegerField()
    partial = serializers.IntegerField()  # type: ignore[assignment]


class WorkflowOptimizationRow(serializers.Serializer[Any]):
    """Recommendations; below `fewest_calls` of a model for a type nothing is concluded."""

    days = serializers.IntegerField()
    fewest_calls = serializers.IntegerField()
    runs = RunCounts()
    measured = MeasuredRow(many=True)
    recommendations = WorkflowAdviceRow(many=True)
    note = serializers.CharField()


class ServiceProvider(serializers.Serializer[Any]):
    """A provider, by its requests of the last 15 minutes and this process's breaker."""

    name = serializers.CharField()
    dialect = serializers.CharField()
    status = serializers.ChoiceField(["healthy", "degraded", "unhealthy", "unused"])
    breaker = serializers.ChoiceField(["closed", "half_open", "open"])
    requests = serializers.IntegerField()
    failed = serializers.IntegerField()


class ServiceQueue(serializers.Serializer[Any]):
    """The organization's runs that are not over."""

    waiting = serializers.IntegerField()
    running = serializers.IntegerField()
    oldest_waiting_seconds = serializers.FloatField(allow_null=True)


class ServiceWorker(serializers.Serializer[Any]):
    """The last sign of life of the workers."""

    status = serializers.ChoiceField(["running", "stale", "unknown"])
    age_seconds = serializers.FloatField(allow_null=True)


class ServicesRow(serializers.Serializer[Any]):
    """How what workflows need is."""

    status = serializers.ChoiceField(["healthy", "degraded", "unhealthy"])
    providers = ServiceProvider(many=True)
    queue = ServiceQueue()
    worker = ServiceWorker()
