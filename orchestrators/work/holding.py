"""Holding tasks: taken highest priority first, under a lease with a number that fences whoever held it before.

A lease is renewed by progress, given back by its holder or by the sweep, and ends with the task. What comes under a
number that is not the newest is refused, so nothing runs twice to completion.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from moolai.errors import Conflict
from orchestrators.models import Task
from orchestrators.work import board, timeline
from orgs.models import Organization

Status = Task.Status
Kind = timeline.Kind
FIRST_PAUSE_SECONDS: Final = 5
LONGEST_PAUSE_SECONDS: Final = 600


@dataclass(frozen=True, slots=True)
class Holder:
    """Who takes tasks: `name` is shown; of which organization ("": of any), and of which types (None: of all)."""

    name: str
    organization_id: str = ""
    orchestrator_id: str = ""
    types: Collection[str] | None = None


@transaction.atomic
def take(holder: Holder, *, now: datetime, limit: int = 1) -> list[Task]:
    """Take up to `limit` tasks that wait, highest priority first and oldest among equals; return them held."""
    rows = waiting(now=now)
    if holder.organization_id:
        rows = rows.filter(organization_id=holder.organization_id)
    if holder.types is not None:
        rows = rows.filter(task_type__in=list(holder.types))
    held = (hold(row, holder, now=now) for row in reserve(rows, limit))
    return [task for task in held if task is not None]


def waiting(*, now: datetime) -> QuerySet[Task]:
    """Return what may be taken, of organizations that are open: highest priority first, oldest among equals."""
    return due(now=now).filter(Organization.open_at("organization__"))


def due(*, now: datetime) -> QuerySet[Task]:
    """Return what is to be taken, of closed organizations, too, in the order of `waiting`."""
    return Task.objects.filter(status=Status.ASSIGNED, run_after__lte=now).order_by("-priority", "id")


def reserve(rows: QuerySet[Task], limit: int) -> list[Task]:
    """Read rows that nobody else takes at this moment; SQLite has one writer, and the update looks again."""
    if connection.features.has_select_for_update_skip_locked:
        rows = rows.select_for_update(of=("self",), skip_locked=True, no_key=True)
    return list(rows[:limit])


def hold(row: Task, holder: Holder, *, now: datetime) -> Task | None:
    """Give a reserved task to a holder under the next number; None when somebody else was faster."""
    changed = {
        "status": Status.IN_PROGRESS,
        "lease": row.lease + 1,
        "lease_until": now + timedelta(seconds=settings.TASK_LEASE_SEC),
        "holder": holder.name[:150],
        "orchestrator_id": holder.orchestrator_id,
        "attempts": row.attempts + 1,
        "started_at": row.started_at or now,
        "deadline_at": board.deadline(row, now),
        "progress": 0,
    }
    if not Task.objects.filter(pk=row.pk, status=Status.ASSIGNED, lease=row.lease).update(**changed):
        return None
    for name, value in changed.items():
        setattr(row, name, value)
    timeline.note(row, Kind.TAKEN, now=now, text=f"attempt {row.attempts}", actor=holder.name)
    return row


def progress(task: Task, *, percent: int | None = None) -> None:
    """Renew the lease a task is held under, and note how far it is (0 to 100); raises `conflict` when it is lost."""
    changed: dict[str, Any] = {"lease_until": timezone.now() + timedelta(seconds=settings.TASK_LEASE_SEC)}
    if percent is not None:
        changed["progress"] = max(0, min(100, percent))
    if not _mine(task).update(**changed):
        raise _lost()


@transaction.atomic
def finish(task: Task, *, result: Any = None) -> Task:
    """Complete a task under its lease; raises `conflict` when the lease is lost or the task is over."""
    row = _held(task)
    return board.end(row, Status.COMPLETED, now=timezone.now(), result=result, actor=row.holder)


@transaction.atomic
def fail(task: Task, *, error: str, is_final: bool = False) -> Task:
    """End an attempt that failed: it is tried again after a pause, until TASK_MAX_ATTEMPTS are used up (`dead`).

    With `is_final` it has failed for good. Raises `conflict` when the lease is lost or the task is over.
    """
    row, now = _held(task), timezone.now()
    if is_final:
        return board.end(row, Status.FAILED, now=now, error=error, actor=row.holder)
    return _again(row, now=now, error=error, kind=Kind.ATTEMPT_FAILED, actor=row.holder, pause=_pause(row.attempts))


@transaction.atomic
def give_back(task: Task, *, reason: str, counts: bool = True) -> Task:
    """Let somebody else take a task at once; raises `conflict` when the lease is lost.

    The attempt `counts`, unless it was not begun, or its holder leaves in order.
    """
    row = _held(task)
    if not counts:
        row.attempts = max(0, row.attempts - 1)
        row.save(update_fields=["attempts"])
    return _again(row, now=timezone.now(), error=reason, kind=Kind.GIVEN_BACK, actor=row.holder)


def expire(*, now: datetime, limit: int = 200) -> int:
    """Give back tasks whose holder did not renew its lease; return how many."""
    return _each(Task.objects.filter(status=Status.IN_PROGRESS, lease_until__lte=now), _run_out, now=now, limit=limit)


def time_out(*, now: datetime, limit: int = 200) -> int:
    """Fail tasks whose attempt takes longer than their `timeout_seconds`; return how many."""
    return _each(Task.objects.filter(status=Status.IN_PROGRESS, deadline_at__lte=now), _timed_out, now=now, limit=limit)


@transaction.atomic
def _each(rows: QuerySet[Task], deal: Any, *, now: datetime, limit: int) -> int:
    found = reserve(rows.order_by("pk"), limit)
    for row in found:
        deal(row, now)
    return len(found)


def _run_out(row: Task, now: datetime) -> None:
    _again(row, now=now, error=f"{row.holder} did not renew its lease", kind=Kind.GIVEN_BACK)


def _timed_out(row: Task, now: datetime) -> None:
    board.end(row, Status.FAILED, now=now, error=f"timed out after {row.timeout_seconds} s")


def _again(row: Task, *, now: datetime, error: str, kind: Kind, actor: str = "", pause: int = 0) -> Task:
    """Let a locked task be taken again, or declare it dead when its attempts are used up."""
    if row.attempts >= settings.TASK_MAX_ATTEMPTS:
        return board.end(row, Status.DEAD, now=now, error=f"{error} (attempt {row.attempts}, the last)", actor=actor)
    row.status, row.lease_until, row.deadline_at = Status.ASSIGNED, None, None
    row.run_after, row.error = now + timedelta(seconds=pause), error[:1000]
    row.save(update_fields=["status", "lease_until", "deadline_at", "run_after", "error"])
    timeline.note(row, kind, now=now, text=error, actor=actor)
    return row


def _pause(attempts: int) -> int:
    return int(min(FIRST_PAUSE_SECONDS * 2 ** (attempts - 1), LONGEST_PAUSE_SECONDS))


def _mine(task: Task) -> QuerySet[Task]:
    return Task.objects.filter(pk=task.pk, status=Status.IN_PROGRESS, lease=task.lease)


def _held(task: Task) -> Task:
    row = _mine(task).select_for_update(of=("self",), no_key=True).first()
    if row is None:
        raise _lost()
    return row


def _lost() -> Conflict:
    return Conflict(detail="This task is over, or somebody else holds it.")
