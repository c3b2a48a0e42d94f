"""The call log: who called which model, what it cost and how long it took; new calls appear by themselves."""

import zlib
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesCheckboxFilter
from unfold.views import ChangeList

from llm_gateway.admin import call_pieces, words
from llm_gateway.admin.call_filters import KeyFilter, ModelFilter, ProviderFilter, UserFilter
from llm_gateway.admin.playground import Playground
from llm_gateway.models import Call
from orgs.admin.audit_filters import OrganizationFilter, TimeFilter
from orgs.admin.base import DrawnAdmin, ago

NEWEST: Final = 50


class CallList(ChangeList):  # type: ignore[misc]
    """The list; each row knows its key's name: one query for all of them. `origin` is where the SDKs find us."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        self.origin = f"{request.scheme}://{request.get_host()}"
        super().__init__(request, *args, **kwargs)

    def get_results(self, request: HttpRequest) -> None:
        """Read the rows, and the names of their keys."""
        super().get_results(request)
        self.result_list: Any = list(self.result_list)
        names = call_pieces.key_names(self.result_list)
        for row in self.result_list:
            row.who = call_pieces.who(row, names)


@admin.register(Call)
class CallAdmin(Playground, DrawnAdmin):
    """Calls, newest first. No row holds anything of a prompt or an answer."""

    list_display = ["when", "who_", "model_", "provider_", "tokens", "cost", "took", "state"]
    list_display_links = ["when"]
    list_filter = [
        OrganizationFilter, ("status", ChoicesCheckboxFilter), ProviderFilter, ModelFilter, KeyFilter, UserFilter,
        ("started_at", TimeFilter),
    ]  # fmt: skip
    list_before_template = "admin/llm_gateway/call/live_bar.html"
    search_fields = ["=call_id"]
    search_help_text = "Search by call id, in full"
    ordering = ["-started_at"]
    change_form_outer_before_template = "admin/llm_gateway/call/page.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Use the list whose rows know who called."""
        return CallList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Call]:
        """Leave out what the list does not show."""
        found: QuerySet[Call] = super().get_queryset(request)
        return found.defer("leases")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list with the mark of what it shows."""
        extra = {"call_mark": mark(), **(extra_context or {})}
        return super().changelist_view(request, extra)

    def drawn(self, row: Call) -> dict[str, Any]:
        """Show a call with its attempts and the arithmetic of its cost."""
        return {"title": "Call", **call_pieces.shown(row, now=timezone.now())}

    def get_urls(self) -> list[URLPattern]:
        """Add the mark that the list asks for, and the playground."""
        view = self.admin_site.admin_view(self.newest_view)
        return [path("newest/", view, name="llm_gateway_call_newest"), *self.playground_urls(), *super().get_urls()]

    def newest_view(self, request: HttpRequest) -> HttpResponse:
        """Answer `{"mark"}`, which differs when the newest calls do."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        return JsonResponse({"mark": mark()}, headers={"Cache-Control": "no-store"})

    # --- columns ----------------------------------------------------------------------------------------------------

    @display(description="When", ordering="started_at")
    def when(self, row: Call) -> SafeString:
        """Show when it began."""
        return ago(row.started_at)

    @display(description="Who")
    def who_(self, row: Any) -> SafeString:
        """Show the key, the person or the orchestrator."""
        return SafeString(row.who)

    @display(description="Model")
    def model_(self, row: Call) -> SafeString:
        """Show what was asked for, and below it what answered when that is another name."""
        full = f"{row.provider}/{row.model}"
        other = row.model if row.model and row.requested_model not in (row.model, full) else ""
        stream = "stream" if row.is_stream else ""
        below = " · ".join(part for part in (other and f"→ {other}", stream, row.is_cached and "cached") if part)
        return format_html(
            '<span class="mo-name gw-model"><b>{}</b><small>{}</small></span>', row.requested_model, below
        )

    @display(description="Provider")
    def provider_(self, row: Call) -> str:
        """Show who answered."""
        return row.provider or "–"

    @display(description="Tokens")
    def tokens(self, row: Call) -> SafeString:
        """Show tokens in and out."""
        about = "~" if row.is_estimated else ""
        numbers = (words.count(row.input_tokens), words.count(row.output_tokens))
        return format_html('<span class="gw-number">{}{} <i>→</i> {}</span>', about, *numbers)

    @display(description="Cost")
    def cost(self, row: Call) -> SafeString:
        """Show what it cost."""
        return format_html('<span class="gw-number">{}</span>', words.usd(row.cost_usd_micros))

    @display(description="Took")
    def took(self, row: Call) -> SafeString:
        """Show how long it took, and until the first token."""
        first = f"first {words.ms(row.first_token_ms)}" if row.first_token_ms is not None else ""
        whole = words.ms(row.latency_ms)
        return format_html('<span class="mo-name gw-number"><b>{}</b><small>{}</small></span>', whole, first)

    @display(description="Status")
    def state(self, row: Call) -> SafeString:
        """Show how it ended."""
        return words.state(row)


def mark() -> str:
    """Return a word that differs when one of the newest calls is new or has ended: one read along the index."""
    rows = Call.objects.order_by("-started_at").values_list("call_id", "status")[:NEWEST]
    return f"{zlib.crc32(repr(list(rows)).encode()):08x}"
