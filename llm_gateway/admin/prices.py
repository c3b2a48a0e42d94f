"""Prices in the console: those entered here, and the page of models with what each one costs."""

from typing import Any, Final

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from llm_gateway import prices
from llm_gateway.admin import price_list, words
from llm_gateway.models import Price
from orgs.admin.base import ConsoleAdmin, ago, user
from orgs.models import Organization

RATES: Final = prices.FIELDS[1:]
OFFERED: Final = 200


@admin.register(Price)
class PriceAdmin(ConsoleAdmin):
    """Prices of one's own; they count before published ones."""

    list_display = ["model", "organization_", "input_", "output_", "cached_", "written_", "changed"]
    list_display_links = ["model"]
    list_filter = [("organization", AutocompleteSelectFilter)]
    list_before_template = "admin/llm_gateway/price/tools.html"
    search_fields = ["model", "price_id", "organization__organization_id"]
    search_help_text = "Search by model, id or organization"
    ordering = ["organization", "model"]
    autocomplete_fields = ["organization"]
    fieldsets = [
        (
            None,
            {
                "fields": ["organization", "model"],
                "description": "provider/model, or a bare name for any provider. Local providers cost nothing, "
                "whatever is entered.",
            },
        ),
        (
            "US dollars per million tokens",
            {"fields": RATES, "description": "Empty: tokens from or to the provider's cache cost what input does."},
        ),
    ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep a price with its organization."""
        return ["organization"] if obj else []

    def save_model(self, request: HttpRequest, obj: Price, form: Any, change: bool) -> None:
        """Set or change the price by its room's functions."""
        cleaned = form.cleaned_data
        wish = {name: cleaned[name] for name in prices.FIELDS}
        if change:
            row = prices.update(Price.objects.get(pk=obj.pk), acting_user=user(request), **wish)
        else:
            row = prices.create(cleaned["organization"], acting_user=user(request), **wish)
        obj.__dict__.update(row.__dict__)

    def delete_model(self, request: HttpRequest, obj: Price) -> None:
        """Forget the price by its room's function."""
        prices.delete(obj, acting_user=user(request))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Price]:
        """Read the organization along."""
        found: QuerySet[Price] = super().get_queryset(request).select_related("organization")
        return found

    def get_urls(self) -> list[URLPattern]:
        """Add the page of models."""
        view = self.admin_site.admin_view(self.models_view)
        return [path("models/", view, name="llm_gateway_price_models"), *super().get_urls()]

    def models_view(self, request: HttpRequest) -> HttpResponse:
        """Show what an organization may ask for, and what each costs."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        rows = Organization.objects.order_by("pk").values_list("pk", "name")[:OFFERED]
        offered = list(rows)
        asked = request.GET.get("organization", "")[:50] or next((pk for pk, _ in offered), "")
        search = request.GET.get("q", "").strip()[:200]
        context = self.admin_site.each_context(request) | {
            "title": "Models",
            "organizations": offered,
            "organization": asked,
            "search": search,
            **price_list.read(asked, search=search),
        }
        return render(request, "admin/llm_gateway/price/models.html", context)

    # --- columns ----------------------------------------------------------------------------------------------------

    @display(description="Organization", ordering="organization")
    def organization_(self, row: Price) -> str:
        """Show for whom."""
        return row.organization.name if row.organization else "all organizations"

    @display(description="Input", ordering="input_usd_per_million")
    def input_(self, row: Price) -> SafeString:
        """Show the price of input."""
        return _number(row.input_usd_per_million)

    @display(description="Output", ordering="output_usd_per_million")
    def output_(self, row: Price) -> SafeString:
        """Show the price of output."""
        return _number(row.output_usd_per_million)

    @display(description="Cached input")
    def cached_(self, row: Price) -> SafeString:
        """Show the price of what is read from the provider's cache."""
        return _number(row.cached_input_usd_per_million)

    @display(description="Cache writes")
    def written_(self, row: Price) -> SafeString:
        """Show the price of what is written to it."""
        return _number(row.cache_write_usd_per_million)

    @display(description="Changed", ordering="updated_at")
    def changed(self, row: Price) -> SafeString:
        """Show when it was changed."""
        return ago(row.updated_at)


def _number(value: Any) -> SafeString:
    return format_html('<span class="gw-number">{}</span>', "as input" if value is None else words.rate(value))
