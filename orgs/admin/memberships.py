"""Memberships: who may do what in which organization; a role counts from the next request on."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import display
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesCheckboxFilter

from orgs import users
from orgs.admin.base import ConsoleAdmin, ago, user
from orgs.admin.user_forms import MembershipForm
from orgs.models import Membership


@admin.register(Membership)
class MembershipAdmin(ConsoleAdmin):
    """Roles of people in organizations."""

    form = MembershipForm
    delete_confirmation_template = delete_selected_confirmation_template = "admin/orgs/membership/delete.html"
    list_display = ["user", "organization", "role", "since"]
    list_filter = [
        ("organization", AutocompleteSelectFilter), ("user", AutocompleteSelectFilter), ("role", ChoicesCheckboxFilter),
    ]  # fmt: skip
    list_select_related = ["user", "organization"]
    search_fields = ["user__username", "user__email", "organization__organization_id", "organization__name"]
    search_help_text = "Search by user or organization"
    ordering = ["-id"]
    autocomplete_fields = ["user", "organization"]
    fields = ["user", "organization", "role"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Change the role only: another user or organization is another membership."""
        return ["user", "organization", "since"] if obj else []

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show since when."""
        return [*self.fields, "since"] if obj else self.fields

    def save_model(self, request: HttpRequest, obj: Membership, form: Any, change: bool) -> None:
        """Add or change the role by the users' own functions."""
        who, role = user(request), form.cleaned_data["role"]
        if change:
            row = users.update(obj, acting_user=who, may_be_superadmin=True, role=role)
        else:
            row = users.add(obj.user, organization=obj.organization, role=role, acting_user=who)
        obj.__dict__.update(row.__dict__)

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        """Take the user out of the organization, and say when that closed the account."""
        users.remove(obj, acting_user=user(request), may_be_superadmin=True)
        obj.user.refresh_from_db()
        if not obj.user.is_active:
            messages.warning(request, f"{obj.user} has no role left, so the account is closed.")

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        """Take the chosen users out, one by one."""
        for row in queryset.select_related("user"):
            self.delete_model(request, row)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Name what goes."""
        rows = [str(obj) for obj in objs]
        return rows, {"memberships": len(rows)}, set(), []

    @display(description="Since", ordering="created_at")
    def since(self, row: Membership) -> SafeString:
        """Show when the role was given."""
        return ago(row.created_at)
