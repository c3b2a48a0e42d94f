"""Alert rules in the console: thresholds, for how long, and what waits for numbers that do not exist yet."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import display
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesCheckboxFilter, FieldTextFilter
from unfold.widgets import UnfoldAdminSelectWidget

from monitoring.admin import alert_pieces
from monitoring.alerts import probes, rules, words
from monitoring.models import Rule
from orgs.admin.base import ConsoleAdmin, badge, user
from orgs.models import Organization

SCOPES = {"controller": "of the controller", "organization": "of an organization", "orchestrator": "of an orchestrator"}


class RuleForm(forms.ModelForm):  # type: ignore[type-arg]
    """A rule; the room checks it."""

    metric = forms.ChoiceField(widget=UnfoldAdminSelectWidget)
    organization_id = forms.ChoiceField(widget=UnfoldAdminSelectWidget, required=False, label="Organization")

    class Meta:
        model = Rule
        fields = ["rule_key", "organization_id", *rules.FIELDS]
        labels = {"is_enabled": "Enabled", "for_seconds": "For (seconds)", "consecutive": "Times in a row"}
        help_texts = {
            "rule_key": "What it is known by, such as cpu.night. With the key of a rule for everywhere and an "
            "organization, it takes that rule's place there.",
            "alert_type": "Rules of one type make one alert, as severe as the worst of them: cpu.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "metric" in self.fields:
            self.fields["metric"].choices = [(name, _metric(name)) for name in probes.metrics()]  # type: ignore[attr-defined]
        if "for_seconds" in self.fields:
            self.fields["for_seconds"].required = False
        if "organization_id" in self.fields:
            homes = Organization.objects.values_list("pk", "name")[:1000]
            choices = [("", "Everywhere"), *((pk, f"{name} ({pk})") for pk, name in homes)]
            self.fields["organization_id"].choices = choices  # type: ignore[attr-defined]

    def clean_for_seconds(self) -> int:
        """Take nothing for at once."""
        return self.cleaned_data["for_seconds"] or 0


def _metric(name: str) -> str:
    waits, unit = probes.waits_for(name), words.METRICS.get(name, ("", ""))[1]
    text = words.metric(name) + (f" ({unit.strip()})" if unit else "")
    return f"{text}: waits for {waits}" if waits else text


@admin.register(Rule)
class RuleAdmin(ConsoleAdmin):
    """What counts as wrong; an organization's own rule takes the place of the one for everywhere."""

    form = RuleForm
    list_display = ["name", "condition", "level", "whose", "enabled", "origin"]
    list_display_links = ["name"]
    list_filter = [("severity", ChoicesCheckboxFilter), ("organization_id", FieldTextFilter), "is_enabled"]
    search_fields = ["rule_key", "title", "metric"]
    search_help_text = "Search by title, key or metric"
    ordering = ["rule_key", "organization_id"]
    actions = None
    delete_confirmation_template = "admin/monitoring/rule/delete.html"
    fieldsets = [
        (None, {"fields": ["rule_key", "organization_id", "alert_type", "title", "is_enabled"]}),
        ("It fires when", {"fields": ["metric", "comparison", "threshold", "for_seconds", "consecutive", "scope"]}),
        ("Then it is", {"fields": ["severity"]}),
    ]

    @display(description="Rule", ordering="rule_key")
    def name(self, row: Rule) -> SafeString:
        """Show the title and the key."""
        return format_html('<span class="mo-name"><b>{}</b><small>{}</small></span>', row.title, row.rule_key)

    @display(description="Fires when")
    def condition(self, row: Rule) -> SafeString:
        """Show the condition, and what it waits for."""
        text = f"{words.metric(row.metric)} {words.limit(row)}"
        text += f" for {row.for_seconds} s" if row.for_seconds else ""
        text += f", {row.consecutive} times in a row" if row.consecutive > 1 else ""
        waits = probes.waits_for(row.metric)
        return format_html(
            '<span class="mo-name">{}<small>{}</small></span>',
            text,
            f"waits for {waits}" if waits else SCOPES[row.scope],
        )

    @display(description="Severity", ordering="severity")
    def level(self, row: Rule) -> SafeString:
        """Show the badge."""
        return alert_pieces.severity(row.severity)

    @display(description="Where", ordering="organization_id")
    def whose(self, row: Rule) -> str:
        """Show where it holds."""
        return row.organization_id or "everywhere"

    @display(description="On", ordering="is_enabled")
    def enabled(self, row: Rule) -> SafeString:
        """Show whether it is evaluated."""
        if not row.is_enabled:
            return badge("gray", "○", "Off")
        return badge("amber", "◌", "Waits") if probes.waits_for(row.metric) else badge("green", "●", "On")

    @display(description="From")
    def origin(self, row: Rule) -> str:
        """Show whether it is as it came, or who changed it."""
        if not rules.is_default(row):
            return f"made by {row.changed_by}" if row.changed_by else "own"
        return f"changed by {row.changed_by}" if row.is_changed else "default"

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Leave what a rule is known by."""
        return ["rule_key", "whose", "alert_type"] if obj else []

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show where a rule holds, or ask for it."""
        (head, options), *rest = self.fieldsets
        names = ["whose" if obj and name == "organization_id" else name for name in options["fields"]]
        return [(head, {"fields": names}), *rest]

    def save_model(self, request: HttpRequest, obj: Rule, form: Any, change: bool) -> None:
        """Write by the room's own functions."""
        wish = {name: form.cleaned_data[name] for name in rules.FIELDS if name in form.cleaned_data}
        if change:
            row = rules.change(Rule.objects.get(pk=obj.pk), acting_user=user(request), **wish)
        else:
            row = rules.create(
                form.cleaned_data["rule_key"], organization_id=form.cleaned_data["organization_id"],
                acting_user=user(request), **wish,
            )  # fmt: skip
        obj.__dict__.update(row.__dict__)

    def delete_model(self, request: HttpRequest, obj: Rule) -> None:
        """Delete it, or put a default back."""
        is_default = rules.is_default(obj)
        rules.delete(obj, acting_user=user(request))
        if is_default:
            messages.info(request, "A default rule is not deleted: it is as it came again.")

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Name what goes."""
        rows = [str(obj) for obj in objs]
        return rows, {"alert rules": len(rows)}, set(), []
