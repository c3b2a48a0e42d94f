"""Aliases in the console: names for models, what each leads to, and how its targets have been."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.views import ChangeList

from llm_gateway import aliases
from llm_gateway.admin import flows, health
from llm_gateway.admin.alias_forms import AliasForm
from llm_gateway.models import Alias
from orgs.admin.base import ConsoleAdmin, ago, badge, user


class AliasList(ChangeList):  # type: ignore[misc]
    """The list; each row knows how its targets have been: two queries for all of them."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the rows, and how their targets have been."""
        super().get_results(request)
        self.result_list: Any = list(self.result_list)
        found, breakers = health.recent(now=timezone.now()), flows.breakers_of(self.result_list)
        for row, lost in zip(self.result_list, flows.lost_of(self.result_list), strict=True):
            row.steps = flows.steps(row, found, breakers, lost)


@admin.register(Alias)
class AliasAdmin(ConsoleAdmin):
    """Names for models."""

    form = AliasForm
    list_display = ["alias", "organization_", "targets_", "changed"]
    list_display_links = ["alias"]
    list_filter = [("organization", AutocompleteSelectFilter)]
    search_fields = ["alias", "alias_id", "organization__organization_id"]
    search_help_text = "Search by alias, id or organization"
    ordering = ["organization", "alias"]
    autocomplete_fields = ["organization"]
    fields = ["organization", "alias", "targets"]
    change_form_template = "admin/llm_gateway/alias/change_form.html"

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep an alias in its organization."""
        return ["organization"] if obj else []

    def save_model(self, request: HttpRequest, obj: Alias, form: Any, change: bool) -> None:
        """Make or change the alias by its room's functions."""
        who, cleaned = user(request), form.cleaned_data
        wish = {"alias": cleaned["alias"], "targets": cleaned["targets"]}
        if change:
            row = aliases.update(Alias.objects.get(pk=obj.pk), acting_user=who, **wish)
        else:
            row = aliases.create(cleaned["organization"], acting_user=who, **wish)
        obj.__dict__.update(row.__dict__)

    def delete_model(self, request: HttpRequest, obj: Alias) -> None:
        """Delete the alias by its room's function."""
        aliases.delete(obj, acting_user=user(request))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Use the list whose rows know their targets."""
        return AliasList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Alias]:
        """Read the organization along."""
        found: QuerySet[Alias] = super().get_queryset(request).select_related("organization")
        return found

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Show one alias with its picture."""
        row = self.get_object(request, object_id) if object_id else None
        extra = dict(extra_context or {})
        if row is not None:
            found, lost = health.recent(now=timezone.now()), flows.lost_of([row])[0]
            asked = urlencode({"model": row.alias, "organization": row.organization_id or ""})
            extra |= {
                "flow": flows.draw(row, found, flows.breakers_of([row]), lost),
                "lost": _marked(len(lost), len(row.targets)),
                "try_url": f"{reverse('admin:llm_gateway_call_playground')}?{asked}",
                "log_url": f"{reverse('admin:llm_gateway_call_changelist')}?{urlencode({'model': row.alias})}",
            }
        return super().changeform_view(request, object_id, form_url, extra)

    @display(description="Organization", ordering="organization")
    def organization_(self, row: Alias) -> str:
        """Show whose it is."""
        return row.organization.name if row.organization else "all organizations"

    @display(description="Leads to")
    def targets_(self, row: Any) -> SafeString:
        """Show each target with its share, and a dot for how it has been."""
        chip = '<span class="gw-chip{}" title="{}"><i class="gw-mark-{}"></i>{} <b>{}</b></span>'
        found = [(" is-fallback" if s.is_fallback else "", s.said, s.tone, s.short, s.share) for s in row.steps]
        lost = _marked(sum(step.is_lost for step in row.steps), len(row.steps))
        return format_html('<span class="gw-chips">{}{}</span>', format_html_join("", chip, found), lost)

    @display(description="Changed", ordering="updated_at")
    def changed(self, row: Alias) -> SafeString:
        """Show when it was changed."""
        return ago(row.updated_at)


def _marked(lost: int, targets: int) -> str:
    return badge("amber", "▲", f"{lost} of {targets} lead nowhere") if lost else ""
