"""Workflow runs in the console: the list, and each run as its steps and its result. Nothing shows what it was given."""

from datetime import datetime
from typing import Any, Final

from django.contrib import admin, messages
from django.contrib.admin import display
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesCheckboxFilter
from unfold.views import ChangeList

from llm_gateway.admin import step_picture, words
from llm_gateway.models import WorkflowRun
from llm_gateway.workflows import contents, runs, telling
from moolai.errors import AppError
from orchestrators.admin import task_pieces, task_words
from orgs.admin.audit_filters import OrganizationFilter, TimeFilter
from orgs.admin.base import DrawnAdmin, ago, badge, exact, user

RUNS: Final = {
    "queued": ("gray", "◌", "Queued"),
    "running": ("blue", "◐", "Running"),
    "completed": ("green", "●", "Completed"),
    "partial": ("amber", "▲", "In part"),
    "failed": ("red", "✖", "Failed"),
    "cancelled": ("gray", "○", "Cancelled"),
}


class RunList(ChangeList):  # type: ignore[misc]
    """The list; each row knows what it cost: two queries for all of them."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the rows, and what their calls cost."""
        super().get_results(request)
        self.result_list: Any = list(self.result_list)
        spent = telling.costs_of_runs([row.pk for row in self.result_list])
        for row in self.result_list:
            row.cost_usd_micros = spent.get(row.pk, 0)


@admin.register(WorkflowRun)
class WorkflowRunAdmin(DrawnAdmin):
    """Runs, newest first."""

    list_display = ["run", "organization", "state", "progress_", "cost", "took", "when"]
    list_display_links = ["run"]
    list_filter = [
        OrganizationFilter, ("status", ChoicesCheckboxFilter), ("created_at", TimeFilter),
    ]  # fmt: skip
    list_before_template = "admin/llm_gateway/workflow/live_bar.html"
    list_select_related = ["organization", "task"]
    search_fields = ["=workflow_id", "=batch_id", "=workflow_type"]
    search_help_text = "Search by workflow id, batch id or type, in full"
    ordering = ["-id"]
    change_form_outer_before_template = "admin/llm_gateway/workflow/run.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Use the list whose rows know what they cost."""
        return RunList

    def get_queryset(self, request: HttpRequest) -> QuerySet[WorkflowRun]:
        """Leave out what the list does not show."""
        found: QuerySet[WorkflowRun] = super().get_queryset(request)
        return found.defer("plan")

    def drawn(self, row: WorkflowRun) -> dict[str, Any]:
        """Show a run: its steps as a picture, the facts, and what it came to."""
        now = timezone.now()
        result, missing = _result(row, now=now)
        return {
            "title": "Workflow",
            "run": row,
            "badge": badge(*RUNS.get(row.status, ("gray", "○", row.status))),
            "waves": step_picture.waves(row, now=now),
            "cost": words.usd(telling.costs_of_runs([row.pk]).get(row.pk, 0)),
            "facts": _facts(row),
            "result": result,
            "missing": missing,
            "may_cancel": not row.is_over,
            "cancel_url": reverse("admin:llm_gateway_workflowrun_cancel", args=[row.pk]),
        }

    def get_urls(self) -> list[URLPattern]:
        """Add the piece that the page loads anew, and the button that cancels."""
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/panel/", wrap(self.panel_view), name="llm_gateway_workflowrun_panel"),
            path("<int:pk>/cancel/", wrap(self.cancel_view), name="llm_gateway_workflowrun_cancel"),
            *super().get_urls(),
        ]

    def panel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Answer the run as it is now."""
        row = WorkflowRun.objects.select_related("task").filter(pk=pk).first()
        if row is None or not self.has_view_permission(request):
            raise Http404("There is no such run.")
        return render(request, "admin/llm_gateway/workflow/panel.html", self.drawn(row))

    def cancel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Cancel a run (POST)."""
        if request.method != "POST" or not self.has_view_permission(request):
            return HttpResponse(status=405 if request.method != "POST" else 403)
        try:
            run = runs.require(WorkflowRun.objects.filter(pk=pk).first())
            runs.cancel(run, acting_user=user(request))
            messages.success(request, f"{run.workflow_id} is cancelled.")
        except AppError as problem:
            messages.error(request, problem.detail)
        return HttpResponseRedirect(reverse("admin:llm_gateway_workflowrun_change", args=[pk]))

    # --- columns ----------------------------------------------------------------------------------------------------

    @display(description="Workflow", ordering="id")
    def run(self, row: WorkflowRun) -> SafeString:
        """Show the type, and below it the id."""
        return format_html(
            '<span class="mo-name gw-model"><b>{}</b><small>{}</small></span>', row.workflow_type, row.workflow_id
        )

    @display(description="Status")
    def state(self, row: WorkflowRun) -> SafeString:
        """Show how it is."""
        shown = badge(*RUNS.get(row.status, ("gray", "○", row.status)))
        note = "an equal run's result" if row.is_cached else row.error[:60]
        return format_html('<span class="mo-name">{}<small>{}</small></span>', shown, note) if note else shown

    @display(description="Progress")
    def progress_(self, row: WorkflowRun) -> SafeString:
        """Show how far it is."""
        return format_html('<span class="gw-number">{} %</span>', row.progress)

    @display(description="Cost")
    def cost(self, row: Any) -> SafeString:
        """Show what its calls cost."""
        return format_html('<span class="gw-number">{}</span>', words.usd(row.cost_usd_micros))

    @display(description="Took")
    def took(self, row: WorkflowRun) -> SafeString:
        """Show how long it ran."""
        return format_html('<span class="gw-number">{}</span>', step_picture.took(row, now=timezone.now()))

    @display(description="Asked", ordering="created_at")
    def when(self, row: WorkflowRun) -> SafeString:
        """Show when it was asked for."""
        return ago(row.created_at)


def _result(row: WorkflowRun, *, now: datetime) -> tuple[SafeString | str, str]:
    """Return what a run came to, or why it is not shown; looking at a private one's would take it from who asked."""
    if row.is_private:
        return "", "The organization's calls are private: who runs workflows is given the result, once."
    if not row.is_over:
        return "", "None yet."
    if row.status not in (WorkflowRun.Status.COMPLETED, WorkflowRun.Status.PARTIAL):
        return "", "It left none."
    found = contents.read(row, contents.RESULT, now=now)
    return ("", telling.GONE) if found is None else (task_pieces.document(found), "")


def _facts(row: WorkflowRun) -> list[tuple[str, Any]]:
    task = row.task
    organization = reverse("admin:orgs_organization_change", args=[row.organization_id])
    found: list[tuple[str, Any]] = [
        ("Workflow id", format_html("<code>{}</code>", row.workflow_id)),
        ("Organization", format_html('<a class="mo-link" href="{}">{}</a>', organization, row.organization_id)),
        ("Asked by", row.created_by),
        ("For", row.user_id or "–"),
        ("Batch", row.batch_id or "–"),
        ("Only these outputs", ", ".join(row.expected_outputs) or "all"),
        ("Private", "yes: the result is given once" if row.is_private else "no"),
        ("From an equal run", "yes" if row.is_cached else "no"),
        ("Priority", row.priority),
        (
            "Task",
            format_html(
                "{} {}, attempt {}",
                task_words.link("orchestrators_task", task.pk, task.task_id),
                task.status,
                task.attempts,
            )
            if task
            else "–",
        ),
        ("Asked", exact(row.created_at)),
        ("Began", exact(row.started_at)),
        ("Ended", exact(row.completed_at)),
    ]
    return found
