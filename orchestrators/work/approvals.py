"""Approvals: a person decides whether a task may run.

Who created a task may approve it, unless its organization's settings say `{"approvals": {"forbid_own": true}}`.
"""

import secrets
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from moolai.errors import Conflict, Forbidden
from orchestrators.models import Approval, Task
from orchestrators.work import timeline
from orgs import audit
from orgs.models import Organization, User

Status = Approval.Status
Kind = timeline.Kind


def request(task: Task, *, reason: str, now: datetime) -> Approval:
    """Ask for a person's decision about a task that was just made."""
    hours = settings.APPROVAL_EXPIRES_HOURS
    approval = Approval.objects.create(
        approval_id=f"apr_{secrets.token_hex(12)}",
        task=task,
        reason=reason,
        created_at=now,
        expires_at=now + timedelta(hours=hours) if hours else None,
    )
    timeline.note(task, Kind.APPROVAL_REQUESTED, now=now, text=reason, actor=task.created_by)
    return approval


@transaction.atomic
def approve(approval: Approval, *, acting_user: User | None, caller_id: str = "", reason: str = "") -> Approval:
    """Let the task run; raises `conflict` when it was decided already, Forbidden for one's own where that is not on."""
    row, task = _undecided(approval)
    if caller_id and caller_id == task.creator and forbids_own(task.organization):
        raise Forbidden(detail="Somebody else has to approve this: the task is your own.")
    now = timezone.now()
    task.status, task.run_after = Task.Status.ASSIGNED, now
    task.save(update_fields=["status", "run_after"])
    return _decide(row, Status.APPROVED, task, acting_user=acting_user, reason=reason, now=now)


@transaction.atomic
def reject(approval: Approval, *, acting_user: User | None, reason: str = "") -> Approval:
    """Turn the task down, which is cancelled by that; raises `conflict` when it was decided already."""
    row, task = _undecided(approval)
    now = timezone.now()
    _drop(task, now=now, error=f"rejected: {reason}" if reason else "rejected")
    return _decide(row, Status.REJECTED, task, acting_user=acting_user, reason=reason, now=now)


def forbids_own(organization: Organization) -> bool:
    """Whether nobody may approve the tasks they created themselves."""
    wanted = organization.settings.get("approvals") if isinstance(organization.settings, dict) else None
    return isinstance(wanted, dict) and wanted.get("forbid_own") is True


@transaction.atomic
def expire(*, now: datetime, limit: int = 200) -> int:
    """Cancel the tasks whose approval nobody decided in time; return how many."""
    overdue = Approval.objects.filter(status=Status.PENDING, expires_at__lte=now).order_by("expires_at")
    count = 0
    for pk in list(overdue.values_list("pk", flat=True)[:limit]):
        row = _locked(pk)
        if row.status != Status.PENDING:
            continue
        row.status, row.decided_at = Status.EXPIRED, now
        row.save(update_fields=["status", "decided_at"])
        _drop(row.task, now=now, error="nobody approved it in time")
        timeline.note(row.task, Kind.EXPIRED, now=now, text=row.task.error)
        count += 1
    return count


@transaction.atomic
def escalate(*, now: datetime, limit: int = 200) -> int:
    """Tell once more of approvals that wait for long; return of how many."""
    if not settings.APPROVAL_ESCALATION_MINUTES:
        return 0
    since = now - timedelta(minutes=settings.APPROVAL_ESCALATION_MINUTES)
    waiting = Approval.objects.filter(status=Status.PENDING, created_at__lte=since, escalated_at__isnull=True)
    rows = list(waiting.select_related("task").order_by("id")[:limit])
    count = 0
    for row in rows:
        if waiting.filter(pk=row.pk).update(escalated_at=now):
            text = f"waits for approval since {row.created_at:%Y-%m-%d %H:%M} UTC"
            timeline.note(row.task, Kind.ESCALATED, now=now, text=text)
            count += 1
    return count


def _locked(pk: int) -> Approval:
    """Lock task and approval, in the order every writer keeps to: the task first."""
    task_pk = Approval.objects.values_list("task_id", flat=True).get(pk=pk)
    task = Task.objects.select_for_update(of=("self",), no_key=True).select_related("organization").get(pk=task_pk)
    row = Approval.objects.select_for_update(no_key=True).get(pk=pk)
    row.task = task
    return row


def _undecided(approval: Approval) -> tuple[Approval, Task]:
    row = _locked(approval.pk)
    if row.status == Status.EXPIRED or row.is_overdue(now=timezone.now()):
        raise Conflict(detail="This approval has expired: nobody decided in time, and the task is cancelled.")
    if row.status != Status.PENDING:
        raise Conflict(detail=f"This approval was {row.status} already.")
    return row, row.task


def _drop(task: Task, *, now: datetime, error: str) -> None:
    task.status, task.completed_at, task.error = Task.Status.CANCELLED, now, error[:1000]
    task.save(update_fields=["status", "completed_at", "error"])


def _decide(
    row: Approval, status: Approval.Status, task: Task, *, acting_user: User | None, reason: str, now: datetime
) -> Approval:
    who = audit.actor(acting_user)
    row.status, row.decided_by, row.decided_at, row.decision_reason = status, who, now, reason[:500]
    row.save(update_fields=["status", "decided_by", "decided_at", "decision_reason"])
    timeline.note(task, Kind(status.value), now=now, text=reason, actor=who)
    audit.record(
        f"approval.{'approve' if status == Status.APPROVED else 'reject'}",
        acting_user=acting_user,
        organization_id=task.organization_id,
        target=("approval", row.approval_id),
        before={"status": Status.PENDING.value},
        after={"status": status.value, "task_id": task.task_id, "task_status": task.status},
        reason=reason,
    )
    return row
