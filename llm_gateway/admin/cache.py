"""Caches in the console: of which models an organization's answers are kept, for how long, and what that saved."""

from datetime import timedelta
from typing import Any, Final

from django import forms
from django.contrib import admin
from django.contrib.admin import action, display
from django.db.models import IntegerField, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.widgets import UnfoldAdminTextareaWidget

from llm_gateway import caching
from llm_gateway.admin import words
from llm_gateway.cache import policy
from llm_gateway.models import CacheRule, Spending
from moolai.errors import InvalidInput
from orgs import spending
from orgs.admin.base import ConsoleAdmin, ago, user
from orgs.models import Organization

FIELDS: Final = ["organization", "is_enabled", "names", "ttl_seconds"]


class CacheForm(forms.ModelForm):  # type: ignore[type-arg]
    """What a cache does."""

    names = forms.CharField(
        label="Models", required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
        help_text="Models and aliases whose answers are kept unasked, one a line; * is all. Others may ask for it.",
    )  # fmt: skip

    class Meta:
        model = CacheRule
        fields = ["organization", "is_enabled", "ttl_seconds"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["names"] = "\n".join(self.instance.model_names or [])

    def clean_names(self) -> list[str]:
        """Read one name a line, as the room takes them."""
        try:
            return caching.names(words.names(self.cleaned_data["names"]))
        except InvalidInput as problem:
            raise forms.ValidationError(list(problem.fields.values())) from None


@admin.register(CacheRule)
class CacheRuleAdmin(ConsoleAdmin):
    """Caches; what is set holds within two seconds."""

    form = CacheForm
    fields = FIELDS
    may_delete = False  # a rule counts how often its cache was emptied
    list_display = ["organization", "is_enabled", "kept", "ttl_seconds", "hits", "saved", "changed"]
    list_filter = [("organization", AutocompleteSelectFilter)]
    list_select_related = ["organization"]
    search_fields = ["organization__organization_id", "organization__name"]
    autocomplete_fields = ["organization"]
    ordering = ["organization"]
    actions = ["empty"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[CacheRule]:
        """Read along what each saved in thirty days, from the sums by the hour."""
        since = timezone.now() - timedelta(days=30)
        hours = Spending.objects.filter(organization_id=OuterRef("pk"), hour_at__gte=since).order_by()
        found: QuerySet[CacheRule] = super().get_queryset(request)
        return found.annotate(hits_=_sum(hours, "cached"), saved_=_sum(hours, "saved_usd_micros"))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep a rule with its organization."""
        return ["organization"] if obj else []

    def save_model(self, request: HttpRequest, obj: CacheRule, form: Any, change: bool) -> None:
        """Set the rule by its room's function."""
        cleaned = form.cleaned_data
        wish = {"is_enabled": cleaned["is_enabled"], "models": cleaned["names"], "ttl_seconds": cleaned["ttl_seconds"]}
        organization = Organization.objects.get(pk=obj.organization_id)
        obj.__dict__.update(caching.put(organization, acting_user=user(request), **wish).__dict__)

    @action(description="Empty the chosen caches")
    def empty(self, request: HttpRequest, queryset: QuerySet[CacheRule]) -> None:
        """Have all processes forget the answers of the chosen organizations."""
        rows = list(queryset)
        for row in rows:
            caching.empty(row.organization, acting_user=user(request))
        self.message_user(request, f"Emptied: {len(rows)}.")

    @display(description="Models")
    def kept(self, row: CacheRule) -> str:
        """Show what is kept unasked."""
        return ", ".join("all" if name == policy.ALL else name for name in row.model_names[:4]) or "those that ask"

    @display(description="Hits, 30 days", ordering="hits_")
    def hits(self, row: Any) -> int:
        """Show how many calls it answered."""
        return int(row.hits_)

    @display(description="Saved, 30 days", ordering="saved_")
    def saved(self, row: Any) -> str:
        """Show what those answers had cost."""
        return f"${spending.usd(row.saved_) or 0:.6f}"

    @display(description="Changed", ordering="updated_at")
    def changed(self, row: CacheRule) -> Any:
        """Show when it was changed."""
        return ago(row.updated_at)


def _sum(hours: QuerySet[Spending], column: str) -> Coalesce:
    total = hours.values("organization_id").annotate(total=Sum(column)).values("total")
    return Coalesce(Subquery(total, output_field=IntegerField()), 0)
