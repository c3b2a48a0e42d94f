"""Signing in with a password: one check for console and API, counted and locked by django-axes.

A password costs Argon2 a tenth of a second and 100 MiB, so only a few are checked at once; whoever waits for that
holds no connection to the database, and guesses in parallel take none away from the others.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.signals import user_logged_in
from django.db import connection
from django.http import HttpRequest, HttpResponse

from moolai import errors
from moolai.errors import AppError
from orgs import counters
from orgs.models import User

AT_ONCE: Final = 2  # per process
WAIT_SECONDS: Final = 25.0
_places: Final = threading.BoundedSemaphore(AT_ONCE)


class LockedOutError(AppError):
    """The user name or the address failed too often."""

    code = "locked_out"

    def __init__(self) -> None:
        super().__init__()
        self.retry_after_seconds = int(settings.AXES_COOLOFF_TIME.total_seconds())


def check(request: HttpRequest, *, username: str, password: str) -> User:
    """Return the active user these words belong to; raises `invalid_login`, `locked_out` or `overloaded`."""
    with turn():
        user = authenticate(request, username=username, password=password)
    if not isinstance(user, User) or not user.is_active:
        count_refusal(request)
    if getattr(request, "axes_locked_out", False):
        raise LockedOutError
    if not isinstance(user, User) or not user.is_active:
        raise AppError("invalid_login")
    user_logged_in.send(sender=User, request=request, user=user)  # notes last_login, and axes forgets the failures
    return user


def count_refusal(request: HttpRequest) -> None:
    """Count words that were wrong, for the alerts about it."""
    counters.add("credential.refused", address(request))


@contextmanager
def turn() -> Iterator[None]:
    """Wait for a turn to check a password; raises `overloaded` when too many others wait already."""
    if not connection.in_atomic_block:
        connection.close()  # PostgreSQL: back to the pool
    if not _places.acquire(timeout=WAIT_SECONDS):
        raise AppError("overloaded", "Too many sign-ins at once; try again in a few seconds.")
    try:
        yield
    finally:
        _places.release()


def address(request: HttpRequest) -> str:
    """Return the client's address: the server has put the right one into REMOTE_ADDR behind a trusted proxy."""
    return str(request.META.get("REMOTE_ADDR", ""))


def locked_out(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """Answer a locked-out sign-in of the console."""
    response = errors.respond(request, "locked_out")
    response["Retry-After"] = str(int(settings.AXES_COOLOFF_TIME.total_seconds()))
    return response
