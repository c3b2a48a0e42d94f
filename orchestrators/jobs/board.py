"""Where jobs are posted and taken down."""

import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from moolai.errors import Conflict
from orchestrators.models import Job
from orgs import audit, events
from orgs.models import User

MAX_ERRORS: Final = 20
_listeners: list[Callable[[], None]] = []
_cancels: dict[str, Callable[..., bool]] = {}


def on_wake(listener: Callable[[], None]) -> None:
    """Call `listener` after each transaction that posted a job: a wake-up, which may get lost."""
    _listeners.append(listener)


def wake() -> None:
    """Tell the listeners that there is a job."""
    for listener in _listeners:
        listener()


def post(
    kind: str,
    *,
    request: dict[str, Any],
    acting_user: User | None,
    organization_id: str = "",
    total: int,
    last: int,
    targets: list[int] | None = None,
    problems: Sequence[dict[str, str]] = (),
) -> Job:
    """Write a job and wake a worker up with the commit; `problems` are rows that failed before it began."""
    job = _write(
        kind,
        request=request,
        acting_user=acting_user,
        organization_id=organization_id,
        total=total,
        last=last,
        targets=targets,
        failed=len(problems),
        errors=list(problems[:MAX_ERRORS]),
    )
    transaction.on_commit(wake, robust=True)
    return job


def track(
    kind: str, *, request: dict[str, Any], acting_user: User | None, organization_id: str = "", total: int
) -> Job:
    """Write the job of a work that goes on by itself: it shows how far that is (`move`), and no worker takes it."""
    now, running = timezone.now(), Job.Status.RUNNING
    return _write(
        kind,
        request=request,
        acting_user=acting_user,
        organization_id=organization_id,
        total=total,
        status=running,
        started_at=now,
    )


def _write(kind: str, *, acting_user: User | None, **columns: Any) -> Job:
    job = Job.objects.create(
        job_id=f"job_{secrets.token_hex(8)}",
        kind=kind,
        created_by=acting_user,
        actor=audit.actor(acting_user),
        created_at=timezone.now(),
        **columns,
    )
    tell(job, "queued")
    return job


def move(pk: int, *, status: str = Job.Status.RUNNING, **columns: Any) -> None:
    """Write how far the work of a tracked job is; another status than `running` ends it, and what ended stays so."""
    if status == Job.Status.RUNNING:
        Job.objects.filter(pk=pk, status=status).exclude(**columns).update(**columns)
        return
    ended = {"status": status, "finished_at": timezone.now()}
    if Job.objects.filter(pk=pk, status=Job.Status.RUNNING).update(**ended, **columns):
        tell(Job.objects.get(pk=pk), status)


def on_cancel(kind: str, cancels: Callable[..., bool]) -> None:
    """Let `cancels(job, acting_user=…)` cancel the work that jobs of a kind show; False when there is none any more."""
    _cancels[kind] = cancels


@transaction.atomic
def cancel(job: Job, *, acting_user: User | None) -> Job:
    """Stop a job between two pieces; what it did stays done. Raises `conflict` for one that is over.

    A tracked one is cancelled by what does it, which decides what stays.
    """
    if job.kind in _cancels and _cancels[job.kind](job, acting_user=acting_user):
        return Job.objects.get(pk=job.pk)
    row = Job.objects.select_for_update(of=("self",)).get(pk=job.pk)
    if not row.is_open:
        raise Conflict(detail=f"A job that is {row.status} cannot be cancelled.")
    before = row.status
    row.status, row.finished_at, row.lease_until = Job.Status.CANCELLED, timezone.now(), None
    row.save(update_fields=["status", "finished_at", "lease_until"])
    audit.record(
        "job.cancel",
        acting_user=acting_user,
        organization_id=row.organization_id,
        target=("job", row.job_id),
        before={"status": before},
        after={"status": row.status, "done": row.done, "failed": row.failed, "total": row.total},
    )
    tell(row, "cancelled")
    return row


def tell(job: Job, what: str) -> None:
    """Record an event of the job, with its progress."""
    data = {"job_id": job.job_id, "kind": job.kind, "done": job.done, "failed": job.failed, "total": job.total}
    events.record(f"job.{what}", organization_id=job.organization_id, data=data)
