"""Runs: cancelled, and settled once; `making` has how they begin."""

from datetime import datetime
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from llm_gateway import policies
from llm_gateway.models import WorkflowRun, WorkflowStep
from llm_gateway.workflows import contents
from moolai.errors import AppError, Conflict
from orchestrators import work
from orchestrators.models import Task
from orgs.models import Organization, User

CACHE: Final = "X-Moolai-Cache"  # "off": nothing that was answered before counts, neither here nor in the calls
Status = WorkflowRun.Status
OPEN: Final = (Status.QUEUED, Status.RUNNING)


@transaction.atomic
def cancel(run: WorkflowRun, *, acting_user: User | None) -> WorkflowRun:
    """Stop a run, between its steps and inside them; a cancelled one stays so. Raises `conflict` when it is over."""
    if run.task_id is not None:
        task = Task.objects.select_for_update(of=("self",), no_key=True).get(pk=run.task_id)
        if not task.is_over:
            work.cancel(task, acting_user=acting_user, reason="the workflow was cancelled")
    row = WorkflowRun.objects.select_for_update(no_key=True).get(pk=run.pk)
    if row.status == Status.CANCELLED:
        return row
    if row.is_over:
        raise Conflict(detail=f"A run that is {row.status} cannot be cancelled.")
    end(row, Status.CANCELLED, now=timezone.now(), error="cancelled")
    return row


def end(run: WorkflowRun, status: str, *, now: datetime, error: str = "", result: Any = None) -> bool:
    """Settle an open run for good, in the running transaction; return whether it was open still.

    What it was given and what its steps came to go; a result stays as long as `contents` says.
    """
    changed: dict[str, Any] = {"status": status, "completed_at": now, "error": error[:300]}
    if status in (Status.COMPLETED, Status.PARTIAL):
        changed["progress"] = 100
    if result is not None and _is_private(run):
        changed |= {"is_private": True, "content_hash": ""}
    if not WorkflowRun.objects.filter(pk=run.pk, status__in=OPEN).update(**changed):
        return False
    for name, value in changed.items():
        setattr(run, name, value)
    left = WorkflowStep.objects.filter(run=run)
    left.filter(status=WorkflowStep.Status.PENDING).update(status=WorkflowStep.Status.SKIPPED)
    left.filter(status=WorkflowStep.Status.RUNNING).update(status=WorkflowStep.Status.CANCELLED, completed_at=now)
    contents.forget(run)
    if result is not None:
        contents.keep_result(run, result, now=now)
    return True


def _is_private(run: WorkflowRun) -> bool:
    """Whether nothing of a run may stay, as it is now: a policy is set under the organization's lock, taken here."""
    locked = Organization.objects.select_for_update(no_key=True).filter(pk=run.organization_id).first()
    was_private = WorkflowRun.objects.filter(pk=run.pk, is_private=True).exists()
    return was_private or (locked is not None and policies.of(locked).is_private)


@transaction.atomic
def reconcile(run: WorkflowRun, *, now: datetime) -> WorkflowRun:
    """End a run whose task is over, or gone, by other doors: cancelled, dead, settled by hand."""
    if run.is_over:
        return run
    task = run.task
    if task is not None and not task.is_over:
        return run
    status = Status.CANCELLED if task is not None and task.status == Task.Status.CANCELLED else Status.FAILED
    text = (task.error or f"its task is {task.status}") if task is not None else "its task is gone"
    end(run, status, now=now, error=text)
    return run


def sweep(*, now: datetime, limit: int = 200) -> int:
    """End runs whose task ended without them; return how many."""
    rows = WorkflowRun.objects.filter(status__in=OPEN).exclude(task__completed_at__isnull=True, task__isnull=False)
    found = list(rows.select_related("task").order_by("pk")[:limit])
    for run in found:
        reconcile(run, now=now)
    return len(found)


def require(found: WorkflowRun | None) -> WorkflowRun:
    """Return a run, or raise `not_found`."""
    if found is None:
        raise AppError("not_found")
    return found
