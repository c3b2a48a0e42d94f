"""Event rules in the console: what an organization does about the events that agents publish."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesCheckboxFilter

from orchestrators.admin.forms import JSONObject
from orchestrators.models import EventRule
from orchestrators.work import event_rules
from orgs.admin.base import ConsoleAdmin, ago, badge, user
from orgs.models import Organization

TONES = {"info": "blue", "warning": "amber", "error": "red", "critical": "red"}


class EventRuleForm(forms.ModelForm):  # type: ignore[type-arg]
    """A rule; the room checks it."""

    conditions = JSONObject(help_text=EventRule._meta.get_field("conditions").help_text)
    payload = JSONObject(help_text=EventRule._meta.get_field("payload").help_text)

    class Meta:
        model = EventRule
        fields = ["organization", *event_rules.FIELDS]

    def clean(self) -> dict[str, Any]:
        """Ask for the task's type where a task is made."""
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("action") == EventRule.Action.TASK and not cleaned.get("task_type"):
            self.add_error("task_type", "Write the type of the task that is made.")
        return cleaned


@admin.register(EventRule)
class EventRuleAdmin(ConsoleAdmin):
    """What events set off."""

    form = EventRuleForm
    list_display = ["name_", "organization", "does", "state", "matched", "suppressed", "last"]
    list_display_links = ["name_"]
    list_filter = [
        ("organization", AutocompleteSelectFilter), ("action", ChoicesCheckboxFilter), "is_enabled",
    ]  # fmt: skip
    list_select_related = ["organization"]
    search_fields = ["name", "event_type", "rule_id", "=organization__organization_id"]
    search_help_text = "Search by name, event type, id or organization"
    autocomplete_fields = ["organization"]
    ordering = ["organization", "name"]
    actions = None
    fieldsets = [
        (None, {"fields": ["organization", "name", "is_enabled"]}),
        ("When an event comes", {"fields": ["event_type", "conditions"]}),
        ("Then", {"fields": ["action", "per_minute"]}),
        ("The task", {"fields": ["task_type", "priority", "payload"]}),
        ("The alert", {"fields": ["severity"]}),
    ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep a rule with its organization."""
        return ["organization"] if obj else []

    def save_model(self, request: HttpRequest, obj: EventRule, form: Any, change: bool) -> None:
        """Write by the room's own functions."""
        wish = {name: form.cleaned_data[name] for name in event_rules.FIELDS}
        if change:
            row = event_rules.change(EventRule.objects.get(pk=obj.pk), acting_user=user(request), **wish)
        else:
            home = Organization.objects.get(pk=obj.organization_id)
            row = event_rules.create(home, acting_user=user(request), **wish)
        obj.__dict__.update(row.__dict__)

    def delete_model(self, request: HttpRequest, obj: EventRule) -> None:
        """Delete it by the room's function."""
        event_rules.delete(obj, acting_user=user(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[EventRule]) -> None:
        """Delete the chosen ones, one by one."""
        for row in queryset:
            event_rules.delete(row, acting_user=user(request))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Name what goes; what a rule did stays."""
        rows = [str(obj) for obj in objs]
        return rows, {"event rules": len(rows)}, set(), []

    @display(description="Rule", ordering="name")
    def name_(self, row: EventRule) -> SafeString:
        """Show the name and the events it speaks of."""
        count = len(row.conditions)
        more = f", {count} condition{'s' * (count != 1)}" if count else ""
        return format_html('<span class="mo-name"><b>{}</b><small>{}{}</small></span>', row.name, row.event_type, more)

    @display(description="Does", ordering="action")
    def does(self, row: EventRule) -> SafeString:
        """Show what it makes."""
        if row.action == EventRule.Action.ALERT:
            return format_html("alert {}", badge(TONES[row.severity], "●", row.severity))
        return format_html("task {} {}", row.task_type, badge("gray", "●", row.priority or "as given"))

    @display(description="On", ordering="is_enabled")
    def state(self, row: EventRule) -> SafeString:
        """Show whether it acts."""
        return badge("green", "●", "On") if row.is_enabled else badge("gray", "○", "Off")

    @display(description="Last", ordering="last_matched_at")
    def last(self, row: EventRule) -> SafeString:
        """Show when an event last fitted."""
        return ago(row.last_matched_at)
