"""Agents in the console: who does the tasks, how busy each is, and with which model and prompt."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesCheckboxFilter
from unfold.views import ChangeList
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from orchestrators.admin import task_words
from orchestrators.admin.forms import JSONObject
from orchestrators.models import Agent
from orchestrators.work import agents, loads
from orgs.admin.base import ConsoleAdmin, user

COLUMNS = ("name", "model", "system_prompt", "parameters", "capabilities", "status")
CHIPS = 3
MOST_CAPABILITIES = 100
LONGEST_CAPABILITY = 100
LONGEST_PROMPT = 100_000


class Names(forms.CharField):
    """Names, separated by commas or lines, as a list."""

    def prepare_value(self, value: Any) -> Any:
        """Show them on one line."""
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        """Split them; one that is named twice counts once."""
        text = str(super().to_python(value)).replace("\n", ",")
        return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))

    def validate(self, value: Any) -> None:
        """Refuse too many and too long ones."""
        if len(value) > MOST_CAPABILITIES or any(len(name) > LONGEST_CAPABILITY for name in value):
            raise forms.ValidationError(f"At most {MOST_CAPABILITIES} names of {LONGEST_CAPABILITY} characters.")

    def run_validators(self, value: Any) -> None:
        """Leave the list alone: the validators are those of a text."""


class AgentForm(forms.ModelForm):  # type: ignore[type-arg]
    """An agent."""

    capabilities = Names(
        required=False,
        help_text="Task types it takes where no route names another, separated by commas.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "placeholder": "bugfix, refactor"}),
    )
    parameters = JSONObject(help_text='What its model is asked with, such as {"temperature": 0.2}.')
    system_prompt = forms.CharField(
        required=False, max_length=LONGEST_PROMPT, strip=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 8})
    )

    class Meta:
        model = Agent
        fields = ["organization", "agent_id", *COLUMNS]
        help_texts = {
            "agent_id": "What tasks and routes know it by. It stays.",
            "model": "A model or an alias of the gateway; empty: whoever runs it decides.",
            "status": "An inactive agent is given no task by its capabilities; a route still names it.",
        }


class AgentList(ChangeList):  # type: ignore[misc]
    """The list; each row knows how busy its agent is: three queries for all of them."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the rows, and how busy they are."""
        super().get_results(request)
        self.result_list: Any = list(self.result_list)
        found = loads.of(self.result_list, now=timezone.now())
        for row in self.result_list:
            row.load = found[row.organization_id, row.agent_id]


@admin.register(Agent)
class AgentAdmin(ConsoleAdmin):
    """Who does the tasks. Agents are not deleted: an inactive one keeps its name in what it did."""

    may_delete = False
    form = AgentForm
    list_display = ["who", "state", "can", "open_", "day", "took", "busy"]
    list_display_links = ["who"]
    list_filter = [("organization", AutocompleteSelectFilter), ("status", ChoicesCheckboxFilter)]
    list_before_template = "admin/orchestrators/agent/live_bar.html"
    search_fields = ["agent_id", "name"]
    search_help_text = "Search by id or name"
    ordering = ["organization_id", "agent_id"]
    autocomplete_fields = ["organization"]
    actions = None
    fieldsets = [
        (None, {"fields": ["organization", "agent_id", "name", "status", "capabilities"]}),
        ("Its model", {"fields": ["model", "system_prompt", "parameters"]}),
    ]
    change_form_outer_before_template = "admin/orchestrators/agent/page.html"

    # --- columns ----------------------------------------------------------------------------------------------------

    @display(description="Agent", ordering="agent_id")
    def who(self, row: Agent) -> SafeString:
        """Show the name, and below it the id and whose it is."""
        return format_html(
            '<span class="mo-name"><b>{}</b><small>{} · {}</small></span>', row.name, row.agent_id, row.organization_id
        )

    @display(description="Status", ordering="status")
    def state(self, row: Agent) -> SafeString:
        """Show the badge."""
        return task_words.agent_status(row)

    @display(description="Takes")
    def can(self, row: Agent) -> SafeString:
        """Show the types it names."""
        chip, names = '<span class="mo-label-chip tk-chip">{}</span>', row.capabilities
        more = format_html("<small>+ {}</small>", len(names) - CHIPS) if len(names) > CHIPS else ""
        chips = format_html_join("", chip, ((name,) for name in names[:CHIPS]))
        return format_html('<span class="tk-chips">{}{}</span>', chips, more) if names else SafeString("by routes")

    @display(description="Open now")
    def open_(self, row: Any) -> SafeString:
        """Show what it works on, and what waits."""
        words = f"{row.load.waiting} to be taken" + (
            f", {row.load.for_approval} for approval" if row.load.for_approval else ""
        )
        return format_html('<span class="mo-name"><b>{} running</b><small>{}</small></span>', row.load.running, words)

    @display(description="Last 24 hours")
    def day(self, row: Any) -> SafeString:
        """Show what came of its tasks."""
        return format_html(
            '<span class="mo-name"><b>{} completed</b><small>{} failed</small></span>',
            row.load.completed, row.load.failed,
        )  # fmt: skip

    @display(description="Mean time")
    def took(self, row: Any) -> str:
        """Show how long its completed tasks took."""
        return task_words.span(row.load.mean_seconds)

    @display(description="Busy, last hour")
    def busy(self, row: Any) -> SafeString:
        """Show how much of the last hour it worked; above 100 % it did several tasks at once."""
        return _bar(row.load)

    # --- pages ------------------------------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Use the list whose rows know how busy they are."""
        return AgentList

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep an agent in its organization, and its id."""
        return ["organization", "agent_id"] if obj else []

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Show one agent with how busy it is."""
        row = self.get_object(request, object_id) if object_id and request.method == "GET" else None
        extra = {"title": row.name, **shown(row)} if row else {}
        return super().changeform_view(request, object_id, form_url, {**extra, **(extra_context or {})})

    def save_model(self, request: HttpRequest, obj: Agent, form: Any, change: bool) -> None:
        """Make or change it by its room's functions."""
        wish = {name: form.cleaned_data[name] for name in COLUMNS}
        if change:
            row = agents.change(Agent.objects.get(pk=obj.pk), acting_user=user(request), **wish)
        else:
            row = agents.create(
                form.cleaned_data["organization"], agent_id=form.cleaned_data["agent_id"], acting_user=user(request),
                **wish,
            )  # fmt: skip
        obj.__dict__.update(row.__dict__)

    def get_urls(self) -> list[URLPattern]:
        """Add the piece that its page loads anew."""
        view = self.admin_site.admin_view(self.load_view)
        return [path("<int:pk>/load/", view, name="orchestrators_agent_load"), *super().get_urls()]

    def load_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Answer how busy one agent is now."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        return render(request, "admin/orchestrators/agent/load.html", shown(get_object_or_404(Agent, pk=pk)))


def shown(row: Agent) -> dict[str, Any]:
    """Return an agent's numbers as its page shows them, each with the way to the tasks it counts."""
    load = loads.of([row], now=timezone.now())[row.organization_id, row.agent_id]
    where = {"organization__organization_id__exact": row.organization_id, "assigned_agent": row.agent_id}
    cards = [
        ("Waits for approval", load.for_approval, "", ["pending_approval"]),
        ("To be taken", load.waiting, "", ["assigned"]),
        ("In progress", load.running, "", ["in_progress"]),
        ("Completed", load.completed, "last 24 hours", ["completed"]),
        ("Failed", load.failed, "last 24 hours", ["failed", "dead"]),
    ]
    return {
        "agent": row,
        "badge": task_words.agent_status(row),
        "cards": [
            {"label": label, "number": number, "note": note, "url": task_words.tasks_url(**where, status__exact=words)}
            for label, number, note, words in cards
        ],
        "mean": task_words.span(load.mean_seconds),
        "bar": _bar(load),
    }


def _bar(load: loads.Load) -> SafeString:
    percent = round(load.busy * 100)
    return format_html(
        '<span class="mo-share" title="Above 100 %: several tasks at once"><progress class="mo-bar mo-bar-blue" '
        'max="100" value="{}" aria-label="Busy"></progress>{} %</span>',
        min(percent, 100),
        percent,
    )
