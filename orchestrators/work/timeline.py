"""What happened to a task: a line of its timeline, and the event that tells the rest of the product."""

from collections.abc import Callable
from datetime import datetime
from itertools import islice
from typing import Any, Final

from django.db import transaction

from orchestrators.models import Task, TaskStep
from orchestrators.work import handlers
from orgs import audit, events
from orgs.models import Event

Kind = TaskStep.Kind
BATCH: Final = 500
FAILURES: Final = (Kind.ATTEMPT_FAILED, Kind.FAILED, Kind.DEAD)
_listeners: list[Callable[[Task, Kind], None]] = []


def on_note(listener: Callable[[Task, Kind], None]) -> None:
    """Call `listener` in the transaction of each change, after its line is written."""
    _listeners.append(listener)


def note(task: Task, kind: Kind, *, now: datetime, text: str = "", actor: str = "") -> None:
    """Write one line in the running transaction; without `actor` it is whoever makes the change."""
    who = actor or audit.actor(None)
    TaskStep.objects.create(task=task, kind=kind, actor=who[:200], note=text[:1000], at=now)
    data: dict[str, Any] = {
        "task_id": task.task_id,
        "task_type": task.task_type,
        "status": task.status,
        "priority": task.level,
        "assigned_agent": task.assigned_agent,
        "lease": task.lease,
        "reason": text[:200],
    }
    orchestrator_id = task.orchestrator_id
    events.record(f"task.{kind}", organization_id=task.organization_id, orchestrator_id=orchestrator_id, data=data)
    if task.status == Task.Status.ASSIGNED and handlers.find(task.task_type) is not None:
        transaction.on_commit(handlers.wake, robust=True)
    for listener in _listeners:
        listener(task, kind)


def forget_failures(organization_id: str, *, task_type: str) -> None:
    """Take out of timelines and events why an organization's tasks of a type failed."""
    steps = TaskStep.objects.filter(task__organization=organization_id, task__task_type=task_type, kind__in=FAILURES)
    steps.exclude(note="").update(note="")
    kinds = [f"task.{kind}" for kind in FAILURES]
    rows = Event.objects.filter(organization_id=organization_id, kind__in=kinds, data__task_type=task_type)
    found = rows.exclude(data__reason="").iterator()
    while some := list(islice(found, BATCH)):
        for row in some:
            row.data["reason"] = ""
        Event.objects.bulk_update(some, ["data"])
