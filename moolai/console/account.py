"""The signed-in person's own doors: who may sign in, and changing one's own password."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from unfold.forms import AuthenticationForm

from moolai.errors import AppError
from orgs import accounts, signing_in
from orgs.models import User


class SignIn(AuthenticationForm):  # type: ignore[misc]
    """The console's sign-in; it shows every organization, so only superadmins come in."""

    def clean(self) -> dict[str, Any]:
        """Check the words when it is their turn."""
        try:
            with signing_in.turn():
                return dict(super().clean())
        except ValidationError as problem:
            if problem.code == "invalid_login":
                signing_in.count_refusal(self.request)
            raise
        except AppError as problem:
            raise ValidationError(problem.detail, code=problem.code) from None

    def confirm_login_allowed(self, user: AbstractBaseUser) -> None:
        """Refuse everybody else with one sentence."""
        if not user.is_active:
            raise self.get_invalid_login_error()
        if not (getattr(user, "is_superuser", False) and getattr(user, "is_staff", False)):
            raise ValidationError("Only superadmins may use the console.", code="forbidden")


@transaction.atomic
def password_change(request: HttpRequest) -> HttpResponse:
    """Change one's own password, with its audit row; it ends the API's sign-ins, not this one."""
    user: Any = request.user
    before = user.password if isinstance(user, User) else ""
    response = admin.site.password_change(request)
    if isinstance(user, User) and request.method == "POST":
        if hasattr(response, "render"):
            response.render()
        if User.objects.values_list("password", flat=True).get(pk=user.pk) != before:
            accounts.note_password(user, acting_user=user)
    return response
