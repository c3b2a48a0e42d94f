"""Budgets in the console: what organizations, their keys and models may spend, with what of it is spent."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import SimpleListFilter, display
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesCheckboxFilter
from unfold.views import ChangeList

from llm_gateway.admin import meters, words
from llm_gateway.admin.budget_forms import LimitForm
from orgs import spending
from orgs.admin.base import ConsoleAdmin, ago, user
from orgs.models import SpendingLimit


class KindFilter(SimpleListFilter):
    """Narrows to limits of organizations, keys or models."""

    title, parameter_name = "what is limited", "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return what may be chosen."""
        return [("organization", "Organizations"), ("key", "API keys"), ("model", "Models")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Apply the chosen one."""
        match self.value():
            case "organization":
                return queryset.filter(key=None, model="")
            case "key":
                return queryset.filter(key__isnull=False)
            case "model":
                return queryset.exclude(model="")
        return queryset


class LimitList(ChangeList):  # type: ignore[misc]
    """The list; each row knows how its budget stands: one query for all of them."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the rows, and how their budgets stand."""
        super().get_results(request)
        self.result_list: Any = list(self.result_list)
        found = meters.read(self.result_list, now=timezone.now())
        for row in self.result_list:
            row.meter = found[row.pk]


@admin.register(SpendingLimit)
class SpendingLimitAdmin(ConsoleAdmin):
    """Budgets and limits; they hold within five seconds."""

    form = LimitForm
    list_display = ["whose", "organization_", "budget", "rates", "only", "changed"]
    list_display_links = ["whose"]
    list_filter = [
        KindFilter, ("organization", AutocompleteSelectFilter), ("budget_window", ChoicesCheckboxFilter),
    ]  # fmt: skip
    search_fields = ["organization__organization_id", "organization__name", "key__name", "key__key_id", "model"]
    search_help_text = "Search by organization, key or model"
    autocomplete_fields = ["organization", "key"]
    change_form_template = "admin/llm_gateway/budget/change_form.html"

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Show the list under the name that people look for."""
        return super().changelist_view(request, {"title": "Budgets and limits", **(extra_context or {})})

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Ask whose limits these are, and what they are."""
        whose = ["organization", "key", "model"] if obj is None else ["organization"]
        if obj is not None:
            whose += ["key"] if obj.key_id else ["model"] if obj.model else []
        only = ["allowed_models"] if obj is None or obj.key_id else []
        return [
            ("Of", {"fields": whose}),
            ("Money", {"fields": ["budget_usd", "budget_window"]}),
            ("Speed", {"fields": ["requests_per_minute", "tokens_per_minute", "max_parallel", *only]}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep limits with what they limit."""
        return ["organization", "key", "model"] if obj else []

    def get_ordering(self, request: HttpRequest) -> Any:
        """Put an organization's own first, then its keys', then its models'."""
        return ["organization", F("key__name").asc(nulls_first=True), "model"]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Use the list whose rows know how they stand."""
        return LimitList

    def get_queryset(self, request: HttpRequest) -> QuerySet[SpendingLimit]:
        """Read organization and key along."""
        found: QuerySet[SpendingLimit] = super().get_queryset(request).select_related("organization", "key")
        return found

    def save_model(self, request: HttpRequest, obj: SpendingLimit, form: Any, change: bool) -> None:
        """Set the limits by their room's function."""
        row = spending.set_one(obj.organization, key=obj.key, model=obj.model, acting_user=user(request), **form.wish())
        obj.__dict__.update(row.__dict__)

    def delete_model(self, request: HttpRequest, obj: SpendingLimit) -> None:
        """Lift the limits by their room's function."""
        spending.lift(obj, acting_user=user(request))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Name what goes: what was spent stays counted."""
        rows = [str(obj) for obj in objs]
        return rows, {"limits": len(rows)}, set(), []

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Show how the budget stands above the form."""
        row = self.get_object(request, object_id) if object_id else None
        extra = dict(extra_context or {})
        if row is not None:
            meter = meters.read([row], now=timezone.now())[row.pk]
            extra |= {"whose": _whose(row), "meter": meters.show(meter), "facts": meters.facts(meter)}
        return super().changeform_view(request, object_id, form_url, extra)

    # --- columns ----------------------------------------------------------------------------------------------------

    @display(description="Of")
    def whose(self, row: SpendingLimit) -> SafeString:
        """Show what is limited."""
        kind = "API key" if row.key_id else "model" if row.model else "the whole organization"
        return format_html('<span class="mo-name"><b>{}</b><small>{}</small></span>', _whose(row), kind)

    @display(description="Organization", ordering="organization")
    def organization_(self, row: SpendingLimit) -> SafeString:
        """Show the organization, with the way to its costs."""
        url = f"{reverse('admin:llm_gateway_call_changelist')}?organization={row.organization_id}"
        return format_html('<a class="mo-link" href="{}" title="Its calls">{}</a>', url, row.organization.name)

    @display(description="Budget", ordering="budget_usd_micros")
    def budget(self, row: Any) -> SafeString:
        """Show what is spent of it."""
        return meters.show(row.meter)

    @display(description="Limits")
    def rates(self, row: SpendingLimit) -> SafeString:
        """Show how fast may be called."""
        return format_html('<span class="gw-lines">{}</span>', "\n".join(limits_of(row)) or "none")

    @display(description="Models")
    def only(self, row: SpendingLimit) -> SafeString:
        """Show which models a key may call."""
        return format_html('<span class="gw-models">{}</span>', ", ".join(row.allowed_models[:4]) or "all")

    @display(description="Changed", ordering="updated_at")
    def changed(self, row: SpendingLimit) -> SafeString:
        """Show when it was changed."""
        return ago(row.updated_at)


def limits_of(row: SpendingLimit) -> list[str]:
    """Say how fast may be called."""
    found = [
        (row.requests_per_minute, "calls a minute"),
        (row.tokens_per_minute, "tokens a minute"),
        (row.max_parallel, "at once"),
    ]
    return [f"{words.count(number)} {what}" for number, what in found if number is not None]


def _whose(row: SpendingLimit) -> str:
    return row.model or (row.key.name if row.key else row.organization.name)
