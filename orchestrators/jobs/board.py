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
    job = Job.objects.create(
        job_id=f"job_{secrets.token_hex(8)}",
        kind=kind,
        organization_id=organization_id,
        total=total,
        last=last,
        targets=targets,
        failed=len(problems),
        errors=list(problems[:MAX_ERRORS]),
        request=request,
        created_by=acting_user,
        actor=audit.actor(acting_user),
        created_at=timezone.now(),
    )
    tell(job, "queued")
    transaction.on_commit(wake, robust=True)
    return job


@transaction.atomic
def cancel(job: Job, *, acting_user: User | None) -> Job:
    """Stop a job between two pieces; what it did stays done. Raises `conflict` for one that is over."""
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
