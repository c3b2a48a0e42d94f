"""REST doors of an organization's tasks and agents, `/api/v1/orchestrators/{organization_id}/tasks|agents` (API §6)."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from orchestrators import work
from orchestrators.models import Agent, Task
from orchestrators.work import agents, board, priorities, scope
from orchestrators.work.rows import AgentRow, AgentStatusRow, TaskDocument, TaskRow, an_object
from orgs import access, idempotency, names, rest
from orgs.models import Organization
from orgs.models.organization import validate_identifier

LONGEST_SECONDS = 7 * 86_400


class TaskWish(serializers.Serializer[Any]):
    """The body that creates a task."""

    task_type = serializers.CharField(max_length=100)
    parameters = serializers.DictField(error_messages=an_object("parameters"))
    priority = serializers.JSONField(
        required=False, help_text="1 to 10 (10 first), P0 to P3, or critical, high, normal, low; 5 without."
    )
    timeout_seconds = serializers.IntegerField(required=False, min_value=1, max_value=LONGEST_SECONDS)


class AgentWish(serializers.Serializer[Any]):
    """The body that makes an agent."""

    agent_id = serializers.CharField(required=False, max_length=50, validators=[validate_identifier])
    name = names.NameText()
    model = serializers.CharField(required=False, allow_blank=True, max_length=200)
    system_prompt = serializers.CharField(required=False, allow_blank=True, max_length=100_000)
    parameters = serializers.DictField(required=False)
    capabilities = serializers.ListField(
        child=serializers.CharField(max_length=100), required=False, max_length=100, help_text="Task types it takes."
    )


def _organization(request: Request, organization_id: str) -> Organization:
    return access.get(request, Organization.objects.all(), field="pk", pk=organization_id)


def _readable(request: Request, organization_id: str) -> None:
    """Let an orchestrator's key in, too, whose rows are narrowed to its own afterwards."""
    own = "orchestrators__orchestrator_id"
    access.get(request, Organization.objects.all(), field="pk", own=own, pk=organization_id)


class Tasks(rest.View):
    """`/api/v1/orchestrators/{organization_id}/tasks`."""

    @rest.operation(
        TaskRow,
        shape=rest.Shape.PAGE,
        parameters={
            "status": rest.one_of(Task.Status.values),
            "task_type": rest.Parameter("Only this type."),
            "agent_id": rest.Parameter("Only what is assigned to this agent."),
        },
    )
    def get(self, request: Request, organization_id: str) -> Response:
        """List tasks, newest first; an orchestrator's key is told of those it took."""
        _readable(request, organization_id)
        rows = Task.objects.filter(organization_id=organization_id).select_related("approval")
        rows = access.visible(request, rows, own="orchestrator_id").defer("payload", "metadata", "result")
        asked = {"status": "status", "task_type": "task_type", "agent_id": "assigned_agent"}
        narrowed = {column: self.query[name] for name, column in asked.items() if self.query[name]}
        return rest.page(request, rows.filter(**narrowed).order_by("-id"), TaskRow)

    @rest.operation(TaskDocument, body=TaskWish, status=201, errors=("conflict",))
    def post(self, request: Request, organization_id: str) -> Response:
        """Create a task; P0, P1 and critical ones wait for approval."""
        organization = _organization(request, organization_id)
        who = scope.require_operator(request, organization_id)
        wish = rest.body(request, TaskWish)
        task = work.create(
            organization,
            task_type=wish["task_type"],
            payload=wish["parameters"],
            priority=wish.get("priority", priorities.NORMAL),
            acting_user=who.user,
            creator=who.caller_id,
            details=board.Details(timeout_seconds=wish.get("timeout_seconds")),
        )
        return idempotency.about(rest.answer(TaskDocument(task).data, status=201), task.task_id)


def _task(request: Request, organization_id: str, task_id: str) -> Task:
    rows = Task.objects.filter(organization_id=organization_id).select_related("approval")
    return access.get(request, rows, own="orchestrator_id", task_id=task_id)


class OneTask(rest.View):
    """`…/tasks/{id}`."""

    @rest.operation(TaskDocument)
    def get(self, request: Request, organization_id: str, task_id: str) -> Response:
        """Return one with its timeline."""
        return rest.answer(TaskDocument(_task(request, organization_id, task_id)).data)


class Cancellation(rest.View):
    """`…/tasks/{id}/cancel`."""

    @rest.operation(TaskDocument, body=rest.Reason, body_may_be_empty=True, errors=("conflict",))
    def put(self, request: Request, organization_id: str, task_id: str) -> Response:
        """Stop a task that is not over."""
        task = _task(request, organization_id, task_id)
        who = scope.require_operator(request, organization_id)
        wish = rest.body(request, rest.Reason, may_be_empty=True)
        row = work.cancel(task, acting_user=who.user, reason=wish.get("reason", ""))
        return idempotency.about(rest.answer(TaskDocument(row).data), row.task_id)


class Agents(rest.View):
    """`/api/v1/orchestrators/{organization_id}/agents`."""

    @rest.operation(AgentRow, shape=rest.Shape.PAGE)
    def get(self, request: Request, organization_id: str) -> Response:
        """List the agents."""
        organization = _organization(request, organization_id)
        return rest.page(request, organization.agents.order_by("agent_id"), AgentRow)

    @rest.operation(AgentRow, body=AgentWish, status=201, errors=("conflict",))
    def post(self, request: Request, organization_id: str) -> Response:
        """Make an agent."""
        organization = _organization(request, organization_id)
        who = access.require_admin(request, organization_id)
        wish = rest.body(request, AgentWish)
        return rest.answer(AgentRow(agents.create(organization, acting_user=who.user, **wish)).data, status=201)


class AgentStatus(rest.View):
    """`…/agents/{id}/status`."""

    @rest.operation(AgentStatusRow)
    def get(self, request: Request, organization_id: str, agent_id: str) -> Response:
        """Tell how an agent is, and how many tasks it has."""
        rows = Agent.objects.filter(organization_id=organization_id).select_related("organization")
        row = access.get(request, rows, agent_id=agent_id)
        told = {"agent_id": row.agent_id, "status": row.status, "tasks": agents.workload(row)}
        return rest.answer(AgentStatusRow(told).data)
