"""Reaches: what a dashboard's credential may see at this moment. Reads rows, runs in threads."""

import hmac
from importlib import import_module

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from monitoring.dashboard.topics import Scope
from orgs import keys, tokens
from orgs.models import User


def is_static(secret: str) -> bool:
    """Whether `secret` is the superadmin's static token; asks no database."""
    token = settings.DEV_BEARER_TOKEN
    return bool(token) and hmac.compare_digest(secret.encode(), token.encode())


def of_bearer(secret: str) -> Scope | None:
    """Return what an access token or an API key may see, None when it is no good."""
    if tokens.looks_like_jwt(secret):
        return _of_token(secret)
    credential = keys.lookup([secret], now=timezone.now()).get(secret)
    if credential is None or not credential.is_organization_open:
        return None
    organizations = frozenset({credential.organization_id})
    if credential.role:
        return Scope(organizations)
    return Scope(organizations, orchestrator_id=credential.orchestrator_id) if credential.may_register else None


def of_cookie(cookie: str) -> Scope | None:
    """Return what the console's session may see, None when nobody is signed in with it."""
    store = import_module(settings.SESSION_ENGINE).SessionStore(cookie)
    user = User.objects.filter(pk=store.get(SESSION_KEY) or 0, is_active=True).first()
    is_known = store.get(BACKEND_SESSION_KEY) in settings.AUTHENTICATION_BACKENDS
    if (
        user is None
        or not is_known
        or not constant_time_compare(store.get(HASH_SESSION_KEY, ""), user.get_session_auth_hash())
    ):
        return None
    return _of_user(user)


def _of_token(text: str) -> Scope | None:
    try:
        return _of_user(tokens.read(text))
    except (tokens.ExpiredError, tokens.InvalidError):
        return None


def _of_user(user: User) -> Scope:
    if user.is_superuser:
        return Scope(None)
    return Scope(frozenset(user.open_memberships().values_list("organization_id", flat=True)))
