"""Forms of the users' pages: a new account with its first role, what may be changed, and another password."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from unfold.forms import AdminPasswordChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminEmailInputWidget, UnfoldAdminRadioSelectWidget, UnfoldBooleanSwitchWidget

from orgs import accounts
from orgs.models import Membership, Organization, Role, User

ROLES = {
    Role.ADMIN: "Admin — reads and writes the organization, its keys and its users",
    Role.OPERATOR: "Operator — reads, and runs the fleet",
    Role.VIEWER: "Viewer — reads",
}
SUPERADMIN_HELP = "Opens this console, and may do everything in every organization."


class NewUserForm(UserCreationForm):  # type: ignore[misc]
    """An account that can sign in and has something to do: a role in one organization, or superadmin."""

    usable_password = None
    email = forms.EmailField(required=False, max_length=254, widget=UnfoldAdminEmailInputWidget)
    organization = forms.ModelChoiceField(
        Organization.objects.all(),
        required=False,
        widget=AutocompleteSelect(Membership._meta.get_field("organization"), admin.site),
        help_text="The first one; more roles are added on the user's page.",
    )
    role = forms.ChoiceField(
        choices=list(ROLES.items()), initial=Role.VIEWER, required=False, widget=UnfoldAdminRadioSelectWidget
    )
    is_superuser = forms.BooleanField(
        required=False, label="Superadmin", help_text=SUPERADMIN_HELP, widget=UnfoldBooleanSwitchWidget
    )

    class Meta:
        model = User
        fields = ["username", "email", "is_superuser"]

    def clean(self) -> dict[str, Any]:
        """Ask for a role or for superadmin, not for both."""
        cleaned = super().clean() or {}
        has_role = bool(cleaned.get("organization"))
        if cleaned.get("is_superuser") and has_role:
            self.add_error("organization", "A superadmin may do everything everywhere: leave the organization empty.")
        elif not cleaned.get("is_superuser") and not has_role and "organization" not in self.errors:
            self.add_error("organization", "Choose an organization, or make the user a superadmin.")
        elif has_role and not cleaned.get("role"):
            self.add_error("role", "Choose a role in the organization.")
        return cleaned


class UserForm(forms.ModelForm):  # type: ignore[type-arg]
    """What may be changed of an account; its name stays for good."""

    class Meta:
        model = User
        fields = ["first_name", "last_name", "email", "is_active", "is_superuser"]

    def clean(self) -> dict[str, Any]:
        """Refuse to close the console to everybody, beside the switch that would."""
        cleaned = super().clean() or {}
        stored = User.objects.get(pk=self.instance.pk)
        for name in ("is_active", "is_superuser"):
            if cleaned.get(name) is False and getattr(stored, name) and accounts.would_lock_out(stored):
                self.add_error(name, accounts.LAST.format(stored.get_username()))
        return cleaned


class PasswordForm(AdminPasswordChangeForm):  # type: ignore[misc]
    """Another password; nobody is left without one here."""

    usable_password = None


class MembershipForm(forms.ModelForm):  # type: ignore[type-arg]
    """Who may do what where."""

    role = forms.ChoiceField(choices=list(ROLES.items()), initial=Role.VIEWER, widget=UnfoldAdminRadioSelectWidget)

    class Meta:
        model = Membership
        fields = ["user", "organization", "role"]
