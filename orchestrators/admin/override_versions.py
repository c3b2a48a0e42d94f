"""Versions of what orchestrators have of their own, in the console: the history, one with its difference, and back."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import display
from django.contrib.admin.utils import quote
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesCheckboxFilter

from moolai.errors import AppError
from orchestrators import configuration, instances
from orchestrators.admin import config_badges
from orchestrators.admin.config_versions import Length
from orchestrators.configuration import documents, override_versions
from orchestrators.models import Instance, OverrideVersion
from orgs.admin.base import DrawnAdmin, ago, exact, user
from orgs.admin.trail import pretty


@admin.register(OverrideVersion)
class OverrideVersionAdmin(DrawnAdmin):
    """The history of every orchestrator's own configuration. It is never edited: a change writes the next version."""

    list_display = ["number", "whose", "origin", "why", "changed", "author", "when"]
    list_display_links = ["number"]
    list_filter = [("source", ChoicesCheckboxFilter)]
    search_fields = ["=orchestrator__orchestrator_id", "=orchestrator__organization__organization_id", "author"]
    search_help_text = "Search by orchestrator or organization id in full, or author"
    ordering = ["-id"]
    change_form_outer_before_template = "admin/orchestrators/overrideversion/page.html"

    @display(description="Version", ordering="id")
    def number(self, row: OverrideVersion) -> str:
        """Show the number."""
        return f"Version {row.version}"

    @display(description="Orchestrator")
    def whose(self, row: OverrideVersion) -> SafeString:
        """Show whose it is."""
        return _link(row.orchestrator)

    @display(description="Source")
    def origin(self, row: OverrideVersion) -> SafeString:
        """Show where it comes from."""
        return config_badges.source(row)

    @display(description="Comment")
    def why(self, row: OverrideVersion) -> str:
        """Show the comment, short."""
        return row.comment if len(row.comment) <= 60 else row.comment[:59] + "…"

    @display(description="Changes")
    def changed(self, row: Any) -> str:
        """Show how many places it changed; more than that are not kept."""
        return f"{row.places}+" if row.places >= documents.MAX_CHANGES else str(row.places)

    @display(description="When", ordering="id")
    def when(self, row: OverrideVersion) -> SafeString:
        """Show when it was written."""
        return ago(row.created_at)

    # --- pages ------------------------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[OverrideVersion]:
        """Count the changes where they are; documents stay in the database while listing."""
        rows: QuerySet[OverrideVersion] = super().get_queryset(request).annotate(places=Length("changes"))
        if request.path != reverse("admin:orchestrators_overrideversion_changelist"):
            return rows.select_related("orchestrator__organization")
        shown = ("version", "comment", "source", "author", "created_at", "orchestrator__orchestrator_id")
        return rows.select_related("orchestrator").only(*shown)

    def drawn(self, row: OverrideVersion) -> dict[str, Any]:
        """Show a version with what it changed."""
        return {**_page(row), "title": _title(row)}

    def get_urls(self) -> list[URLPattern]:
        """Add the way back."""
        view = self.admin_site.admin_view(self.rollback_view)
        return [path("<int:pk>/rollback/", view, name="orchestrators_overrideversion_rollback"), *super().get_urls()]

    def rollback_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask first; give the orchestrator what it had in this version as a new one (POST)."""
        row = self.get_queryset(request).filter(pk=pk).first() if self.has_view_permission(request) else None
        if row is None:
            raise Http404("There is no such version.")
        if request.method != "POST":
            return render(request, "admin/orchestrators/overrideversion/rollback.html", self._question(request, row))
        try:
            instances.roll_back(row.orchestrator, row.version, acting_user=user(request))
        except AppError as problem:
            told = [f"{path}: {words}" for path, words in problem.fields.items()]
            messages.error(request, " ".join([problem.detail, *told]))
            return HttpResponseRedirect(_address(row))
        messages.success(request, f"{row.orchestrator} has of its own what it had in version {row.version}.")
        return HttpResponseRedirect(reverse("admin:orchestrators_instance_change", args=[row.orchestrator.pk]))

    def _question(self, request: HttpRequest, row: OverrideVersion) -> dict[str, Any]:
        now = override_versions.current(row.orchestrator)
        changes = configuration.difference(now.content, row.content)
        return {
            **self.admin_site.each_context(request),
            "title": f"Roll {row.orchestrator} back to version {row.version} of its own?",
            "version": row,
            "current": now,
            "changes": [config_badges.change(change) for change in changes],
            "back": _address(row),
        }


def history(instance: Instance) -> str:
    """Return the address of an orchestrator's versions."""
    return f"{reverse('admin:orchestrators_overrideversion_changelist')}?q={quote(instance.orchestrator_id)}"


def _title(row: OverrideVersion) -> str:
    return f"{row.orchestrator} v{row.version}"


def _address(row: OverrideVersion) -> str:
    return reverse("admin:orchestrators_overrideversion_change", args=[row.pk])


def _link(row: Instance) -> SafeString:
    url = reverse("admin:orchestrators_instance_change", args=[row.pk])
    return format_html('<a class="mo-link" href="{}">{}</a>', url, row.orchestrator_id)


def _page(row: OverrideVersion) -> dict[str, Any]:
    is_current = row.pk == override_versions.current(row.orchestrator).pk
    facts: list[tuple[str, Any]] = [
        ("Orchestrator", _link(row.orchestrator)),
        ("Organization", config_badges.organization(row.orchestrator)),
        ("Author", row.author),
        ("Written", exact(row.created_at)),
        ("Comment", row.comment or "–"),
    ]
    return {
        "version": row,
        "badge": config_badges.source(row),
        "is_current": is_current,
        "may_roll_back": not is_current and row.orchestrator.deleted_at is None,
        "changes": [config_badges.change(change) for change in row.changes],
        "is_cut": len(row.changes) >= documents.MAX_CHANGES,
        "facts": facts,
        "document": pretty(row.content),
        "history_url": history(row.orchestrator),
    }
