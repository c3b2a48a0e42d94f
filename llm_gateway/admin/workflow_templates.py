"""Workflow templates in the console: the steps as JSON, checked as the runs would read them."""

import json
from typing import Any, Final

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.http import HttpRequest
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.widgets import UnfoldAdminTextareaWidget

from llm_gateway.models import WorkflowTemplate
from llm_gateway.workflows import plans, templates
from moolai.errors import InvalidInput
from orgs.admin.base import ConsoleAdmin, ago, user
from orgs.models import Organization

EXAMPLE: Final = [
    {"name": "risks", "type": "prompt", "prompt": "List the risks in this contract:\n\n{{text}}", "max_tokens": 1000},
    {"name": "severity", "type": "classification", "input": "{{steps.risks.text}}", "categories": ["low", "high"]},
    {"name": "vectors", "type": "embedding"},
]
HELP: Final = (
    "A list of steps. “type” is prompt, classification, meeting_intelligence or embedding. “{{text}}” is the text that "
    "came with the run, “{{input.title}}” a field of it, “{{steps.risks.text}}” what a step before came to. A step "
    "waits for those it refers to, and for those it names in “after”. All others run side by side."
)


class TemplateForm(forms.ModelForm):  # type: ignore[type-arg]
    """One template."""

    written = forms.CharField(
        label="Steps", help_text=HELP,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 22, "spellcheck": "false", "style": "font-family: monospace"}),
    )  # fmt: skip

    class Meta:
        model = WorkflowTemplate
        fields = ["organization", "name", "description"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        found = EXAMPLE if self.instance._state.adding else self.instance.steps
        self.initial["written"] = json.dumps(found, indent=2, ensure_ascii=False)

    def clean_written(self) -> list[Any]:
        """Read the steps, and say of each what is wrong with it."""
        try:
            return plans.parse(json.loads(self.cleaned_data["written"]))
        except (ValueError, RecursionError) as error:
            raise forms.ValidationError(f"This is not JSON: {error}") from None
        except InvalidInput as problem:
            raise forms.ValidationError([f"{place}: {text}" for place, text in problem.fields.items()]) from None


@admin.register(WorkflowTemplate)
class WorkflowTemplateAdmin(ConsoleAdmin):
    """Templates; a run keeps the steps that it was made with."""

    form = TemplateForm
    fields = ["organization", "name", "description", "written"]
    list_display = ["name", "organization", "told", "changed"]
    list_filter = [("organization", AutocompleteSelectFilter)]
    list_select_related = ["organization"]
    search_fields = ["name", "organization__organization_id", "organization__name"]
    autocomplete_fields = ["organization"]
    ordering = ["organization", "name"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep a template with its organization."""
        return ["organization"] if obj else []

    def save_model(self, request: HttpRequest, obj: WorkflowTemplate, form: Any, change: bool) -> None:
        """Save by the room's function."""
        wish = {"name": obj.name, "description": obj.description, "steps": form.cleaned_data["written"]}
        if change:
            row = templates.update(obj, acting_user=user(request), **wish)
        else:
            organization = Organization.objects.get(pk=obj.organization_id)
            row = templates.create(organization, acting_user=user(request), **wish)
        obj.__dict__.update(row.__dict__)

    def delete_model(self, request: HttpRequest, obj: WorkflowTemplate) -> None:
        """Delete by the room's function."""
        templates.delete(obj, acting_user=user(request))

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        """Delete those that were chosen, one by one."""
        for row in queryset:
            templates.delete(row, acting_user=user(request))

    @display(description="Steps")
    def told(self, row: WorkflowTemplate) -> str:
        """Name the steps."""
        return " → ".join(step["name"] for step in row.steps)

    @display(description="Changed", ordering="updated_at")
    def changed(self, row: WorkflowTemplate) -> Any:
        """Show when it was changed."""
        return ago(row.updated_at)
