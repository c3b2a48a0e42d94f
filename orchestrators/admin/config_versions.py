"""Versions of configurations in the console: the history, the page of one with its difference, and the way back."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import display
from django.db.models import Exists, Func, IntegerField, OuterRef, Q, QuerySet
from django.db.models.expressions import Combinable
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesCheckboxFilter

from moolai.errors import AppError
from orchestrators import configuration
from orchestrators.admin import config_badges
from orchestrators.configuration import documents, versions
from orchestrators.models import ConfigVersion, Rollout
from orgs.admin.base import DrawnAdmin, ago, exact, user
from orgs.admin.trail import pretty

CURRENT = format_html('<span class="mo-badge mo-badge-{}">{}</span> ', "green", "current")
HALTED = format_html('<span class="mo-badge mo-badge-{}"><i>{}</i> {}</span>', "red", "✖", "halted")


class Length(Func):
    """How many elements a JSON list has."""

    function = "JSON_ARRAY_LENGTH"
    output_field = IntegerField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Name PostgreSQL's own function."""
        return self.as_sql(compiler, connection, function="jsonb_array_length", **context)


@admin.register(ConfigVersion)
class ConfigVersionAdmin(DrawnAdmin):
    """The history of every organization's configuration. It is never edited: a change writes the next version."""

    list_display = ["number", "organization_", "origin", "why", "changed", "author", "when"]
    list_display_links = ["number"]
    list_filter = [("organization", AutocompleteSelectFilter), ("source", ChoicesCheckboxFilter)]
    search_fields = ["=organization__organization_id", "author", "comment"]
    search_help_text = "Search by organization id in full, author or comment"
    ordering = ["-id"]
    change_form_outer_before_template = "admin/orchestrators/configversion/page.html"

    # --- columns ----------------------------------------------------------------------------------------------------

    @display(description="Version", ordering="id")
    def number(self, row: Any) -> SafeString:
        """Show the number, and whether it is the current one, or one that fleets refused."""
        current = CURRENT if row.is_current else ""
        halted = HALTED if row.is_halted else ""
        return format_html('<span class="mo-whole">Version {} {}{}</span>', row.version, current, halted)

    @display(description="Organization")
    def organization_(self, row: ConfigVersion) -> SafeString:
        """Show whose it is."""
        return config_badges.organization(row)

    @display(description="Source")
    def origin(self, row: ConfigVersion) -> SafeString:
        """Show where it comes from, and whether it ever was the organization's."""
        note = "" if row.released_at else format_html(' <small class="mo-chosen">{}</small>', "not released")
        return format_html("{}{}", config_badges.source(row), note)

    @display(description="Comment")
    def why(self, row: ConfigVersion) -> str:
        """Show the comment, short."""
        return row.comment if len(row.comment) <= 60 else row.comment[:59] + "…"

    @display(description="Changes")
    def changed(self, row: Any) -> str:
        """Show how many places it changed; more than that are not kept."""
        return f"{row.places}+" if row.places >= documents.MAX_CHANGES else str(row.places)

    @display(description="When", ordering="id")
    def when(self, row: ConfigVersion) -> SafeString:
        """Show when it was written."""
        return ago(row.created_at)

    # --- pages ------------------------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[ConfigVersion]:
        """Count the changes where they are; documents stay in the database while listing."""
        rows: QuerySet[ConfigVersion] = (
            super()
            .get_queryset(request)
            .annotate(places=Length("changes"), is_current=_is_current(), is_halted=Exists(_halts(OuterRef("pk"))))
        )
        is_list = request.path == reverse("admin:orchestrators_configversion_changelist")
        return rows.defer("document", "changes") if is_list else rows.select_related("organization")

    def drawn(self, row: ConfigVersion) -> dict[str, Any]:
        """Show a version with what it changed."""
        return {**_page(row), "title": str(row)}

    def get_urls(self) -> list[URLPattern]:
        """Add the way back."""
        view = self.admin_site.admin_view(self.rollback_view)
        return [path("<int:pk>/rollback/", view, name="orchestrators_configversion_rollback"), *super().get_urls()]

    def rollback_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask first; publish the content of this version as a new one (POST)."""
        row = self.get_queryset(request).filter(pk=pk).first() if self.has_view_permission(request) else None
        if row is None:
            raise Http404("There is no such version.")
        if request.method != "POST":
            return render(request, "admin/orchestrators/configversion/rollback.html", self._question(request, row))
        back = reverse("admin:orchestrators_configversion_change", args=[pk])
        is_forced = "force" in request.POST  # the page said that it was halted
        try:
            made = configuration.rollback(row.organization, row.version, acting_user=user(request), is_forced=is_forced)
        except AppError as problem:
            messages.error(request, " ".join([problem.detail, *problem.fields.values()]))
            return HttpResponseRedirect(back)
        messages.success(request, f"Version {made.version} is the configuration now: what version {row.version} had.")
        return HttpResponseRedirect(after(made) or back)

    def _question(self, request: HttpRequest, row: ConfigVersion) -> dict[str, Any]:
        now = versions.current(row.organization)
        changes = configuration.difference(now.content, row.content)
        title = f"Roll {row.organization_id} back to version {row.version}?"
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "version": row,
            "current": now,
            "halt": _halts(row.pk).first(),
            "changes": [config_badges.change(change) for change in changes],
            "back": reverse("admin:orchestrators_configversion_change", args=[row.pk]),
        }


def _is_current() -> Combinable:
    newer = ConfigVersion.objects.filter(organization=OuterRef("organization"), version__gt=OuterRef("version"))
    return Q(released_at__isnull=False) & ~Exists(newer.filter(released_at__isnull=False))


def _halts(pk: Any) -> QuerySet[Rollout]:
    return Rollout.objects.filter(target=pk, status=Rollout.Status.HALTED).order_by("-id")


def after(version: ConfigVersion) -> str:
    """Return the address of the rollout that brings a version to the fleet; "" when there is none."""
    row = Rollout.objects.filter(target=version).order_by("-id").first()
    return reverse("admin:orchestrators_rollout_change", args=[row.pk]) if row else ""


def _page(row: ConfigVersion) -> dict[str, Any]:
    now = versions.current(row.organization)
    way = after(row)
    facts: list[tuple[str, Any]] = [
        ("Organization", config_badges.organization(row)),
        ("Author", row.author),
        ("Written", exact(row.created_at)),
        ("Released", exact(row.released_at) if row.released_at else "no: it is on its way, or never got through"),
        ("Comment", row.comment or "–"),
        ("Hash", row.config_hash),
        ("Rollout", format_html('<a class="mo-link" href="{}">how it reached the fleet</a>', way) if way else "–"),
    ]
    return {
        "version": row,
        "badge": config_badges.source(row),
        "halted": HALTED if _halts(row.pk).exists() else "",
        "is_current": row.pk == now.pk,
        "changes": [config_badges.change(change) for change in row.changes],
        "is_cut": len(row.changes) >= documents.MAX_CHANGES,
        "facts": facts,
        "document": pretty(row.content),
        "edit_url": config_badges.editor(row.organization_id),
    }
