"""Allowed networks: what organizations may call although it is inside; only superadmins come here."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from orgs import networks
from orgs.admin.base import ConsoleAdmin, ago, user
from orgs.models import AllowedNetwork

HELP = {
    "cidr": "A private network, such as 10.1.0.0/16, or one address: the organization's alert channels may call it."
}


@admin.register(AllowedNetwork)
class AllowedNetworkAdmin(ConsoleAdmin):
    """Exceptions from what `orgs/destinations.py` refuses."""

    list_display = ["cidr", "organization", "reason", "created_by", "since"]
    list_filter = [("organization", AutocompleteSelectFilter)]
    list_select_related = ["organization"]
    search_fields = ["cidr", "reason", "organization__organization_id"]
    autocomplete_fields = ["organization"]
    fields = ["organization", "cidr", "reason"]
    readonly = ["organization", "cidr", "reason", "created_by", "since"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let networks be allowed and refused, never changed."""
        return obj is None and super().has_change_permission(request, obj)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show what is known, or ask what is needed."""
        return self.readonly if obj else self.fields

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **options: Any) -> Any:
        """Say what is asked for."""
        return super().get_form(request, obj, change=change, help_texts=HELP, **options)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show everything of an allowed network."""
        return self.readonly if obj else []

    def save_model(self, request: HttpRequest, obj: AllowedNetwork, form: Any, change: bool) -> None:
        """Allow the network by its room's function."""
        row = networks.allow(obj.organization, obj.cidr, acting_user=user(request), reason=obj.reason)
        obj.__dict__.update(row.__dict__)

    def delete_model(self, request: HttpRequest, obj: AllowedNetwork) -> None:
        """Refuse the network again."""
        networks.refuse(obj, acting_user=user(request))

    @display(description="Since", ordering="created_at")
    def since(self, row: AllowedNetwork) -> SafeString:
        """Show since when."""
        return ago(row.created_at)
