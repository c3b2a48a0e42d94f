"""Tasks in the console: the board, the list, the page of one with its timeline, and what a person does with them."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter, display
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesCheckboxFilter, FieldTextFilter

from moolai.errors import AppError
from orchestrators.admin import task_board, task_pieces, task_words
from orchestrators.admin.task_forms import TaskForm
from orchestrators.models import Task
from orchestrators.models.task import LEVELS
from orchestrators.work import board
from orgs import authentication
from orgs.admin.audit_filters import TimeFilter
from orgs.admin.base import DrawnAdmin, ago, user


class LevelFilter(SimpleListFilter):
    """Narrows to P0, P1, P2 or P3: to the numbers of each."""

    title, parameter_name = "priority", "level"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the levels."""
        return task_board.levels()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        """Apply the chosen one."""
        chosen = self.value()
        return task_board.at(queryset, chosen) if chosen in LEVELS else queryset


@admin.register(Task)
class TaskAdmin(DrawnAdmin):
    """Tasks, newest first. A new one is created here; what was created is never edited."""

    may_add = True
    add_title = "Create a task"
    form = TaskForm
    list_display = ["what", "level", "state", "agent", "organization_", "when", "took"]
    list_display_links = ["what"]
    list_filter = [
        ("organization", AutocompleteSelectFilter), ("status", ChoicesCheckboxFilter), LevelFilter,
        ("task_type", FieldTextFilter), ("assigned_agent", FieldTextFilter), ("created_at", TimeFilter),
    ]  # fmt: skip
    list_before_template = "admin/orchestrators/task/live_bar.html"
    search_fields = ["=task_id"]
    search_help_text = "Search by task id, in full"
    ordering = ["-id"]
    autocomplete_fields = ["organization"]
    add_fieldsets = [
        (None, {"fields": ["organization", "task_type", "urgency", "payload", "target", "timeout_seconds"]})
    ]
    change_form_outer_before_template = "admin/orchestrators/task/page.html"

    # --- columns ----------------------------------------------------------------------------------------------------

    @display(description="Task", ordering="id")
    def what(self, row: Task) -> SafeString:
        """Show the type, and the id below it."""
        return format_html('<span class="mo-name"><b>{}</b><small>{}</small></span>', row.task_type, row.task_id)

    @display(description="Priority", ordering="priority")
    def level(self, row: Task) -> SafeString:
        """Show the badge."""
        return task_words.level(row)

    @display(description="Status")
    def state(self, row: Task) -> SafeString:
        """Show the badge, and how far it is."""
        mark = task_words.status(row)
        return format_html("{} {} %", mark, row.progress) if row.status == Task.Status.IN_PROGRESS else mark

    @display(description="Agent")
    def agent(self, row: Task) -> str:
        """Show whom it is assigned to."""
        return row.assigned_agent or "–"

    @display(description="Organization")
    def organization_(self, row: Task) -> str:
        """Show whose it is."""
        return row.organization_id

    @display(description="Created")
    def when(self, row: Task) -> SafeString:
        """Show the time."""
        return ago(row.created_at)

    @display(description="Took")
    def took(self, row: Task) -> str:
        """Show how long it took from being taken first."""
        both = row.started_at is not None and row.completed_at is not None
        return task_words.span((row.completed_at - row.started_at).total_seconds() if both else None)  # type: ignore[operator]

    # --- pages ------------------------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        """Read what the page of one needs; leave payloads and results where they are while listing."""
        found: QuerySet[Task] = super().get_queryset(request)
        if request.path == reverse("admin:orchestrators_task_changelist"):
            return found.defer("payload", "metadata", "result")
        return found.select_related("organization", "approval")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Offer the form for a new one."""
        return self.add_fieldsets if obj is None else []

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Show one task, or the form with the types to choose from."""
        row = self.get_object(request, object_id) if object_id else None
        extra = {"title": row.task_type, **task_pieces.shown(row, who=user(request))} if row else task_board.offered()
        return super().changeform_view(request, object_id, form_url, {**extra, **(extra_context or {})})

    def drawn(self, row: Task) -> dict[str, Any]:
        """Leave it to `changeform_view`, which knows who looks."""
        return {}

    def save_model(self, request: HttpRequest, obj: Task, form: Any, change: bool) -> None:
        """Create the task by its room's function."""
        wish = form.cleaned_data
        row = board.order(
            wish["organization"],
            task_type=wish["task_type"],
            payload=wish["payload"],
            priority=wish["urgency"],
            acting_user=user(request),
            creator=authentication.caller_id(user(request)),
            details=board.Details(source="console", sla_target=wish["target"], timeout_seconds=wish["timeout_seconds"]),
        )
        obj.__dict__.update(row.__dict__)

    def response_add(self, request: HttpRequest, obj: Task, post_url_continue: str | None = None) -> HttpResponse:
        """Go on to the task's page, which follows it."""
        waits = obj.status == Task.Status.PENDING_APPROVAL
        whose = f"The task is {obj.assigned_agent}'s." if obj.assigned_agent else "The task waits for a worker."
        messages.success(request, "The task waits for approval." if waits else whose)
        return HttpResponseRedirect(task_pieces.page(obj.pk))

    # --- doors of its own -------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """Add the board, the pieces that pages load anew, and what the buttons call."""
        wrap = self.admin_site.admin_view
        own = [
            path("board/", wrap(self.board_view), name="orchestrators_task_board"),
            path("board/columns/", wrap(self.columns_view), name="orchestrators_task_columns"),
            path("<int:pk>/panel/", wrap(self.panel_view), name="orchestrators_task_panel"),
            path("<int:pk>/cancel/", wrap(self.cancel_view), name="orchestrators_task_cancel"),
            path("<int:pk>/again/", wrap(self.again_view), name="orchestrators_task_again"),
        ]
        return [*own, *super().get_urls()]

    def board_view(self, request: HttpRequest) -> HttpResponse:
        """Show the board; `?organization=&type=&level=` narrows it."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        wish = task_board.Wish.of(request)
        context = self.admin_site.each_context(request) | {"title": "Task board", "wish": wish}
        context |= task_board.offered() | task_board.shown(wish)
        return render(request, "admin/orchestrators/task/board.html", context)

    def columns_view(self, request: HttpRequest) -> HttpResponse:
        """Answer the columns as they are now."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        return render(request, "admin/orchestrators/task/columns.html", task_board.shown(task_board.Wish.of(request)))

    def panel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Answer the task as it is now."""
        row = self._get(request, pk)
        return render(request, "admin/orchestrators/task/panel.html", task_pieces.shown(row, who=user(request)))

    def cancel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Stop a task that is not over (POST `reason`)."""
        row = self._get(request, pk)
        if request.method != "POST":
            return HttpResponse(status=405)
        try:
            board.cancel(row, acting_user=user(request), reason=request.POST.get("reason", "").strip()[:500])
        except AppError as problem:
            messages.error(request, problem.detail)
        else:
            messages.success(request, "The task is cancelled; whoever holds it is told.")
        return HttpResponseRedirect(task_pieces.page(pk))

    def again_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Make a new task of one that did not succeed (POST), and go there."""
        row = self._get(request, pk)
        if request.method != "POST":
            return HttpResponse(status=405)
        who = user(request)
        try:
            row = board.run_again(row, acting_user=who, creator=authentication.caller_id(who))
        except AppError as problem:
            messages.error(request, problem.detail)
        else:
            messages.success(request, "This is a new task with the same payload.")
        return HttpResponseRedirect(task_pieces.page(row.pk))

    def _get(self, request: HttpRequest, pk: int) -> Task:
        rows = Task.objects.select_related("organization", "approval")
        row = rows.filter(pk=pk).first() if self.has_view_permission(request) else None
        if row is None:
            raise Http404("There is no such task.")
        return row
