"""Making the file of an export: what the job's worker does, and where it is begun."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from monitoring.exports import files, reading, sink
from monitoring.exports.sink import Sink
from monitoring.exports.wish import Wish
from monitoring.exports.writers import FORMATS
from moolai.errors import AppError, Conflict, NotFound
from orchestrators import jobs
from orchestrators.jobs import Lengthy, Piece, Renew
from orchestrators.models import Job
from orgs import audit
from orgs.models import Organization, User

KIND: Final = "export"
MAX_OPEN: Final = 5


@dataclass(frozen=True, slots=True)
class Made:
    """A finished file that only this process can read yet."""

    file: IO[bytes]
    rows: int
    done: int


@transaction.atomic
def start(wish: Wish, *, organization_id: str = "", acting_user: User | None) -> Job:
    """Post the job of an export and return it; `organization_id` is whose it is (empty: the superadmins').

    Raises `invalid_field` for more rows than fit, and `conflict` where MAX_OPEN exports are waiting or running.
    """
    same = Job.objects.filter(kind=KIND, organization_id=organization_id)
    if same.filter(status__in=[Job.Status.QUEUED, Job.Status.RUNNING]).count() >= MAX_OPEN:
        raise Conflict(detail=f"{MAX_OPEN} exports are waiting or running: wait for one of them, or cancel it.")
    now, most = timezone.now(), _most_rows(wish)
    total = reading.total(wish, organizations=_scope(organization_id), most=most, now=now)
    if wish.is_raw and total > most:
        raise _too_many(wish)
    told = wish.told()
    job = jobs.post(KIND, request=told, acting_user=acting_user, organization_id=organization_id, total=total, last=0)
    audit.record(
        "metrics.export",
        acting_user=acting_user,
        organization_id=organization_id,
        target=("job", job.job_id),
        after=told,
    )
    return job


def _scope(organization_id: str) -> list[str] | None:
    return [organization_id] if organization_id else None


def _most_rows(wish: Wish) -> int:
    found, width = FORMATS[wish.file_format], len(reading.columns(wish))
    return min(settings.EXPORT_MAX_ROWS, found.most_rows, found.most_cells // width)


def _too_many(wish: Wish) -> AppError:
    return AppError(
        "invalid_field",
        f"These are more than {_most_rows(wish):,} rows, the most that this {wish.file_format} file may have "
        "(EXPORT_MAX_ROWS): choose a shorter time range, fewer metrics or a filter.",
        fields={"time_range": f"More than {_most_rows(wish):,} rows."},
    )


# --- in the worker --------------------------------------------------------------------------------------------------


@contextmanager
def make(job: Job, renew: Renew) -> Iterator[Made]:
    """Write the file: as of when the job was posted, so that one that is made again is the same but for late rows."""
    progress = Progress(renew)
    with sink.directory() as folder:
        target = Sink(folder, on_write=progress.renew)
        with target.file:
            yield _written(job, target, folder, progress)


@dataclass(slots=True)
class Progress:
    """How far it is, for the renewals that come while a library writes."""

    tell: Renew
    done: int = 0

    def renew(self) -> None:
        """Renew the right to go on."""
        self.tell(self.done)


def _written(job: Job, target: Sink, folder: Path, progress: Progress) -> Made:
    wish, rows = Wish.parse(job.request), 0
    writer = FORMATS[wish.file_format].writer(target, reading.columns(wish), folder=folder)
    try:
        scope = _scope(job.organization_id)
        for batch, progress.done in reading.batches(wish, organizations=scope, now=job.created_at):
            rows += len(batch)
            if rows > _most_rows(wish):
                raise _too_many(wish)
            writer.write(batch)
            progress.renew()
        writer.close()
    except BaseException:
        writer.drop()
        raise
    return Made(target.file, rows, rows if wish.is_raw else job.total)


def store(job: Job, made: Made) -> Piece:
    """Keep the file and say what it is; raises `not_found` when its organization was deleted meanwhile."""
    if job.organization_id and not Organization.objects.filter(pk=job.organization_id).exists():
        raise NotFound(detail="The organization was deleted.")
    now = timezone.now()
    size, expires_at = files.store(job, made.file), files.expiry(now=now)
    job.result = {
        "file_name": _file_name(job),
        "rows": made.rows,
        "bytes": size,
        "expires_at": expires_at.isoformat().replace("+00:00", "Z") if expires_at else None,
        "download_url": f"/api/v1/controller/export/{job.job_id}/download",
    }
    files.make_room(job)
    return Piece(position=0, done=made.done - job.done, is_last=True)


def _file_name(job: Job) -> str:
    """Return the file's name: whose, when asked for, and which export, in letters that every system takes."""
    whose = job.organization_id or "all"
    plain = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "_" for letter in whose)
    return f"metrics-{plain}-{job.created_at:%Y%m%d-%H%M%S}.{job.request['export_type']}"


HANDLERS: Final = {KIND: Lengthy(make, store)}
