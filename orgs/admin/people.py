"""Users: who signs in, who is superadmin; closing an account and a new password end its sign-ins."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.contrib.auth.admin import UserAdmin as StockUserAdmin
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.debug import sensitive_post_parameters
from unfold.contrib.filters.admin import AutocompleteSelectFilter, BooleanRadioFilter

from orgs import accounts, users
from orgs.admin.base import ConsoleAdmin, ago, badge, user
from orgs.admin.user_forms import SUPERADMIN_HELP, NewUserForm, PasswordForm, UserForm
from orgs.models import Membership, User

SHOWN_ROLES = 3
HELP = {
    "is_active": ("Active", "Off: cannot sign in, and every open session ends."),
    "is_superuser": ("Superadmin", SUPERADMIN_HELP),
}
if admin.site.is_registered(Group):
    admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(ConsoleAdmin, StockUserAdmin):  # type: ignore[misc,type-arg]
    """People who sign in; only superadmins see the console."""

    form = UserForm
    add_form = NewUserForm
    add_form_template = "admin/change_form.html"  # the stock one promises a second page
    change_password_form = PasswordForm
    delete_confirmation_template = "admin/orgs/user/delete.html"
    list_display = ["username", "full_name", "email", "state", "roles", "last_login_"]
    list_filter = [
        ("memberships__organization", AutocompleteSelectFilter), ("is_superuser", BooleanRadioFilter),
        ("is_active", BooleanRadioFilter),
    ]  # fmt: skip
    search_fields = ["username", "email", "first_name", "last_name"]
    search_help_text = "Search by user name, name or e-mail"
    readonly_fields = ["login", "state", "last_login_", "date_joined", "secret", "memberships_"]
    filter_horizontal = []
    fieldsets = [
        (None, {"fields": ["login", "state", "secret"]}),
        ("Person", {"fields": ["first_name", "last_name", "email"]}),
        ("Access", {"fields": ["is_active", "is_superuser", "memberships_"]}),
        ("Dates", {"fields": ["last_login_", "date_joined"]}),
    ]
    add_fieldsets = [
        (None, {"fields": ["username", "email", "password1", "password2"]}),
        ("Access", {"fields": ["organization", "role", "is_superuser"]}),
    ]

    # --- writing ----------------------------------------------------------------------------------------------------

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Make or change the account by the rooms' own functions."""
        cleaned, who = form.cleaned_data, user(request)
        if change:
            changed = {name: cleaned[name] for name in form.changed_data if name in accounts.EDITABLE}
            row = accounts.update(obj, acting_user=who, **changed)
        else:
            given = {"password": cleaned["password1"], "email": cleaned["email"], "acting_user": who}
            if cleaned["is_superuser"]:
                row = accounts.create_superadmin(obj.username, **given)
            else:
                row = users.create(cleaned["organization"], username=obj.username, role=cleaned["role"], **given).user
        obj.__dict__.update(row.__dict__)

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        """Delete the account by its room's own function."""
        accounts.delete(obj, acting_user=user(request))

    def get_actions(self, request: HttpRequest) -> Any:
        """Delete accounts one by one only, each on a page that says what goes with it."""
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Leave what goes along to the page's own words."""
        return [str(obj) for obj in objs], {}, set(), []

    @method_decorator(sensitive_post_parameters())
    @transaction.atomic
    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        """Change a password, with its traces in the same transaction."""
        request.is_password_change = True  # type: ignore[attr-defined]
        answer: HttpResponse = super().user_change_password(request, id, form_url)
        return answer

    def log_change(  # type: ignore[override]
        self, request: HttpRequest, obj: User, message: Any
    ) -> None:
        """Leave the traces of a changed password, which never passes `save_model`."""
        if getattr(request, "is_password_change", False):
            accounts.note_password(obj, acting_user=user(request))

    # --- reading ----------------------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> Any:
        """Read the first roles along."""
        first = Membership.objects.order_by("organization_id")[: SHOWN_ROLES + 1]
        return super().get_queryset(request).prefetch_related(Prefetch("memberships", first, to_attr="first_roles"))

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Say in our words what the two switches do."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and db_field.name in HELP:
            field.label, field.help_text = HELP[db_field.name]
        return field

    @display(description="User name")
    def login(self, row: User) -> str:
        """Show the name, which stays for good."""
        return row.username

    @display(description="Account", ordering="is_active")
    def state(self, row: User) -> SafeString:
        """Show whether the account is open."""
        return badge("green", "●", "Active") if row.is_active else badge("gray", "○", "Closed")

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
    def roles(self, row: Any) -> SafeString:
        """Show the first roles in organizations, each with the way to change it."""
        words = [badge("blue", "◆", "Superadmin")] if row.is_superuser else []
        for held in row.first_roles[:SHOWN_ROLES]:
            url = reverse("admin:orgs_membership_change", args=[held.pk])
            words.append(format_html('<a class="mo-link" href="{}">{} of {}</a>', url, held.role, held.organization_id))
        if len(row.first_roles) > SHOWN_ROLES:
            url = f"{reverse('admin:orgs_membership_changelist')}?user__id__exact={row.pk}"
            words.append(format_html('<a class="mo-link" href="{}">all roles</a>', url))
        return format_html_join(SafeString(", "), "{}", ((word,) for word in words)) or SafeString("none yet")
