"""Reaches: what a dashboard's credential may see at this moment. Reads rows, runs in threads."""

import hmac
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from monitoring.dashboard.topics import Scope
from orgs import keys, tokens
from orgs.models import Membership, User


@dataclass(frozen=True, slots=True)
class Credential:
    """What somebody presented: the secret of a header, or the console's session cookie."""

    secret: str = field(repr=False)
    is_cookie: bool = False


def is_static(secret: str) -> bool:
    """Whether `secret` is the superadmin's static token; asks no database."""
    token = settings.DEV_BEARER_TOKEN
    return bool(token) and hmac.compare_digest(secret.encode(), token.encode())


def of_bearer(secret: str) -> Scope | None:
    """Return what an access token or an API key may see, None when it is no good."""
    if tokens.looks_like_jwt(secret):
        return _of_users(tokens.lookup([secret])).get(secret)
    return _of_keys([secret]).get(secret)


def is_suspended(secret: str) -> bool:
    """Whether `secret` is a good API key of an organization that is closed."""
    found = keys.lookup([secret], now=timezone.now()).get(secret)
    return found is not None and not found.is_organization_open


def of_cookie(cookie: str) -> Scope | None:
    """Return what the console's session may see, None when nobody is signed in with it."""
    return _of_users(_signed_in([cookie])).get(cookie)


def of_all(credentials: Collection[Credential]) -> dict[Credential, Scope | None]:
    """Return what each credential may see now, None when it is no good: a few queries, however many there are."""
    static = {one for one in credentials if not one.is_cookie and is_static(one.secret)}
    bearers = {one.secret for one in credentials if not one.is_cookie} - {one.secret for one in static}
    found = _of_keys(text for text in bearers if not tokens.looks_like_jwt(text))
    found |= _of_users(tokens.lookup(text for text in bearers if tokens.looks_like_jwt(text)))
    cookies = _of_users(_signed_in([one.secret for one in credentials if one.is_cookie]))
    reached = {one: (cookies if one.is_cookie else found).get(one.secret) for one in credentials}
    return reached | dict.fromkeys(static, Scope(None))


def _of_keys(secrets: Iterable[str]) -> dict[str, Scope]:
    found: dict[str, Scope] = {}
    for secret, credential in keys.lookup(secrets, now=timezone.now()).items():
        organizations = frozenset({credential.organization_id})
        if credential.is_organization_open and credential.role:
            found[secret] = Scope(organizations)
        elif credential.is_organization_open and credential.may_register:
            found[secret] = Scope(organizations, orchestrator_id=credential.orchestrator_id)
    return found


def _signed_in(cookies: Collection[str]) -> dict[str, User]:
    """Return who is signed in to the console, by session key."""
    rows = import_module(settings.SESSION_ENGINE).SessionStore.get_model_class().objects
    live = rows.filter(session_key__in=cookies, expire_date__gt=timezone.now()) if cookies else []
    stores = {row.session_key: row.get_decoded() for row in live}
    stores = {cookie: store for cookie, store in stores.items() if str(store.get(SESSION_KEY, "")).isdigit()}
    people = User.objects.filter(pk__in={int(store[SESSION_KEY]) for store in stores.values()}, is_active=True)
    users = {str(user.pk): user for user in people} if stores else {}
    found = {cookie: users.get(str(store[SESSION_KEY])) for cookie, store in stores.items()}
    return {cookie: user for cookie, user in found.items() if user is not None and _is_signed(user, stores[cookie])}


def _is_signed(user: User, store: dict[str, Any]) -> bool:
    """Whether a session is of a backend of ours, and no older than the user's password."""
    is_known = store.get(BACKEND_SESSION_KEY) in settings.AUTHENTICATION_BACKENDS
    return is_known and constant_time_compare(store.get(HASH_SESSION_KEY, ""), user.get_session_auth_hash())


def _of_users(users: dict[str, User]) -> dict[str, Scope]:
    """Return what people may see, by what they present."""
    members = {user.pk for user in users.values() if not user.is_superuser}
    homes: dict[int, set[str]] = {pk: set() for pk in members}
    roles = Membership.objects.open().filter(user__in=members).values_list("user", "organization") if members else ()
    for pk, organization_id in roles:
        homes[pk].add(organization_id)
    return {
        text: Scope(None) if user.is_superuser else Scope(frozenset(homes[user.pk])) for text, user in users.items()
    }
