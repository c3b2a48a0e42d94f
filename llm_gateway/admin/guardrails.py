"""Guardrails in the console: an organization's rules, in the form that the API has."""

import json
from typing import Any, Final

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.http import HttpRequest
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.widgets import UnfoldAdminTextareaWidget

from llm_gateway import guarding
from llm_gateway.guardrails.detectors import DETECTORS
from llm_gateway.models import Guardrails
from moolai.errors import InvalidInput
from orgs.admin.base import ConsoleAdmin, ago, user
from orgs.models import Organization

EXAMPLE: Final = [
    {"name": "privacy", "kind": "redact", "on": ["request", "answer"], "detect": list(DETECTORS), "action": "redact"},
    {"name": "project names", "kind": "deny", "on": ["request"], "words": ["moon shot", "acme*"]},
]
HELP: Final = (
    "A list of rules. “redact” finds what “detect” names and replaces it, or refuses the text with “action”: “block”; "
    "“deny” refuses texts with one of its “words” (* is the rest of a word). “on” is request, answer, or both. "
    "Who is refused is told the name of the rule, never the text."
)


class GuardrailsForm(forms.ModelForm):  # type: ignore[type-arg]
    """The rules of one organization."""

    written = forms.CharField(
        label="Rules", help_text=HELP,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 24, "spellcheck": "false", "style": "font-family: monospace"}),
    )  # fmt: skip

    class Meta:
        model = Guardrails
        fields = ["organization"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        found = EXAMPLE if self.instance._state.adding else self.instance.rules
        self.initial["written"] = json.dumps(found, indent=2, ensure_ascii=False)

    def clean_written(self) -> list[Any]:
        """Read the rules, and say of each what is wrong with it."""
        try:
            return guarding.checked(json.loads(self.cleaned_data["written"]))
        except (ValueError, RecursionError) as error:
            raise forms.ValidationError(f"This is not JSON: {error}") from None
        except InvalidInput as problem:
            raise forms.ValidationError([f"{place}: {text}" for place, text in problem.fields.items()]) from None


@admin.register(Guardrails)
class GuardrailsAdmin(ConsoleAdmin):
    """Guardrails; what is set holds within two seconds."""

    form = GuardrailsForm
    fields = ["organization", "written"]
    may_delete = False  # an empty list of rules does the same
    list_display = ["organization", "told", "changed"]
    list_filter = [("organization", AutocompleteSelectFilter)]
    list_select_related = ["organization"]
    search_fields = ["organization__organization_id", "organization__name"]
    autocomplete_fields = ["organization"]
    ordering = ["organization"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep the rules with their organization."""
        return ["organization"] if obj else []

    def save_model(self, request: HttpRequest, obj: Guardrails, form: Any, change: bool) -> None:
        """Set the rules by their room's function."""
        organization = Organization.objects.get(pk=obj.organization_id)
        row = guarding.put(organization, rules=form.cleaned_data["written"], acting_user=user(request))
        obj.__dict__.update(row.__dict__)

    @display(description="Rules")
    def told(self, row: Guardrails) -> str:
        """Name the rules."""
        return ", ".join(f"{rule['name']} ({rule['kind']})" for rule in row.rules) or "none"

    @display(description="Changed", ordering="updated_at")
    def changed(self, row: Guardrails) -> Any:
        """Show when they were changed."""
        return ago(row.updated_at)
