"""Jobs in the console: what runs, how far it is, and a button to stop it."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import display
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesCheckboxFilter

from moolai.errors import AppError
from orchestrators import jobs
from orchestrators.configuration import tracking
from orchestrators.models import Job
from orgs.admin.base import LongListAdmin, ago, exact, until, user
from orgs.admin.trail import pretty

TONES = {"queued": "amber", "running": "blue", "completed": "green", "failed": "red", "cancelled": "gray"}
STAYS = {tracking.KIND: "its members go back", "export": "there is no file"}  # after a cancel


def badge(row: Job) -> SafeString:
    """Show the state."""
    return format_html('<span class="mo-badge mo-badge-{}">{}</span>', TONES[row.status], row.status)


def bar(row: Job) -> SafeString:
    """Show how far it is."""
    failed = format_html(" · {} failed", row.failed) if row.failed else ""
    return format_html(
        '<span class="mo-progress"><progress max="100" value="{}" class="mo-bar mo-bar-{}" aria-label="Progress">'
        "</progress><small>{} of {}{}</small></span>",
        row.percent,
        TONES[row.status],
        row.done + row.failed,
        row.total,
        failed,
    )


@admin.register(Job)
class JobAdmin(LongListAdmin):
    """Work over many rows."""

    list_display = ["what", "state", "progress", "organization", "actor", "when", "finished"]
    list_filter = [("status", ChoicesCheckboxFilter)]
    search_fields = ["job_id", "kind", "actor", "organization_id"]
    ordering = ["-id"]
    list_before_template = "console/jobs_bar.html"
    change_form_outer_before_template = "console/job_head.html"
    fields = ["job_id", "what", "organization", "actor", "created", "asked"]
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        """Leave the long lists of keys in the database."""
        return Job.objects.defer("targets")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list below what runs now."""
        return super().changelist_view(request, {"running": running(), **(extra_context or {})})

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Show the job with its progress."""
        row = self.get_object(request, object_id) if object_id else None
        extra = {"job": shown(row)} if row else {}
        return super().changeform_view(request, object_id, form_url, {**extra, **(extra_context or {})})

    def get_urls(self) -> list[URLPattern]:
        """Add the pieces that pages load anew, and the button."""
        wrap = self.admin_site.admin_view
        own = [
            path("running/", wrap(self.running_view), name="orchestrators_job_running"),
            path("<int:pk>/progress/", wrap(self.progress_view), name="orchestrators_job_progress"),
            path("<int:pk>/cancel/", wrap(self.cancel_view), name="orchestrators_job_cancel"),
        ]
        return [*own, *super().get_urls()]

    def running_view(self, request: HttpRequest) -> HttpResponse:
        """Answer what runs now as a piece of a page."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        return render(request, "console/jobs.html", {"running": running()})

    def progress_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Answer one job's progress as a piece of a page."""
        return render(request, "console/job.html", {"job": shown(self._get(request, pk))})

    def cancel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Stop a job (POST)."""
        row = self._get(request, pk)
        if request.method != "POST":
            return HttpResponse(status=405)
        try:
            jobs.cancel(row, acting_user=user(request))
        except AppError as problem:
            messages.error(request, problem.detail)
        else:
            stays = STAYS.get(row.kind, "what it did stays done")
            messages.success(request, f"The job is cancelled; {stays}.")
        return HttpResponseRedirect(reverse("admin:orchestrators_job_change", args=[pk]))

    def _get(self, request: HttpRequest, pk: int) -> Job:
        row = self.get_queryset(request).filter(pk=pk).first() if self.has_view_permission(request) else None
        if row is None:
            raise Http404("There is no such job.")
        return row

    @display(description="What", ordering="kind")
    def what(self, row: Job) -> str:
        """Show the kind in words."""
        return row.what

    @display(description="State", ordering="status")
    def state(self, row: Job) -> SafeString:
        """Show the badge."""
        return badge(row)

    @display(description="Progress")
    def progress(self, row: Job) -> SafeString:
        """Show the bar."""
        return bar(row)

    @display(description="Organization", ordering="organization_id")
    def organization(self, row: Job) -> str:
        """Show whose rows it works on."""
        return row.organization_id or "all"

    @display(description="Asked for", ordering="id")
    def when(self, row: Job) -> SafeString:
        """Show when it was posted."""
        return ago(row.created_at)

    @display(description="Asked for")
    def created(self, row: Job) -> str:
        """Show when it was posted."""
        return exact(row.created_at)

    @display(description="Finished", ordering="finished_at")
    def finished(self, row: Job) -> SafeString | str:
        """Show when it was over."""
        return ago(row.finished_at) if row.finished_at else "–"

    @display(description="What was asked")
    def asked(self, row: Job) -> SafeString:
        """Show selector and parameters."""
        return pretty(row.request)


def shown(row: Job) -> dict[str, Any]:
    """Return a job as the pieces show it."""
    url = reverse("admin:orchestrators_job_change", args=[row.pk])
    rollout = row.request.get("rollout") if row.kind == tracking.KIND else None
    return {
        "rollout": rollout,
        "file": file(row),
        "row": row,
        "what": row.what,
        "badge": badge(row),
        "bar": bar(row),
        "url": url,
        "started": ago(row.started_at),
        "finished": ago(row.finished_at),
    }


def file(row: Job) -> dict[str, Any] | None:
    """Return the file that a job made, while it is kept: `url`, `name`, `rows`, `bytes`, and until when in words."""
    result, now = row.result if isinstance(row.result, dict) else {}, timezone.now()
    url, expires_at = result.get("download_url"), parse_datetime(result.get("expires_at") or "")
    if not url or (expires_at and expires_at <= now):
        return None
    kept = f"It is removed {until(expires_at, now=now)}." if expires_at else ""
    return {"url": url, "name": result["file_name"], "rows": result["rows"], "bytes": result["bytes"], "kept": kept}


def running() -> list[dict[str, Any]]:
    """Return the jobs that are not over, newest first."""
    rows = Job.objects.filter(status__in=[Job.Status.QUEUED, Job.Status.RUNNING]).defer("targets")
    return [shown(row) for row in rows.order_by("-id")[:20]]
