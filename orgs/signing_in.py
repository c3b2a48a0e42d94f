"""Signing in with a password: one check for console and API, counted and locked by django-axes."""

from typing import Any

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.signals import user_logged_in
from django.http import HttpRequest, HttpResponse

from moolai import errors
from moolai.errors import AppError
from orgs.models import User


class LockedOutError(AppError):
    """The user name or the address failed too often."""

    code = "locked_out"

    def __init__(self) -> None:
        super().__init__()
        self.retry_after_seconds = int(settings.AXES_COOLOFF_TIME.total_seconds())


def check(request: HttpRequest, *, username: str, password: str) -> User:
    """Return the active user these words belong to; raises `invalid_login` or `locked_out`."""
    user = authenticate(request, username=username, password=password)
    if getattr(request, "axes_locked_out", False):
        raise LockedOutError
    if not isinstance(user, User) or not user.is_active:
        raise AppError("invalid_login")
    user_logged_in.send(sender=User, request=request, user=user)  # notes last_login, and axes forgets the failures
    return user


def address(request: HttpRequest) -> str:
    """Return the client's address: the server has put the right one into REMOTE_ADDR behind a trusted proxy."""
    return str(request.META.get("REMOTE_ADDR", ""))


def locked_out(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """Answer a locked-out sign-in of the console."""
    response = errors.respond(request, "locked_out")
    response["Retry-After"] = str(int(settings.AXES_COOLOFF_TIME.total_seconds()))
    return response
