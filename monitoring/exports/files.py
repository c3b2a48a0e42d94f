"""The finished files of exports: stored in the database in compressed chunks, read one at a time, removed in time."""

import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import IO, Final

from django.conf import settings
from django.utils import timezone

from monitoring.models import ExportChunk
from orchestrators.models import Job
from orgs.retention import Rule

CHUNK_BYTES: Final = 1024 * 1024
LEVEL: Final = 1
KEPT: Final = 20  # newest files of an organization, and of the superadmins; older ones make room


def store(job: Job, file: IO[bytes]) -> int:
    """Store all of `file` as the job's, in the caller's transaction; return how many bytes that are."""
    file.seek(0)
    number = size = 0
    while data := file.read(CHUNK_BYTES):
        owner = job.organization_id or None
        ExportChunk.objects.create(job=job, organization_id=owner, number=number, data=zlib.compress(data, LEVEL))
        number, size = number + 1, size + len(data)
    return size


def is_there(job: Job) -> bool:
    """Whether the job's file can be had: it is finished, and was not removed."""
    result = job.result or {}
    if job.status != Job.Status.COMPLETED or "expires_at" not in result:
        return False
    expires_at = result["expires_at"]
    if expires_at is not None and datetime.fromisoformat(expires_at) <= timezone.now():
        return False
    return ExportChunk.objects.filter(job=job, number=0).exists()


def read(job: Job) -> Iterator[bytes]:
    """Yield the file in pieces of CHUNK_BYTES, each read when it is asked for; raises OSError when one is gone."""
    for number in range(-(-int((job.result or {})["bytes"]) // CHUNK_BYTES)):
        found = ExportChunk.objects.filter(job=job, number=number).values_list("data", flat=True).first()
        if found is None:
            raise OSError(f"The file of {job.job_id} was removed.")
        yield zlib.decompress(found)


def expiry(*, now: datetime) -> datetime | None:
    """Return until when a file that is finished now is kept; None: as long as its job."""
    hours = settings.EXPORT_RETENTION_HOURS
    return now + timedelta(hours=hours) if hours else None


def make_room(job: Job) -> None:
    """Remove the files of an organization that are not among its KEPT newest."""
    same = ExportChunk.objects.filter(number=0, job__kind=job.kind, job__organization_id=job.organization_id)
    older = list(same.order_by("-job_id").values_list("job_id", flat=True)[KEPT:])
    ExportChunk.objects.filter(job__in=older).delete()
    for row in Job.objects.filter(pk__in=older):
        row.result = {**(row.result or {}), "download_url": None}
        row.save(update_fields=["result"])


def rules(*, now: datetime) -> list[Rule]:
    """Return the chunks whose time is over."""
    if not settings.EXPORT_RETENTION_HOURS:
        return []
    cutoff = now - timedelta(hours=settings.EXPORT_RETENTION_HOURS)
    return [Rule("export_chunks", ExportChunk.objects.filter(job__finished_at__lte=cutoff), "job__finished_at")]
