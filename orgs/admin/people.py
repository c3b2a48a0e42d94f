"""Users and their roles in organizations."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.contrib.auth.admin import UserAdmin as StockUserAdmin
from django.contrib.auth.models import Group
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.debug import sensitive_post_parameters
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from orgs import audit
from orgs.admin.base import AuditedAdmin, ago, user
from orgs.models import Membership, User

HELP = {
    "is_active": ("Active", "Off: cannot sign in, and every open session ends."),
    "is_superuser": ("Superadmin", "Opens the console, and may do everything in every organization."),
}
if admin.site.is_registered(Group):
    admin.site.unregister(Group)


class NewUserForm(UserCreationForm):  # type: ignore[misc]
    """A login and a password; nobody signs in without one here."""

    usable_password = None


@admin.register(User)
class UserAdmin(AuditedAdmin, StockUserAdmin):  # type: ignore[misc,type-arg]
    """People who sign in; only superusers see the console."""

    audit_name = "user"
    form = UserChangeForm
    add_form = NewUserForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "full_name", "email", "is_superuser", "is_active", "roles", "last_login_"]
    list_filter = ["is_superuser", "is_active"]
    search_fields = ["username", "email", "first_name", "last_name"]
    readonly_fields = ["last_login_", "date_joined", "roles", "secret", "memberships_"]
    filter_horizontal = []
    fieldsets = [
        (None, {"fields": ["username", "secret"]}),
        ("Person", {"fields": ["first_name", "last_name", "email"]}),
        ("Access", {"fields": ["is_active", "is_superuser", "memberships_"]}),
        ("Dates", {"fields": ["last_login_", "date_joined"]}),
    ]
    add_fieldsets = [
        (None, {"fields": ["username", "password1", "password2"]}),
    ]

    def audit_target(self, obj: User) -> tuple[str, str]:
        """Name users by their login."""
        return "user", obj.username

    def get_queryset(self, request: HttpRequest) -> Any:
        """Read the roles along."""
        return super().get_queryset(request).prefetch_related("memberships")

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Say in our words what the two switches do."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and db_field.name in HELP:
            field.label, field.help_text = HELP[db_field.name]
        return field

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Open the console to superadmins and to nobody else: Django's own flag for it follows."""
        obj.is_staff = obj.is_superuser
        super().save_model(request, obj, form, change)

    @display(description="Password")
    def secret(self, row: User) -> SafeString:
        """Show whether there is one, with the way to set another."""
        url = reverse("admin:auth_user_password_change", args=[row.pk])
        word = "set" if row.has_usable_password() else "none: cannot sign in"
        return format_html('{} · <a class="mo-link" href="{}">Set another password</a>', word, url)

    @display(description="Roles in organizations")
    def memberships_(self, row: User) -> SafeString:
        """Show the roles, with the ways to change and to add them."""
        add = f"{reverse('admin:orgs_membership_add')}?user={row.pk}"
        return format_html('{} · <a class="mo-link" href="{}">Add a role</a>', self.roles(row), add)

    @display(description="Name")
    def full_name(self, row: User) -> str:
        """Show the person's name."""
        return row.get_full_name() or "–"

    @display(description="Last sign-in", ordering="last_login")
    def last_login_(self, row: User) -> SafeString:
        """Show when the user signed in last."""
        return ago(row.last_login)

    @display(description="Roles")
    def roles(self, row: User) -> SafeString | str:
        """Show the roles in organizations, with the way to change them."""
        words = ", ".join(f"{membership.role} of {membership.organization_id}" for membership in row.memberships.all())
        if row.is_superuser:
            words = "superadmin" + (f", {words}" if words else "")
        url = reverse("admin:orgs_membership_changelist")
        return format_html('<a class="mo-link" href="{}?q={}">{}</a>', url, row.username, words or "none yet")

    @method_decorator(sensitive_post_parameters())
    @transaction.atomic
    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        """Change a password, audited in the same transaction."""
        request.is_password_change = True  # type: ignore[attr-defined]
        answer: HttpResponse = super().user_change_password(request, id, form_url)
        return answer

    def log_change(  # type: ignore[override]
        self, request: HttpRequest, obj: User, message: Any
    ) -> None:
        """Leave the audit row of a changed password, which never passes `save_model`."""
        if getattr(request, "is_password_change", False):
            who = user(request)
            audit.record("user.password", acting_user=who, organization_id="", target=self.audit_target(obj))


@admin.register(Membership)
class MembershipAdmin(AuditedAdmin):
    """Who may do what in which organization."""

    audit_name = "membership"
    list_display = ["user", "organization", "role", "since"]
    list_filter = ["role", ("organization", AutocompleteSelectFilter)]
    list_select_related = ["user", "organization"]
    search_fields = ["user__username", "user__email", "organization__organization_id", "organization__name"]
    autocomplete_fields = ["user", "organization"]
    fields = ["user", "organization", "role"]

    def audit_target(self, obj: Membership) -> tuple[str, str]:
        """Name memberships by who and where."""
        return "membership", f"{obj.user.get_username()}@{obj.organization_id}"

    @display(description="Since", ordering="created_at")
    def since(self, row: Membership) -> SafeString:
        """Show when the role was given."""
        return ago(row.created_at)
