"""The flat doors of the task queue: `/tasks`, `/stats`, `/events/publish` (API §7)."""

from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from moolai.errors import AppError
from orchestrators import work
from orchestrators.models import Task
from orchestrators.models.task import LEVELS
from orchestrators.work import board, counts, publishing, scope, targets
from orchestrators.work.rows import FlatTask, Queue, an_object
from orgs import access, external, idempotency, rest
from orgs.authentication import Caller, ConsoleSessionAuthentication

SETTABLE = [Task.Status.IN_PROGRESS.value, Task.Status.COMPLETED.value, Task.Status.FAILED.value]
ORGANIZATION = rest.Parameter("Where to act: one of the caller's organizations.")
WITHIN = rest.Parameter("Whose it has to be: one of the caller's organizations; 404 where it is another's.")
LEVEL: dict[str, Any] = {"invalid_choice": f"Give one of {', '.join(LEVELS)}."}


class FlatView(rest.View):
    """A door that also takes the credentials of the flat paths (API §2)."""

    authentication_classes = (external.FlatAuthentication, ConsoleSessionAuthentication)


class NewTask(serializers.Serializer[Any]):
    """The body that creates a task; P0 and P1 wait for approval."""

    type = serializers.CharField(max_length=100)
    payload = serializers.DictField(error_messages=an_object("payload"))
    priority = serializers.ChoiceField(tuple(LEVELS), error_messages=LEVEL)
    source = serializers.CharField(  # type: ignore[assignment]  # a field, not where this form is read from
        required=False, allow_blank=True, allow_null=True, max_length=100
    )
    sla_target = serializers.JSONField(
        required=False, allow_null=True, help_text="When it is to be over: a time, a span such as 4h, or seconds."
    )
    metadata = serializers.DictField(required=False, allow_null=True, error_messages=an_object("metadata"))
    organization_id = serializers.CharField(required=False, max_length=50)


class TaskMade(serializers.Serializer[Any]):
    """A task that was created."""

    success = serializers.BooleanField()
    task_id = serializers.CharField()
    message = serializers.CharField()
    task = FlatTask()


class TaskFound(serializers.Serializer[Any]):
    """A task."""

    success = serializers.BooleanField()
    task_id = serializers.CharField()
    task = FlatTask()


class TaskMoved(serializers.Serializer[Any]):
    """The status a task has now."""

    success = serializers.BooleanField()
    task_id = serializers.CharField()
    status = serializers.ChoiceField(Task.Status.choices)


class NewEvent(serializers.Serializer[Any]):
    """The body that publishes an event; with a `task_id` it stands in that task's timeline, too."""

    event_type = serializers.CharField(max_length=100)
    source_agent = serializers.CharField(max_length=100)
    payload = serializers.DictField(error_messages=an_object("payload"))
    task_id = serializers.CharField(required=False, allow_null=True, max_length=40)
    trace_id = serializers.CharField(required=False, allow_null=True, max_length=100)
    priority = serializers.ChoiceField(tuple(LEVELS), required=False, allow_null=True, error_messages=LEVEL)
    organization_id = serializers.CharField(required=False, max_length=50)


class EventPublished(serializers.Serializer[Any]):
    """An event that was stored."""

    success = serializers.BooleanField()
    event_type = serializers.CharField()
    message = serializers.CharField()


class Stats(serializers.Serializer[Any]):
    """The queue's numbers."""

    queue = Queue()
    timestamp = serializers.DateTimeField()


class StatsDoor(rest.PublicView):
    """`/stats`."""

    rate = "STATS"

    @rest.operation(Stats, shape=rest.Shape.FLAT)
    def get(self, request: Request) -> Response:
        """Tell how many tasks wait, run, and there are at all."""
        return Response(Stats({"queue": counts.queue(), "timestamp": timezone.now()}).data)


class Tasks(FlatView):
    """`/tasks`."""

    rate = "TASKS_CREATE"

    @rest.operation(
        TaskMade,
        body=NewTask,
        shape=rest.Shape.FLAT,
        parameters={"organization_id": ORGANIZATION},
        errors=("conflict", "organization_required"),
    )
    def post(self, request: Request) -> Response:
        """Create a task, and route it to its agent."""
        home, who, wish = scope.acting(request, NewTask, wanted=self.query["organization_id"])
        task = work.create(
            home,
            task_type=wish["type"],
            payload=wish["payload"],
            priority=wish["priority"],
            acting_user=who.user,
            creator=who.caller_id,
            details=_details(wish),
        )
        told = f"Task created{assigned(task)}"
        answer = {"success": True, "task_id": task.task_id, "message": told, "task": FlatTask(task).data}
        return idempotency.about(Response(answer), task.task_id)


def assigned(task: Task) -> str:
    """Return the end of a sentence that says whose a task is, "" for nobody's."""
    return f" and assigned to {task.assigned_agent}" if task.assigned_agent else ""


def _details(wish: dict[str, Any]) -> board.Details:
    target = targets.parse(wish.get("sla_target"), now=timezone.now())
    return board.Details(source=wish.get("source") or "", metadata=wish.get("metadata") or {}, sla_target=target)


def _task(request: Request, task_id: str, wanted: str | None) -> Task:
    rows = scope.within(request, Task.objects.select_related("approval"), wanted)
    return access.get(request, rows, own="orchestrator_id", task_id=task_id)


class OneTask(FlatView):
    """`/tasks/{id}`."""

    rate = "TASKS_READ"

    @rest.operation(TaskFound, shape=rest.Shape.FLAT, parameters={"organization_id": WITHIN})
    def get(self, request: Request, task_id: str) -> Response:
        """Return a task; an orchestrator's key is told of those it took."""
        task = _task(request, task_id, self.query["organization_id"])
        return Response({"success": True, "task_id": task.task_id, "task": FlatTask(task).data})


class TaskStatus(FlatView):
    """`/tasks/{id}/status`."""

    rate = "TASKS_UPDATE"

    @rest.operation(
        TaskMoved,
        shape=rest.Shape.FLAT,
        parameters={
            "status": rest.one_of(SETTABLE, "What it becomes; needed."),
            "error": rest.Parameter(
                "Why it failed; what is longer than 1,000 characters is cut.", most_characters=1000, is_cut=True
            ),
            "organization_id": WITHIN,
        },
        errors=("conflict",),
    )
    def patch(self, request: Request, task_id: str) -> Response:
        """Take a task, or settle it, from outside of leases; one that is over, or another's, does not change (409)."""
        task = _task(request, task_id, self.query["organization_id"])
        who = _may_settle(request, task)
        status = self.query["status"]
        if not status:
            raise AppError("invalid_parameter", f"Send status: one of {', '.join(SETTABLE)}.")
        row = work.set_status(
            task,
            status,
            acting_user=who.user,
            error=self.query["error"] or "",
            orchestrator_id=who.key.orchestrator_id if who.key else "",
            is_admin=who.may_write(task.organization_id),
            is_machine=_is_machine(who),
        )
        return Response({"success": True, "task_id": row.task_id, "status": row.status})


def _may_settle(request: Request, task: Task) -> Caller:
    who = access.caller(request)
    return who if _is_machine(who) else scope.require_operator(request, task.organization_id)


def _is_machine(who: Caller) -> bool:
    """Whether an orchestrator's key calls."""
    return who.key is not None and not who.roles


class Publishing(FlatView):
    """`/events/publish`."""

    rate = "EVENTS"

    @rest.operation(
        EventPublished,
        body=NewEvent,
        shape=rest.Shape.FLAT,
        parameters={"organization_id": ORGANIZATION},
        errors=("organization_required",),
    )
    def post(self, request: Request) -> Response:
        """Store an event, show it to dashboards, and do what the organization's rules say of it."""
        home, who, wish = scope.acting(request, NewEvent, wanted=self.query["organization_id"])
        publishing.publish(home, acting_user=who.user, creator=who.caller_id, **wish)
        return Response({"success": True, "event_type": wish["event_type"], "message": "Event published"})
