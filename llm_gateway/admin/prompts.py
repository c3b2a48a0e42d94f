"""Prompts in the console: who asked what of which model or agent, what it cost, and a page to ask from."""

import json
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin import display
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesCheckboxFilter

from llm_gateway.admin import call_pieces, words
from llm_gateway.admin.playground import offered
from llm_gateway.models import Prompt
from llm_gateway.prompts import book, rows
from orchestrators.models import Task
from orgs.admin.audit_filters import OrganizationFilter, TimeFilter
from orgs.admin.base import DrawnAdmin, ago, badge, exact

STATES: Final = {**words.STATES, "pending": ("gray", "◔", "Waits for its stream")}
MISSING: Final = {
    "private": "The organization is private: nothing of its texts stays.",
    "expired": "Its texts were kept for as long as they are kept, and are gone.",
}


@admin.register(Prompt)
class PromptAdmin(DrawnAdmin):
    """Prompts, newest first, with what each cost; texts are on the page of one."""

    list_display = ["when", "who", "agent", "model_", "tokens", "cost", "took", "state"]
    list_display_links = ["when"]
    list_filter = [OrganizationFilter, ("status", ChoicesCheckboxFilter), ("created_at", TimeFilter)]
    list_before_template = "admin/llm_gateway/prompt/head.html"
    search_fields = ["=prompt_id"]
    search_help_text = "Search by prompt id, in full"
    ordering = ["-id"]
    change_form_outer_before_template = "admin/llm_gateway/prompt/page.html"

    def get_urls(self) -> list[URLPattern]:
        """Add the page to ask from."""
        view = self.admin_site.admin_view(self.ask_view)
        return [path("ask/", view, name="llm_gateway_prompt_ask"), *super().get_urls()]

    def ask_view(self, request: HttpRequest) -> HttpResponse:
        """Show the page that asks an agent or a model, over the same doors as every client."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        organizations, first = offered(request)
        context = {"title": "Ask an agent", "organizations": organizations, "organization": first}
        return render(request, "admin/llm_gateway/prompt/ask.html", self.admin_site.each_context(request) | context)

    def drawn(self, row: Prompt) -> dict[str, Any]:
        """Show a prompt with what is kept of it."""
        found = Prompt.objects.select_related("content").get(pk=row.pk)
        asked, answer = rows.texts(found)
        return {
            "title": "Prompt",
            "prompt": found,
            "badge": state(found),
            "cost": words.usd(found.cost_usd_micros),
            "took": words.ms(found.latency_ms),
            "facts": _facts(found),
            "asked": asked,
            "context": json.dumps(asked["context"], ensure_ascii=False, indent=2) if asked and asked["context"] else "",
            "answer": answer,
            "missing": MISSING.get(book.missing(found) or "", ""),
        }

    # --- columns ----------------------------------------------------------------------------------------------------

    @display(description="When", ordering="id")
    def when(self, row: Prompt) -> SafeString:
        """Show when it was asked."""
        return ago(row.created_at)

    @display(description="Who")
    def who(self, row: Prompt) -> SafeString:
        """Show who asked, and for which organization."""
        return format_html(
            '<span class="mo-name gw-who"><b>{}</b><small>{}</small></span>', row.created_by, row.organization_id
        )

    @display(description="Agent")
    def agent(self, row: Prompt) -> str:
        """Show whose settings were taken."""
        return row.agent_id or "–"

    @display(description="Model")
    def model_(self, row: Prompt) -> SafeString:
        """Show what was asked for, and what answered."""
        notes = (row.provider, "stream" if row.is_stream else "", "cached" if row.is_cached else "")
        below = " · ".join(filter(None, notes))
        name = row.requested_model or row.model or "–"
        return format_html('<span class="mo-name gw-model"><b>{}</b><small>{}</small></span>', name, below)

    @display(description="Tokens")
    def tokens(self, row: Prompt) -> SafeString:
        """Show tokens in and out."""
        numbers = words.count(row.input_tokens), words.count(row.output_tokens)
        return format_html('<span class="gw-number">{} <i>→</i> {}</span>', *numbers)

    @display(description="Cost")
    def cost(self, row: Prompt) -> SafeString:
        """Show what it cost, as the ledger has it."""
        return format_html('<span class="gw-number">{}</span>', words.usd(row.cost_usd_micros))

    @display(description="Took")
    def took(self, row: Prompt) -> SafeString:
        """Show how long it took."""
        return format_html('<span class="gw-number">{}</span>', words.ms(row.latency_ms))

    @display(description="Status")
    def state(self, row: Prompt) -> SafeString:
        """Show how it ended."""
        return state(row)


def state(row: Prompt) -> SafeString:
    """Show how a prompt stands, and what went wrong."""
    found = badge(*STATES.get(row.status, ("gray", "○", row.status)))
    return found if not row.error else format_html('<span class="mo-name">{}<small>{}</small></span>', found, row.error)


def _facts(row: Prompt) -> list[tuple[str, Any]]:
    is_answered = row.status == Prompt.Status.COMPLETED
    known = [
        ("Prompt", row.prompt_id),
        ("Organization", call_pieces.link("orgs_organization", row.organization_id, row.organization_id)),
        ("Asked by", row.created_by),
        ("Agent", row.agent_id),
        ("Task", _task(row.task_id)),
        ("Asked for", row.requested_model),
        ("Answered by" if is_answered else "Asked last", "/".join(filter(None, (row.provider, row.model)))),
        ("Tokens", f"{words.count(row.input_tokens)} in, {words.count(row.output_tokens)} out"),
        ("First token", words.ms(row.first_token_ms)),
        ("Asked at", exact(row.created_at)),
        ("Call", call_pieces.link("llm_gateway_call", row.call_id, row.call_id) if row.call_id else ""),
    ]
    return [(name, value) for name, value in known if value]


def _task(task_id: str) -> Any:
    """Return the way to the task that asked, its id alone where it is gone."""
    pk = Task.objects.filter(task_id=task_id).values_list("pk", flat=True).first() if task_id else None
    return call_pieces.link("orchestrators_task", str(pk), task_id) if pk else task_id
