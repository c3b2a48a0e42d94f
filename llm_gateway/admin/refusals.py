"""Refused calls: what never came to the ledger, by the minute, with what each code means and what to do."""

import zlib
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import DropdownFilter, TextFilter
from unfold.views import ChangeList

from llm_gateway.admin import call_pieces, words
from llm_gateway.admin.call_filters import KeyFilter
from llm_gateway.models import Refusal
from moolai.errors import CODES
from orgs.admin.audit_filters import OrganizationFilter, TimeFilter
from orgs.admin.base import DrawnAdmin, ago, badge, exact

NEWEST: Final = 50
UNREADABLE: Final = "The request could not be used; the answer said what is wrong with it."
MEANINGS: Final = {
    "insufficient_quota": "Too little of a budget is left for what the call may cost.",
    "rate_limit_exceeded": "Over a limit per minute, or of parallel calls.",
    "model_not_found": "No provider has the model, or the key may not call it.",
    "provider_not_configured": "The provider of the model is not set up, or switched off.",
    "unknown_price": "Nobody knows what the model costs: enter a price.",
    "overloaded": "Calls could not be written down: is the disk full?",
    "database_unavailable": "The database was away, and what was left of the budget unknown.",
    "internal_error": "Something broke on our side; the log has it.",
    "invalid_value": UNREADABLE,
}
TONES: Final = {
    "insufficient_quota": ("amber", "$"),
    "rate_limit_exceeded": ("amber", "◷"),
    "internal_error": ("red", "✖"),
}


class CodeFilter(DropdownFilter):  # type: ignore[misc]
    """Narrows to one code; those that are known are offered, any other may stand in the address."""

    title, parameter_name = "code", "code"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the codes that say most."""
        return [(code, code) for code in MEANINGS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Refusal]) -> QuerySet[Refusal]:
        """Apply the chosen one."""
        return queryset.filter(code=self.value()) if self.value() else queryset


class ModelFilter(TextFilter):  # type: ignore[misc]
    """Narrows to one model, as it was asked for."""

    title, parameter_name = "model or alias, in full", "model"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Refusal]) -> QuerySet[Refusal]:
        """Apply the name."""
        name = (self.value() or "").strip()
        return queryset.filter(requested_model=name) if name else queryset


class RefusalList(ChangeList):  # type: ignore[misc]
    """The list; each row knows its key's name: one query for all of them."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the rows, and the names of their keys."""
        super().get_results(request)
        self.result_list: Any = list(self.result_list)
        names = call_pieces.key_names(self.result_list)
        for row in self.result_list:
            row.who = _who(row, names)


@admin.register(Refusal)
class RefusalAdmin(DrawnAdmin):
    """Refused calls, newest minute first; a page of one has its facts."""

    list_display = ["when", "who_", "model_", "state", "number", "last"]
    list_display_links = ["when"]
    list_filter = [OrganizationFilter, CodeFilter, KeyFilter, ModelFilter, ("minute_at", TimeFilter)]
    list_before_template = "admin/llm_gateway/refusal/live_bar.html"
    change_form_outer_before_template = "admin/llm_gateway/refusal/page.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Use the list whose rows know who called."""
        return RefusalList

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list with the mark of what it shows."""
        return super().changelist_view(request, {"mark": mark(), **(extra_context or {})})

    def drawn(self, row: Refusal) -> dict[str, Any]:
        """Show the facts of a row."""
        return {"title": "Refused calls", "refusal": row, "mark": why(row), "facts": _facts(row)}

    def get_urls(self) -> list[URLPattern]:
        """Add the mark that the list asks for."""
        view = self.admin_site.admin_view(self.newest_view)
        return [path("newest/", view, name="llm_gateway_refusal_newest"), *super().get_urls()]

    def newest_view(self, request: HttpRequest) -> HttpResponse:
        """Answer `{"mark"}`, which differs when the newest rows do."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        return JsonResponse({"mark": mark()}, headers={"Cache-Control": "no-store"})

    # --- columns ----------------------------------------------------------------------------------------------------

    @display(description="Minute", ordering="minute_at")
    def when(self, row: Refusal) -> SafeString:
        """Show which minute, in UTC."""
        text = '<span class="mo-name"><b>{}</b><small>{}</small></span>'
        return format_html(text, f"{row.minute_at:%H:%M}", f"{row.minute_at:%Y-%m-%d} UTC")

    @display(description="Who")
    def who_(self, row: Any) -> SafeString:
        """Show the key, and whose it is."""
        return SafeString(row.who)

    @display(description="Model")
    def model_(self, row: Refusal) -> str:
        """Show what was asked for."""
        return row.requested_model or "–"

    @display(description="Why")
    def state(self, row: Refusal) -> SafeString:
        """Show the code and what it means."""
        return format_html('<span class="mo-name">{}<small>{}</small></span>', why(row), meaning(row.code))

    @display(description="Calls")
    def number(self, row: Refusal) -> SafeString:
        """Show how many."""
        return format_html('<span class="gw-number">{}</span>', words.count(row.count))

    @display(description="Last")
    def last(self, row: Refusal) -> SafeString:
        """Show when the last of them was refused."""
        return ago(row.last_at)


def why(row: Refusal) -> SafeString:
    """Show a row's code."""
    return badge(*TONES.get(row.code, ("gray", "⊘")), row.code)


def meaning(code: str) -> str:
    """Say what a code means."""
    return MEANINGS.get(code) or (CODES[code][1] if code in CODES else UNREADABLE)


def mark() -> str:
    """Return a word that differs when one of the newest rows is new or has grown: one read along the index."""
    rows = Refusal.objects.order_by("-minute_at", "-id").values_list("pk", "count")[:NEWEST]
    return f"{zlib.crc32(repr(list(rows)).encode()):08x}"


def _who(row: Refusal, names: dict[str, tuple[int, str]]) -> SafeString:
    """Show the key by its name, and the organization below; `names` are {key id: (pk, name)}."""
    found: Any = row.key_id or "no key"
    if row.key_id in names:
        pk, name = names[row.key_id]
        found = call_pieces.link("orgs_apikey", str(pk), name)
    return format_html('<span class="mo-name gw-who"><b>{}</b><small>{}</small></span>', found, row.organization_id)


def _facts(row: Refusal) -> list[tuple[str, Any]]:
    return [
        ("What it means", meaning(row.code)),
        ("Calls", words.count(row.count)),
        ("Minute", exact(row.minute_at)),
        ("Last of them", exact(row.last_at)),
        ("Organization", call_pieces.link("orgs_organization", row.organization_id, row.organization_id)),
        ("By", _who(row, call_pieces.key_names([row]))),
        ("Asked for", row.requested_model or "a name that leads nowhere, or more than are told apart in a minute"),
    ]
