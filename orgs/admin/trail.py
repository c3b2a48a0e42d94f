"""Events: a list to look at, search and filter, and its newest rows for other pages; changes as people read them."""

import json
from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import DropdownFilter

from orgs.admin import sentences
from orgs.admin.audit_filters import TimeFilter
from orgs.admin.base import LongListAdmin, ago
from orgs.models import Event

RECENT = 50
PASSING = ("config.applying", "job.progress")  # what comes of it is an event, too


def pretty(value: Any) -> SafeString:
    """Show JSON indented; nothing at all as a dash."""
    if value is None:
        return SafeString("–")
    return format_html('<pre class="mo-json">{}</pre>', json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True))


def difference(before: Any, after: Any) -> SafeString:
    """Show changed fields as “name old → new”, new rows as “name value” without the empty ones; at most four."""
    old, new = before or {}, after or {}
    if not old:
        new = {name: value for name, value in new.items() if value not in ("", None, [], {})}
    names = [*old, *(name for name in new if name not in old)][:4]
    rows = [(name, f"{_short(old, name)} → " if old else "", _short(new, name)) for name in names]
    lines = format_html_join("", '<span class="mo-change"><b>{}</b> {}{}</span>', rows)
    return format_html('<span class="mo-changes">{}</span>', lines) if lines else SafeString("–")


def _short(values: dict[str, Any], name: str) -> str:
    if name not in values:
        return "–"
    text = json.dumps(values[name], ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"


class KindFilter(DropdownFilter):  # type: ignore[misc]
    """Narrows by kind; the kinds come from what we can say, not from reading a table that only grows."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the kinds."""
        return [(kind, kind) for kind in sorted(sentences.WORDS)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Event]) -> QuerySet[Event]:
        """Apply the chosen one."""
        return queryset.filter(kind=self.value()) if self.value() else queryset


@admin.register(Event)
class EventAdmin(LongListAdmin):
    """What happened in the fleet."""

    list_display = ["when", "what", "kind", "orchestrator_id", "organization_id"]
    list_filter = [KindFilter, ("created_at", TimeFilter)]
    search_fields = ["=orchestrator_id", "=organization_id", "kind"]
    ordering = ["-id"]
    fields = ["when", "what", "kind", "orchestrator_id", "organization_id", "details"]
    readonly_fields = fields

    def get_urls(self) -> list[URLPattern]:
        """Add the list that pages load anew when something happened."""
        view = self.admin_site.admin_view(self.recent_view)
        return [path("recent/", view, name="orgs_event_recent"), *super().get_urls()]

    def recent_view(self, request: HttpRequest) -> HttpResponse:
        """Answer the newest events as a piece of a page; `?orchestrator_id=` narrows."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        wanted = request.GET.get("limit", "")
        limit = min(int(wanted), RECENT) if wanted.isascii() and wanted.isdigit() else RECENT
        return render(
            request, "console/events.html", {"events": recent(request.GET.get("orchestrator_id", ""), limit=limit)}
        )

    @display(description="When", ordering="id")
    def when(self, row: Event) -> SafeString:
        """Show the time."""
        return ago(row.created_at)

    @display(description="What")
    def what(self, row: Event) -> SafeString:
        """Show the sentence."""
        sentence = sentences.of(row)
        icon = '<span class="material-symbols-outlined mo-tone-{}" aria-hidden="true">{}</span>'
        return format_html(
            '<span class="mo-sentence">' + icon + " {}</span>", sentence.tone, sentence.icon, sentence.text
        )

    @display(description="Details")
    def details(self, row: Event) -> SafeString:
        """Show the event's data."""
        return pretty(row.data)


def recent(orchestrator_id: str = "", *, limit: int = RECENT) -> list[dict[str, Any]]:
    """Return the newest events, of one orchestrator or of all, with their sentences; without passing states."""
    rows: QuerySet[Event] = Event.objects.exclude(kind__in=PASSING).order_by("-id")
    if orchestrator_id:
        rows = rows.filter(orchestrator_id=orchestrator_id)
    return [
        {
            "row": row,
            "sentence": sentences.of(row),
            "when": ago(row.created_at),
            "url": reverse("admin:orgs_event_change", args=[row.pk]),
        }
        for row in rows[:limit]
    ]


def mark() -> int:
    """Return the newest event's id: read before what a page shows, it tells which events the page does not know."""
    return Event.objects.order_by("-id").values_list("id", flat=True).first() or 0
