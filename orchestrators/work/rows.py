"""How tasks, approvals and agents look on the API."""

from typing import Any

from rest_framework import serializers

from orchestrators.models import Agent, Approval, Task, TaskStep


def an_object(name: str) -> dict[str, Any]:
    """Return the errors of a field whose value has to be a JSON object."""
    return {"not_a_dict": f"{name} must be a JSON object."}


class StepRow(serializers.ModelSerializer[TaskStep]):
    """A line of a task's timeline."""

    class Meta:
        model = TaskStep
        fields = ["at", "kind", "actor", "note"]


class FlatTask(serializers.ModelSerializer[Task]):
    """A task on the flat paths; `priority` is P0 to P3."""

    type = serializers.CharField(source="task_type")
    priority = serializers.CharField(source="level")
    organization_id = serializers.CharField()
    approval_id = serializers.CharField(allow_null=True)

    class Meta:
        model = Task
        fields = [
            "task_id", "type", "status", "assigned_agent", "priority", "created_at", "payload", "source", "sla_target",
            "metadata", "organization_id", "approval_id", "progress", "result", "error", "attempts", "started_at",
            "completed_at",
        ]  # fmt: skip


class TaskRow(serializers.ModelSerializer[Task]):
    """A task of an organization in a list; `priority` is 1 to 10."""

    approval_id = serializers.CharField(allow_null=True)

    class Meta:
        model = Task
        fields = [
            "task_id", "task_type", "status", "priority", "assigned_agent", "approval_id", "progress", "error",
            "attempts", "created_by", "created_at", "started_at", "completed_at",
        ]  # fmt: skip


class TaskDocument(TaskRow):
    """A task with its parameters, its result and its timeline."""

    parameters = serializers.JSONField(source="payload")
    steps = StepRow(many=True)

    class Meta(TaskRow.Meta):
        fields = [*TaskRow.Meta.fields, "timeout_seconds", "parameters", "result", "steps"]


class ApprovalRow(serializers.ModelSerializer[Approval]):
    """An approval; `reason` says why the task waits, `decision_reason` why it was decided so."""

    task_id = serializers.CharField(source="task.task_id")
    type = serializers.CharField(source="task.task_type")
    priority = serializers.CharField()
    organization_id = serializers.CharField(source="task.organization_id")

    class Meta:
        model = Approval
        fields = [
            "approval_id", "task_id", "type", "priority", "reason", "status", "created_at", "expires_at", "decided_by",
            "decided_at", "decision_reason", "organization_id",
        ]  # fmt: skip


class AgentRow(serializers.ModelSerializer[Agent]):
    """An agent."""

    class Meta:
        model = Agent
        fields = [
            "agent_id", "name", "model", "system_prompt", "parameters", "capabilities", "status", "created_at",
            "updated_at",
        ]  # fmt: skip


class AgentStatusRow(serializers.Serializer[Any]):
    """How an agent is: `tasks` counts its tasks by status."""

    agent_id = serializers.CharField()
    status = serializers.ChoiceField(Agent.Status.choices)
    tasks = serializers.DictField(child=serializers.IntegerField())


class Queue(serializers.Serializer[Any]):
    """How many tasks there are; finished ones count in `total_tasks`."""

    pending_tasks = serializers.IntegerField()
    processing_tasks = serializers.IntegerField()
    total_tasks = serializers.IntegerField()
