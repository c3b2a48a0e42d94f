"""Privacy in the console: what the gateway keeps of organizations' prompts and answers."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.http import HttpRequest
from django.utils.safestring import SafeString

from llm_gateway import policies
from llm_gateway.models import GatewayPolicy
from orgs.admin.base import ConsoleAdmin, ago, badge, user


@admin.register(GatewayPolicy)
class PolicyAdmin(ConsoleAdmin):
    """Organizations that have something kept, or are private; of all others nothing is kept."""

    list_display = ["organization_", "state", "days", "changed"]
    list_display_links = ["organization_"]
    list_select_related = ["organization"]
    search_fields = ["organization__organization_id", "organization__name"]
    search_help_text = "Search by organization"
    ordering = ["organization"]
    autocomplete_fields = ["organization"]
    fieldsets = [
        (
            None,
            {
                "fields": ["organization", "keeps_content", "content_days", "is_private"],
                "description": "Without a setting nothing of prompts and answers is kept. "
                "Private wins, and deletes at once what was kept.",
            },
        )
    ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep a setting with its organization."""
        return ["organization"] if obj else []

    def save_model(self, request: HttpRequest, obj: GatewayPolicy, form: Any, change: bool) -> None:
        """Set it by its room's function."""
        wish = {name: form.cleaned_data[name] for name in policies.FIELDS}
        row = policies.put(obj.organization, acting_user=user(request), **wish)
        obj.__dict__.update(row.__dict__)

    def delete_model(self, request: HttpRequest, obj: GatewayPolicy) -> None:
        """Forget it by its room's function."""
        policies.delete(obj, acting_user=user(request))

    # --- columns ----------------------------------------------------------------------------------------------------

    @display(description="Organization", ordering="organization")
    def organization_(self, row: GatewayPolicy) -> str:
        """Show whose it is."""
        return str(row.organization.name or row.pk)

    @display(description="Prompts and answers")
    def state(self, row: GatewayPolicy) -> SafeString:
        """Show what is kept."""
        if row.is_private:
            return badge("blue", "◆", "Private")
        return badge("amber", "●", "Kept") if row.keeps_content else badge("gray", "○", "Not kept")

    @display(description="For")
    def days(self, row: GatewayPolicy) -> str:
        """Show for how long."""
        if not row.is_kept:
            return "–"
        days = policies.days(row)
        return f"{days} day{'s' * (days != 1)}" if days else "ever"

    @display(description="Changed", ordering="updated_at")
    def changed(self, row: GatewayPolicy) -> SafeString:
        """Show when it was changed."""
        return ago(row.updated_at)
