"""Routes in the console: which agent a type of task goes to, and whether its tasks wait for a person."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import display
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter, FieldTextFilter
from unfold.widgets import UnfoldAdminTextInputWidget

from orchestrators.models import Route
from orchestrators.work import routes, routing
from orgs.admin.base import ConsoleAdmin, badge, user

SOURCES = {True: "default", False: "changed default"}


class RouteForm(forms.ModelForm):  # type: ignore[type-arg]
    """A route."""

    class Meta:
        model = Route
        fields = ["organization", "task_type", "agent_id", "needs_approval"]
        labels = {"agent_id": "Agent", "task_type": "Type of task", "needs_approval": "Always waits for approval"}
        help_texts = {
            "organization": "Empty: in every organization that has none of its own for the type.",
            "task_type": "* stands for every type without a route.",
            "agent_id": "An agent's id; an organization that lacks it gets it with the first task.",
        }
        widgets = {
            "task_type": UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
            "agent_id": UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "placeholder": "dev_agent"}),
        }


@admin.register(Route)
class RouteAdmin(ConsoleAdmin):
    """The routing table."""

    form = RouteForm
    list_display = ["kind", "agent", "whose", "approval", "origin"]
    list_display_links = ["kind"]
    list_filter = [
        ("organization", AutocompleteSelectFilter), ("agent_id", FieldTextFilter), "needs_approval",
    ]  # fmt: skip
    list_select_related = ["organization"]
    search_fields = ["task_type", "agent_id"]
    search_help_text = "Search by type or agent"
    ordering = ["task_type", "organization_id"]
    autocomplete_fields = ["organization"]
    fields = ["organization", "task_type", "agent_id", "needs_approval"]

    @display(description="Type", ordering="task_type")
    def kind(self, row: Route) -> SafeString:
        """Show the type."""
        words = "every other type" if row.task_type == routing.ANY else ""
        return format_html('<span class="mo-name"><b>{}</b><small>{}</small></span>', row.task_type, words)

    @display(description="Goes to", ordering="agent_id")
    def agent(self, row: Route) -> str:
        """Show the agent."""
        return row.agent_id

    @display(description="Where", ordering="organization")
    def whose(self, row: Route) -> str:
        """Show where it holds."""
        return row.organization.name if row.organization else "everywhere"

    @display(description="Approval", ordering="needs_approval")
    def approval(self, row: Route) -> SafeString:
        """Show when its tasks wait for a person."""
        return badge("amber", "◌", "Always") if row.needs_approval else badge("gray", "○", "P0 and P1")

    @display(description="From")
    def origin(self, row: Route) -> str:
        """Show whether it came with the installation."""
        if not routes.is_default(row):
            return "own"
        return SOURCES[row.agent_id == routing.DEFAULTS[row.task_type] and not row.needs_approval]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep what a route is known by."""
        return ["organization", "task_type"] if obj else []

    def save_model(self, request: HttpRequest, obj: Route, form: Any, change: bool) -> None:
        """Write by the room's functions."""
        wish = {name: form.cleaned_data[name] for name in routes.COLUMNS}
        if change:
            row = routes.change(Route.objects.get(pk=obj.pk), acting_user=user(request), **wish)
        else:
            home, kind = form.cleaned_data["organization"], form.cleaned_data["task_type"]
            row = routes.create(home, task_type=kind, acting_user=user(request), **wish)
        obj.__dict__.update(row.__dict__)

    def delete_model(self, request: HttpRequest, obj: Route) -> None:
        """Delete it, or put a default back."""
        is_default = routes.is_default(obj)
        routes.delete(obj, acting_user=user(request))
        if is_default:
            messages.info(request, "A default route is not deleted: it is as it came again.")

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Route]) -> None:
        """Delete the chosen ones, one by one."""
        for row in queryset:
            self.delete_model(request, row)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Name what goes."""
        rows = [str(obj) for obj in objs]
        return rows, {"routes": len(rows)}, set(), []
