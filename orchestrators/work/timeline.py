"""What happened to a task: a line of its timeline, and the event that tells the rest of the product."""

from collections.abc import Callable, Sequence
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
    note_many([task], kind, now=now, text=text, actor=actor)


def note_many(tasks: Sequence[Task], kind: Kind, *, now: datetime, text: str = "", actor: str = "") -> None:
    """Write the same line for several tasks, as `note` does; two statements, and what listeners make of each."""
    who = (actor or audit.actor(None))[:200]
    TaskStep.objects.bulk_create(TaskStep(task=task, kind=kind, actor=who, note=text[:1000], at=now) for task in tasks)
    events.record_many(_event(task, kind, text) for task in tasks)
    if any(task.status == Task.Status.ASSIGNED and handlers.find(task.task_type) is not None for task in tasks):
        transaction.on_commit(handlers.wake, robust=True)
    for listener in _listeners:
        for task in tasks:
            listener(task, kind)


def _event(task: Task, kind: Kind, text: str) -> Event:
    data: dict[str, Any] = {
        "task_id": task.task_id,
        "task_type": task.task_type,
        "status": task.status,
        "priority": task.level,
        "assigned_agent": task.assigned_agent,
        "lease": task.lease,
        "reason": text[:200],
    }
    where = {"organization_id": task.organization_id, "orchestrator_id": task.orchestrator_id}
    return Event(kind=f"task.{kind}", data=data, **where)


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
