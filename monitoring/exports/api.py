"""REST doors of exports: begin one, see how far it is, fetch its file (API §3)."""

from collections.abc import Collection
from typing import Any

from django.http import HttpResponseBase
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from monitoring import scope
from monitoring.exports import files, making
from monitoring.exports.making import KIND
from monitoring.exports.wish import Wish
from monitoring.exports.writers import FORMATS
from moolai.errors import AppError, Conflict, NotFound
from orchestrators.jobs_api import JobRow
from orchestrators.models import Job
from orgs import access, downloads, rest


class ExportSpan(serializers.Serializer[Any]):
    """From `start` on, until before `end`."""

    start = serializers.CharField(max_length=200, help_text="A time in ISO 8601, or a day.")
    end = serializers.CharField(max_length=200)


class ExportWish(serializers.Serializer[Any]):
    """What to export; docs/monitoring.md says which rows that makes."""

    export_type = serializers.ChoiceField(list(FORMATS))
    metrics = serializers.ListField(child=serializers.CharField(max_length=200))
    time_range = ExportSpan()
    filters = serializers.DictField(required=False)
    group_by = serializers.ListField(child=serializers.CharField(max_length=200), required=False)
    aggregation = serializers.CharField(max_length=200, required=False)


class ExportRow(JobRow):
    """The job of an export; what its file is, is null until it is there."""

    file_name = serializers.SerializerMethodField()
    rows = serializers.SerializerMethodField()
    bytes = serializers.SerializerMethodField()
    expires_at = serializers.SerializerMethodField()
    download_url = serializers.SerializerMethodField(help_text="Null until the file is there, and when it is gone.")

    class Meta(JobRow.Meta):
        fields = [
            *(name for name in JobRow.Meta.fields if name != "result"),
            "file_name", "rows", "bytes", "expires_at", "download_url",
        ]  # fmt: skip

    def get_file_name(self, row: Job) -> str | None:
        """Return the file's name."""
        found: str | None = _result(row, "file_name")
        return found

    def get_rows(self, row: Job) -> int | None:
        """Return how many rows the file has."""
        found: int | None = _result(row, "rows")
        return found

    def get_bytes(self, row: Job) -> int | None:
        """Return how long the file is."""
        found: int | None = _result(row, "bytes")
        return found

    def get_expires_at(self, row: Job) -> str | None:
        """Return until when the file is kept."""
        found: str | None = _result(row, "expires_at")
        return found

    def get_download_url(self, row: Job) -> str | None:
        """Return where the file is."""
        found: str | None = _result(row, "download_url")
        return found if files.is_there(row) else None


def _result(row: Job, name: str) -> Any:
    return (row.result or {}).get(name)


class Exports(rest.View):
    """`/api/v1/controller/export`."""

    @rest.operation(ExportRow, body=ExportWish, status=202, errors=("conflict", "organization_required"))
    def post(self, request: Request) -> Response:
        """Have a file of measurements made by a job, for whoever may read them; audited."""
        visible = scope.organizations(request)
        wish = Wish.parse(rest.body(request, ExportWish))
        wanted = list(wish.spec.filters.get("organization", ()))
        for organization_id in wanted:
            access.check(request, organization_id)
        organization_id = _owner(wanted, visible)
        job = making.start(wish, organization_id=organization_id, acting_user=access.caller(request).user)
        return rest.answer(ExportRow(job).data, status=202)


def _owner(wanted: list[str], visible: Collection[str] | None) -> str:
    """Return whose the file is: the one organization it is about, or "" for a superadmin's about several."""
    found = wanted or visible
    if found is not None and len(found) == 1:
        return next(iter(found))
    if visible is None:
        return ""
    raise AppError("organization_required", "Name one organization in filters.organization.")


class OneExport(rest.View):
    """`/api/v1/controller/export/{job_id}`."""

    @rest.operation(ExportRow)
    def get(self, request: Request, job_id: str) -> Response:
        """Return the job of an export, with how far it got."""
        return rest.answer(ExportRow(_job(request, job_id)).data)


class Download(rest.View):
    """`/api/v1/controller/export/{job_id}/download`."""

    @rest.operation(content_types=tuple(found.content_type for found in FORMATS.values()), errors=("conflict",))
    def get(self, request: Request, job_id: str) -> HttpResponseBase:
        """Send the file; `conflict` while there is none yet, or when its job failed."""
        job = _job(request, job_id)
        if job.status != Job.Status.COMPLETED:
            raise Conflict(detail=_why_not(job))
        if not files.is_there(job):
            raise NotFound(detail="The file was removed after its time: export it again.")
        result = job.result or {}
        return downloads.answer(
            request._request,
            files.read(job),
            file_name=result["file_name"],
            content_type=FORMATS[job.request["export_type"]].content_type,
            size_bytes=result["bytes"],
        )


def _job(request: Request, job_id: str) -> Job:
    return access.get(request, Job.objects.filter(kind=KIND).defer("targets"), job_id=job_id)


def _why_not(job: Job) -> str:
    if job.status == Job.Status.FAILED:
        return " ".join(["The export failed.", *(problem["error"] for problem in job.errors[:1])])
    return f"The export is {job.status}" + (f": {job.percent} % are done." if job.is_open else ".")
