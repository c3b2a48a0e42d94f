"""Doing jobs: a worker takes one by its lease and does piece after piece.

A piece and the move of the job's position are one transaction, which begins by locking the job under the name of its
holder. So a piece whose worker was killed never happened, one that was committed is never done again, and a worker that
slept through its lease finds the job in other hands and leaves it alone.

A `Lengthy` piece is made outside of the transaction, while its maker renews the lease, and stored inside: the row is
locked only for that, and one whose worker was killed is made again.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from django.db import DatabaseError, InterfaceError, OperationalError, transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from moolai.errors import AppError
from orchestrators import nodes
from orchestrators.jobs.board import MAX_ERRORS, tell
from orchestrators.models import Job
from orgs import audit

logger = logging.getLogger(__name__)
LEASE_SECONDS: Final = 15
RENEW_SECONDS: Final = 2.0
MAX_ATTEMPTS: Final = 5
AT_ONCE: Final = 2  # of a process: a worker has four threads, and what the clock asks for must find a free one
Status = Job.Status
OPEN: Final = Q(status__in=[Status.QUEUED, Status.RUNNING])


@dataclass(frozen=True, slots=True)
class Piece:
    """What was done with the rows behind a job's position, up to `position`."""

    position: int
    done: int
    problems: list[dict[str, str]] = field(default_factory=list)
    is_last: bool = False


Renew = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Lengthy:
    """A piece that takes longer than a transaction should.

    `make(job, renew)` writes nothing; it calls `renew(rows done)` at least every few seconds, which ends it by an
    exception when the job was cancelled or is in other hands. `store(job, made)` keeps what it made.
    """

    make: Callable[[Job, Renew], AbstractContextManager[Any]]
    store: Callable[[Job, Any], Piece]


Handler = Callable[[Job], Piece]
Handlers = Mapping[str, Handler | Lengthy]
_handlers: Handlers = {}
_room = threading.BoundedSemaphore(AT_ONCE)
_lengthy: set[int] = set()  # what this process makes: while it makes one, its other threads take short jobs only


class _Lost(Exception):
    """The job is in other hands, or cancelled."""


def install(handlers: Handlers) -> None:
    """Name the handler of each kind of job; called once by `moolai/wiring.py`."""
    global _handlers
    _handlers = handlers


def drain() -> int:
    """Do every job that nobody holds; return how many were taken.

    None where AT_ONCE threads of this process do so already: they go on until there is no job left.
    """
    count = 0
    if not _room.acquire(blocking=False):
        return count
    try:
        while (job := claim()) is not None:
            run(job)
            count += 1
    finally:
        _room.release()
    return count


def claim(job_id: str = "") -> Job | None:
    """Take the oldest job that nobody holds (or the one named), by a conditional update; None when there is none."""
    now = timezone.now()
    free = Job.objects.filter(OPEN, kind__in=_kinds()).filter(Q(lease_until__isnull=True) | Q(lease_until__lte=now))
    free = free.filter(job_id=job_id) if job_id else free
    for pk in list(free.order_by("id").values_list("pk", flat=True)[:20]):
        holder = f"{nodes.process()}:{secrets.token_hex(4)}"
        taken = {"holder": holder, "lease_until": now + timedelta(seconds=LEASE_SECONDS), "status": Status.RUNNING}
        changed = free.filter(pk=pk).update(
            **taken, attempts=F("attempts") + 1, started_at=Coalesce(F("started_at"), now)
        )
        if changed:
            return Job.objects.select_related("created_by").get(pk=pk)
    return None


def _kinds() -> list[str]:
    return [kind for kind, handler in _handlers.items() if not (_lengthy and isinstance(handler, Lengthy))]


def run(job: Job, *, on_piece: Callable[[Job], None] | None = None) -> Job:
    """Do the pieces of a claimed job to the end, or until it is cancelled or somebody else's; return it as it is then.

    A fault leaves the job to whoever takes it next; after MAX_ATTEMPTS without getting on it has failed.
    """
    try:
        while job.status == Status.RUNNING:
            job = _piece(job)
            if on_piece is not None:
                on_piece(job)
    except _Lost:
        logger.info("job %s is not ours any more", job.job_id)
    except (OperationalError, InterfaceError) as error:
        logger.warning("job %s waits: %s", job.job_id, error)  # its lease runs out
    except AppError as problem:
        _give_up(job, problem.detail)
    except Exception:
        logger.exception("job %s broke off at %d", job.job_id, job.position)
        _put_back(job)
    return _again(job)


def _again(job: Job) -> Job:
    try:
        return Job.objects.get(pk=job.pk)
    except DatabaseError:
        return job


def _piece(job: Job) -> Job:
    handler = _handlers[job.kind]
    if not isinstance(handler, Lengthy):
        return _store(job, handler)
    _check(job)
    _lengthy.add(job.pk)
    try:
        with handler.make(job, _renewal(job)) as made:
            return _store(job, lambda row: handler.store(row, made))
    finally:
        _lengthy.discard(job.pk)


def _check(job: Job) -> None:
    if job.attempts > MAX_ATTEMPTS:
        raise AppError("internal_error", f"Given up after {MAX_ATTEMPTS} attempts that did not get on.")


def _renewal(job: Job) -> Renew:
    """Return what renews a job's lease and says how far it is, at most every RENEW_SECONDS."""
    renewed_at = time.monotonic()

    def renew(done: int) -> None:
        nonlocal renewed_at
        if time.monotonic() - renewed_at < RENEW_SECONDS:
            return
        lease_until = timezone.now() + timedelta(seconds=LEASE_SECONDS)
        mine = Job.objects.filter(pk=job.pk, status=Status.RUNNING, holder=job.holder)
        if not mine.update(lease_until=lease_until, done=done):
            raise _Lost
        job.done, renewed_at = done, time.monotonic()
        tell(job, "progress")

    return renew


@transaction.atomic
def _store(job: Job, handler: Handler) -> Job:
    mine = Job.objects.select_for_update(of=("self",)).filter(pk=job.pk, status=Status.RUNNING, holder=job.holder)
    row = mine.select_related("created_by").first()
    if row is None:
        raise _Lost
    _check(row)
    with audit.origin(row.actor):
        piece = handler(row)
    now = timezone.now()
    row.position, row.done = piece.position, row.done + piece.done
    row.failed += len(piece.problems)
    row.errors = [*row.errors, *piece.problems][:MAX_ERRORS]
    row.attempts, row.lease_until = 0, now + timedelta(seconds=LEASE_SECONDS)
    if piece.is_last:  # rows that came or went meanwhile make the total what it was in truth
        row.status, row.finished_at, row.lease_until = Status.COMPLETED, now, None
        row.total = row.done + row.failed
    row.save()
    tell(row, "completed" if piece.is_last else "progress")
    return row


@transaction.atomic
def _give_up(job: Job, reason: str) -> None:
    changed = {"status": Status.FAILED, "finished_at": timezone.now(), "lease_until": None}
    errors = [{"error": reason}, *job.errors][:MAX_ERRORS]
    if Job.objects.filter(pk=job.pk, holder=job.holder, status=Status.RUNNING).update(**changed, errors=errors):
        tell(job, "failed")


def _put_back(job: Job) -> None:
    """Let the next sweep try again."""
    Job.objects.filter(pk=job.pk, holder=job.holder, status=Status.RUNNING).update(lease_until=timezone.now())
