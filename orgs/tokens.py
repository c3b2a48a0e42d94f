"""Tokens of the HTTP API: short-lived signed access tokens, and refresh tokens that are used once (RFC 8725, RFC 9700).

An access token says who signed in and nothing of what they may do: roles are read from the database on every call.
"""

import hashlib
import secrets
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import jwt
from django.conf import settings
from django.db import transaction
from django.utils.crypto import salted_hmac

from moolai.errors import AppError
from orgs.models import RefreshToken, User

ISSUER: Final = "moolai"
AUDIENCE: Final = "moolai-api"
TYPE: Final = "at+jwt"
ALGORITHM: Final = "HS256"
LEEWAY_SECONDS: Final = 30  # between the clocks of two machines, for what is not yet good; what is over is over


@dataclass(frozen=True, slots=True)
class Pair:
    """What a sign-in or a refresh hands out."""

    access_token: str
    refresh_token: str
    expires_in: int


class ExpiredError(Exception):
    """The access token was good and is too old."""


class InvalidError(Exception):
    """The text is no access token of ours, or its sign-in has ended."""


def _key() -> tuple[str, bytes]:
    """Return the id and the bytes of the signing key; it is derived, so a leak of it does not reveal SECRET_KEY."""
    key = salted_hmac("moolai.access-token", "v1", algorithm="sha256").digest()
    return hashlib.sha256(key).hexdigest()[:8], key


def looks_like_jwt(text: str) -> bool:
    """Whether `text` has the three parts of a JWT."""
    return text.count(".") == 2


@transaction.atomic
def sign_in(user: User, *, now: datetime) -> Pair:
    """Begin a sign-in of `user`."""
    return _issue(user, sign_in_id=secrets.token_hex(12), now=now)


def refresh(text: str, *, now: datetime) -> Pair:
    """Trade a refresh token for the next pair; a token used before ends its sign-in, because somebody copied it."""
    row = RefreshToken.objects.select_related("user").filter(token_hash=_hash(text)).first()
    if row is None or row.expires_at <= now or row.revoked_at is not None or not row.user.is_active:
        raise AppError("unauthenticated", "The refresh token is wrong, expired or revoked; sign in again.")
    with transaction.atomic():
        is_first_use = RefreshToken.objects.filter(pk=row.pk, used_at=None, revoked_at=None).update(used_at=now)
        if is_first_use:
            return _issue(row.user, sign_in_id=row.sign_in_id, now=now)
    _end(row.sign_in_id, now=now)
    raise AppError("unauthenticated", "The refresh token was used before; sign in again.")


def sign_out(text: str, *, now: datetime) -> None:
    """End the sign-in a refresh token belongs to; its access tokens are refused from now on."""
    row = RefreshToken.objects.filter(token_hash=_hash(text)).first()
    if row is not None:
        _end(row.sign_in_id, now=now)


def end_all(user: User, *, now: datetime) -> None:
    """End every sign-in of `user`: a password or a role changed, or the account was closed."""
    RefreshToken.objects.filter(user=user, revoked_at=None).update(revoked_at=now)


def read(text: str) -> User:
    """Return the user of an access token; raises ExpiredError or InvalidError."""
    claims = _claims(text)
    alive = RefreshToken.objects.filter(sign_in_id=claims["sid"], revoked_at=None).values("user")
    user = User.objects.filter(pk__in=alive, username=claims["sub"], is_active=True).first()
    if user is None:
        raise InvalidError
    return user


def lookup(texts: Iterable[str]) -> dict[str, User]:
    """Return the users of those access tokens that are good now, in one query, by token."""
    claims: dict[str, dict[str, Any]] = {}
    for text in texts:
        with suppress(ExpiredError, InvalidError):
            claims[text] = _claims(text)
    sign_ins = {found["sid"] for found in claims.values()}
    rows = RefreshToken.objects.filter(sign_in_id__in=sign_ins, revoked_at=None, user__is_active=True)
    users = {(row.sign_in_id, row.user.get_username()): row.user for row in rows.select_related("user")}
    found = {text: users.get((claim["sid"], claim["sub"])) for text, claim in claims.items()}
    return {text: user for text, user in found.items() if user is not None}


def require_unexpired(claims: Mapping[str, Any]) -> None:
    """Raise ExpiredError when the claim `exp` has passed, by our own clock."""
    if int(claims["exp"]) <= time.time():
        raise ExpiredError


def _claims(text: str) -> dict[str, Any]:
    key_id, key = _key()
    try:
        header = jwt.get_unverified_header(text)
        if header.get("typ") != TYPE or header.get("kid") != key_id:
            raise InvalidError
        claims: dict[str, Any] = jwt.decode(
            text,
            key,
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            audience=AUDIENCE,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iat", "nbf", "iss", "aud", "sub", "sid"]},
        )
    except jwt.ExpiredSignatureError:
        raise ExpiredError from None
    except jwt.InvalidTokenError:
        raise InvalidError from None
    require_unexpired(claims)
    return claims


def _issue(user: User, *, sign_in_id: str, now: datetime) -> Pair:
    key_id, key = _key()
    lifetime = settings.ACCESS_TOKEN_SECONDS
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user.get_username(),
        "sid": sign_in_id,
        "jti": secrets.token_hex(8),
        "iat": now,
        "nbf": now,
        "exp": now + timedelta(seconds=lifetime),
    }
    secret = f"mr_{secrets.token_urlsafe(32)}"
    RefreshToken.objects.create(
        token_hash=_hash(secret),
        sign_in_id=sign_in_id,
        user=user,
        created_at=now,
        expires_at=now + timedelta(days=settings.REFRESH_TOKEN_DAYS),
    )
    token = jwt.encode(claims, key, algorithm=ALGORITHM, headers={"typ": TYPE, "kid": key_id})
    return Pair(token, secret, lifetime)


def _end(sign_in_id: str, *, now: datetime) -> None:
    RefreshToken.objects.filter(sign_in_id=sign_in_id, revoked_at=None).update(revoked_at=now)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
