"""Guardrails in the console: an organization's rules, and a box to try them on a text."""

from typing import Any, Final

from django.contrib import admin
from django.contrib.admin import display
from django.forms import ValidationError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from llm_gateway import guarding
from llm_gateway.admin.guardrail_forms import GuardrailsForm, RulesField, RulesWidget
from llm_gateway.guardrails import rules
from llm_gateway.guardrails.guard import Blocked, Guard
from llm_gateway.models import Guardrails
from moolai import errors
from orgs.admin.base import ConsoleAdmin, ago, user
from orgs.models import Organization

MAX_TEXT: Final = 20_000


@admin.register(Guardrails)
class GuardrailsAdmin(ConsoleAdmin):
    """Guardrails; what is set holds within two seconds."""

    form = GuardrailsForm
    fields = ["organization", "rules"]
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
        row = guarding.put(organization, rules=form.cleaned_data["rules"], acting_user=user(request))
        obj.__dict__.update(row.__dict__)

    def get_urls(self) -> list[URLPattern]:
        """Add what the box for trying asks."""
        view = self.admin_site.admin_view(self.try_view)
        return [path("try/", view, name="llm_gateway_guardrails_try"), *super().get_urls()]

    def try_view(self, request: HttpRequest) -> HttpResponse:
        """Answer what the rules of a form, which are not saved, make of a text (POST)."""
        if request.method != "POST" or not self.has_change_permission(request):
            return HttpResponse(status=405 if request.method != "POST" else 403)
        try:
            found = RulesField().clean(RulesWidget().value_from_datadict(request.POST, {}, "rules"))
        except ValidationError as problem:
            fields = dict(enumerate(problem.messages))
            return errors.respond(request, "invalid_field", fields={str(place): text for place, text in fields.items()})
        guards, text = rules.compiled(found), request.POST.get("text", "")[:MAX_TEXT]
        sides = {"request": guards.request, "answer": guards.answer} if guards else {}
        return JsonResponse({side: _tried(sides.get(side), text) for side in rules.SIDES})

    @display(description="Rules")
    def told(self, row: Guardrails) -> str:
        """Name the rules."""
        return ", ".join(f"{rule['name']} ({rule['kind']})" for rule in row.rules) or "none"

    @display(description="Changed", ordering="updated_at")
    def changed(self, row: Guardrails) -> Any:
        """Show when they were changed."""
        return ago(row.updated_at)


def _tried(guard: Guard | None, text: str) -> dict[str, str]:
    try:
        return {"text": guard.clean(text) if guard else text, "blocked": ""}
    except Blocked as blocked:
        return {"text": "", "blocked": blocked.rule}
