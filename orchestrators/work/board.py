"""Where tasks are created, cancelled, and settled by agents that work outside of leases."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from moolai.errors import Conflict
from orchestrators.models import Approval, Task
from orchestrators.work import approvals, handlers, priorities, routing, timeline
from orgs import audit, idempotency
from orgs.models import Organization, User

Status = Task.Status
Kind = timeline.Kind
OPEN: Final = (Status.PENDING_APPROVAL, Status.ASSIGNED, Status.IN_PROGRESS)
BY_HAND: Final = {
    Status.IN_PROGRESS: (Status.ASSIGNED,),
    Status.COMPLETED: (Status.ASSIGNED, Status.IN_PROGRESS),
    Status.FAILED: (Status.ASSIGNED, Status.IN_PROGRESS),
}
AGAIN: Final = (Status.FAILED, Status.DEAD, Status.CANCELLED)


@dataclass(frozen=True, slots=True)
class Details:
    """What a task may have besides its type, payload and priority."""

    source: str = ""
    metadata: Mapping[str, Any] | None = None
    sla_target: datetime | None = None
    timeout_seconds: int | None = None


@transaction.atomic
def create(
    organization: Organization,
    *,
    task_type: str,
    payload: Any,
    priority: Any,
    acting_user: User | None,
    creator: str = "",
    details: Details | None = None,
) -> Task:
    """Write a task, routed to its agent, and wake up who may take it; `creator` is the caller's id.

    It waits for a person where its priority or its route says so. Raises `invalid_field` for a priority that is none,
    and what the check of its type raises.
    """
    handlers.check(organization, task_type, payload)
    now = timezone.now()
    task = _new(organization, task_type, payload, priority, acting_user, creator, details or Details(), now=now)
    task.assigned_agent, is_always = _routed(organization, task_type)
    waits = is_always or priorities.waits(task.given_priority)
    task.status = Status.PENDING_APPROVAL if waits else Status.ASSIGNED
    task.save(force_insert=True)
    timeline.note(task, Kind.CREATED, now=now, actor=task.created_by)
    if waits:
        what = task.given_priority if priorities.waits(task.given_priority) else task_type
        approvals.request(task, reason=f"{what} tasks wait for approval", now=now)
    return task


@transaction.atomic
def create_steps(
    organization: Organization,
    *,
    task_type: str,
    wanted: Sequence[tuple[Any, Any]],
    acting_user: User | None,
    creator: str = "",
    details: Details | None = None,
) -> list[Task]:
    """Write tasks of workflows, each a (payload, priority), in few statements; they never wait for a person.

    What a check of their type would look at is the caller's to see to. Raises `invalid_field` as `create` does.
    """
    now, more = timezone.now(), details or Details()
    rows = [
        _new(organization, task_type, payload, priority, acting_user, creator, more, now=now)
        for payload, priority in wanted
    ]
    agent_id, _ = _routed(organization, task_type)
    for row in rows:
        row.assigned_agent = agent_id
    tasks = Task.objects.bulk_create(rows)
    timeline.note_many(tasks, Kind.CREATED, now=now, actor=audit.actor(acting_user))
    return tasks


def _new(
    organization: Organization,
    task_type: str,
    payload: Any,
    priority: Any,
    acting_user: User | None,
    creator: str,
    details: Details,
    *,
    now: datetime,
) -> Task:
    """Return a task that is assigned to nobody yet, and not written."""
    number, given = priorities.parse(priority)
    return Task(
        task_id=f"tsk_{secrets.token_hex(12)}",
        organization=organization,
        task_type=task_type,
        payload=payload,
        priority=number,
        given_priority=given,
        source=details.source,
        metadata=dict(details.metadata or {}),
        sla_target=details.sla_target,
        timeout_seconds=details.timeout_seconds,
        run_after=now,
        created_by=audit.actor(acting_user),
        creator=creator,
        created_at=now,
    )


def _routed(organization: Organization, task_type: str) -> tuple[str, bool]:
    """Return the agent of a type's tasks, made where it is missing, and whether they always wait for a person."""
    agent_id, is_always = routing.find(organization, task_type)
    routing.ensure(organization, agent_id)
    return agent_id, is_always


@transaction.atomic
def order(
    organization: Organization,
    *,
    task_type: str,
    payload: Any,
    priority: Any,
    acting_user: User,
    creator: str,
    details: Details | None = None,
) -> Task:
    """Create a task that a person asks for in the console: as `create` does, and audited."""
    row = create(
        organization,
        task_type=task_type,
        payload=payload,
        priority=priority,
        acting_user=acting_user,
        creator=creator,
        details=details,
    )
    _tell("task.create", row, acting_user=acting_user)
    return row


@transaction.atomic
def run_again(task: Task, *, acting_user: User, creator: str) -> Task:
    """Make a new task of what a failed, dead or cancelled one was given, with as much time until its target.

    It waits for a person where the first one did. Raises `conflict` for a task that is not over, or succeeded, and what
    the check of its type raises.
    """
    handlers.check(task.organization, task.task_type, task.payload)  # what it locks is locked before tasks are
    row, now = locked(task), timezone.now()
    if row.status not in AGAIN:
        raise Conflict(detail=f"A task that is {row.status} is not run again.")
    details = Details(
        source=row.source,
        metadata=row.metadata,
        sla_target=now + (row.sla_target - row.created_at) if row.sla_target else None,
        timeout_seconds=row.timeout_seconds,
    )
    found = create(
        row.organization,
        task_type=row.task_type,
        payload=row.payload,
        priority=row.given_priority or row.priority,
        acting_user=acting_user,
        creator=creator,
        details=details,
    )
    _ask_again(row, found)
    _tell("task.run_again", found, acting_user=acting_user, of=row.task_id)
    return found


def _ask_again(first: Task, found: Task) -> None:
    """Let the task that runs another again wait for a person where the first one did, whatever its route says now."""
    if found.status != Status.ASSIGNED or not Approval.objects.filter(task=first).exists():
        return
    found.status = Status.PENDING_APPROVAL
    found.save(update_fields=["status"])
    approvals.request(found, reason=f"{first.task_id}, which it runs again, waited for approval", now=timezone.now())


def _tell(action: str, row: Task, *, acting_user: User, of: str = "") -> None:
    """Audit a task that a person made; `of` is the one it runs again, which the row is about then."""
    after = {"task_type": row.task_type, "priority": row.level, "status": row.status, "agent": row.assigned_agent}
    audit.record(
        action,
        acting_user=acting_user,
        organization_id=row.organization_id,
        target=("task", of or row.task_id),
        after={**after, "task_id": row.task_id} if of else after,
    )


def deadline(task: Task, now: datetime) -> datetime | None:
    """Return when an attempt that begins now has taken too long."""
    return now + timedelta(seconds=task.timeout_seconds) if task.timeout_seconds else None


@transaction.atomic
def set_status(
    task: Task,
    status: str,
    *,
    acting_user: User | None,
    error: str = "",
    orchestrator_id: str = "",
    is_admin: bool = False,
    is_machine: bool = False,
) -> Task:
    """Take a task, or settle it, as an agent outside says: without a lease, so nothing gives it back.

    `orchestrator_id` is the orchestrator whose key says so; such a key (`is_machine`) settles only what it took, or its
    orchestrator did. A repeat by the one who took it changes nothing; else `conflict` where the task is over, waits for
    a person, or is held by another, whose task an admin may settle.
    """
    now, who = timezone.now(), audit.actor(acting_user)
    row = locked(task)
    if status == Status.IN_PROGRESS == row.status and row.holder == who[:150]:
        return row
    is_own = row.holder == who[:150] or (orchestrator_id and row.orchestrator_id == orchestrator_id)
    if status == Status.IN_PROGRESS == row.status and not is_own:
        raise Conflict(detail=f"{row.holder} holds this task already.")
    if row.status not in BY_HAND.get(Status(status), ()):
        hint = ": approve it first" if row.status == Status.PENDING_APPROVAL else ""
        raise Conflict(detail=f"A task that is {row.status} cannot become {status}{hint}.")
    if status == Status.IN_PROGRESS:
        return _take(row, who, orchestrator_id=orchestrator_id, now=now)
    if is_machine and row.status == Status.ASSIGNED:
        raise Conflict(detail="Nobody works on this task: take it first (status=in_progress).")
    if row.status == Status.IN_PROGRESS and not is_own and not is_admin:
        raise Conflict(detail=f"{row.holder} holds this task; who holds it settles it, or an admin.")
    return end(row, Status(status), now=now, error=error, actor=who)


def _take(row: Task, who: str, *, orchestrator_id: str, now: datetime) -> Task:
    """Give a locked task to who takes it by hand; the orchestrator that had it before is out of it."""
    row.status, row.holder, row.lease_until = Status.IN_PROGRESS, who[:150], None
    row.orchestrator_id = orchestrator_id
    row.lease, row.attempts = row.lease + 1, row.attempts + 1
    row.started_at, row.deadline_at = row.started_at or now, deadline(row, now)
    changed = ["status", "holder", "orchestrator_id", "lease_until", "lease", "attempts", "started_at", "deadline_at"]
    row.save(update_fields=changed)
    timeline.note(row, Kind.TAKEN, now=now, actor=who)
    return row


@transaction.atomic
def cancel(task: Task, *, acting_user: User | None, reason: str = "") -> Task:
    """Stop a task that is not over; whoever holds it is told and finds its lease gone. Raises `conflict`."""
    now, row = timezone.now(), locked(task)
    before = row.status
    if row.is_over:
        raise Conflict(detail=f"A task that is {row.status} cannot be cancelled.")
    Approval.objects.filter(task=row, status=Approval.Status.PENDING).update(
        status=Approval.Status.WITHDRAWN, decided_at=now, decided_by=audit.actor(acting_user), decision_reason=reason
    )
    row = end(row, Status.CANCELLED, now=now, error=reason, actor=audit.actor(acting_user))
    audit.record(
        "task.cancel",
        acting_user=acting_user,
        organization_id=row.organization_id,
        target=("task", row.task_id),
        before={"status": before},
        after={"status": row.status},
        reason=reason,
    )
    return row


def forget_texts(organization: Organization, *, task_type: str) -> int:
    """Empty what an organization's tasks of a type were given, came to and failed with; return how many had any.

    Their timelines and events lose why they failed, and what was answered to who made or cancelled them goes too:
    sent again under its Idempotency-Key such a call is a new one.
    """
    rows = Task.objects.filter(organization=organization, task_type=task_type)
    found = rows.exclude(payload={}, result__isnull=True, error="").update(payload={}, result=None, error="")
    timeline.forget_failures(organization.pk, task_type=task_type)
    idempotency.forget(rows.values("task_id"))
    return found


def locked(task: Task) -> Task:
    """Return the task as it is now, held until the running transaction ends."""
    return Task.objects.select_for_update(of=("self",), no_key=True).get(pk=task.pk)


def end(
    row: Task,
    status: Task.Status,
    *,
    now: datetime,
    error: str = "",
    result: Any = None,
    actor: str = "",
    note: str = "",
) -> Task:
    """Settle a locked task for good: its lease is over, and a later one cannot come."""
    row.status, row.completed_at, row.error = status, now, error[:1000]
    row.lease_until = row.deadline_at = None
    row.started_at = row.started_at or (now if status in (Status.COMPLETED, Status.FAILED) else None)
    if status == Status.COMPLETED:
        row.progress, row.result = 100, result
    row.save(
        update_fields=[
            "status", "completed_at", "error", "lease_until", "deadline_at", "started_at", "progress", "result",
        ]
    )  # fmt: skip
    timeline.note(row, Kind(status.value), now=now, text=note or error, actor=actor)
    return row
