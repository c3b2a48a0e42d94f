"""Credentials of the flat paths: tokens signed with a shared secret, and keys that stand in the environment (API §2).

Both act in one organization, and never as superadmin. The flat paths are /auth/token, /tasks, /events and /approvals.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

import jwt
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.crypto import salted_hmac

from orgs import audit, keys, names, tokens
from orgs.authentication import BearerAuthentication, Caller
from orgs.models import Organization, Role, User

ALGORITHM: Final = "HS256"
ROLES: Final[Mapping[str, str]] = MappingProxyType(
    {"admin": Role.ADMIN, "operator": Role.OPERATOR, "agent": Role.OPERATOR, "viewer": Role.VIEWER, "user": Role.VIEWER}
)


def issue(user_id: str, *, role: str, organization_id: str, now: datetime, acting_user: User | None) -> tuple[str, int]:
    """Return a token for the flat paths and the seconds it is good for; the audit trail says who got one."""
    lifetime = settings.ACCESS_TOKEN_SECONDS
    claims = {"sub": user_id, "role": role, "org": organization_id, "exp": now + timedelta(seconds=lifetime)}
    audit.record(
        "token.issue",
        acting_user=acting_user,
        organization_id=organization_id,
        target=("token", user_id),
        after={"user_id": user_id, "role": role, "expires_in": lifetime},
    )
    return jwt.encode(claims, _secret(), algorithm=ALGORITHM), lifetime


def identify(text: str) -> Caller | None:
    """Return the caller of a token or key, None for a text that is neither.

    Raises `tokens.ExpiredError` for a good token that is too old.
    """
    if tokens.looks_like_jwt(text):
        return _of_token(text)
    digest = keys.digest(text)
    for name, key in settings.ORCHESTRATOR_API_KEYS.items():
        if hmac.compare_digest(digest, key.digest) and key.role in ROLES:
            return _caller(
                f"{name} in the environment",
                f"env:{name}@{settings.DEFAULT_ORGANIZATION_ID}"[:100],
                ROLES[key.role],
                settings.DEFAULT_ORGANIZATION_ID,
            )
    return None


def _of_token(text: str) -> Caller | None:
    try:
        claims: dict[str, Any] = jwt.decode(
            text,
            _secret(),
            algorithms=[ALGORITHM],
            leeway=tokens.LEEWAY_SECONDS,
            options={"require": ["sub", "role", "exp"], "verify_aud": False, "verify_iss": False},
        )
    except jwt.ExpiredSignatureError:
        raise tokens.ExpiredError from None
    except jwt.InvalidTokenError:
        return None
    tokens.require_unexpired(claims)
    subject, role, organization_id = (
        claims["sub"],
        claims["role"],
        claims.get("org") or settings.DEFAULT_ORGANIZATION_ID,
    )
    if not isinstance(role, str) or role not in ROLES or not _is_name(subject) or not isinstance(organization_id, str):
        return None
    # Hashed whole: two subjects that begin alike must not share counts and stored answers.
    caller_id = hashlib.sha256(f"{organization_id}\n{subject}".encode("utf-8", "surrogatepass")).hexdigest()
    return _caller(f"{subject[:150]} (external token)", f"jwt:{caller_id}", ROLES[role], organization_id)


def _is_name(subject: Any) -> bool:
    """Whether the audit trail can name somebody so: a line of visible characters."""
    try:
        names.check(subject)
    except (TypeError, ValidationError):
        return False
    return True


def _caller(name: str, caller_id: str, role: str, organization_id: str) -> Caller:
    """Return the caller with its role; in an organization that is closed or missing it has none."""
    organization = None
    if organization_id.isprintable():
        organization = Organization.objects.filter(pk=organization_id).first()
    is_open = organization is not None and organization.is_open
    return Caller(name, caller_id, False, {organization_id: role} if is_open else {})


def _secret() -> bytes:
    """Return the shared secret; without one, a key of our own, so that tokens we issue are good here."""
    if settings.ORCHESTRATOR_JWT_SECRET:
        return str(settings.ORCHESTRATOR_JWT_SECRET).encode()
    return salted_hmac("moolai.flat-token", "v1", algorithm="sha256").digest()


class FlatAuthentication(BearerAuthentication):
    """What the flat paths take on top of every other credential."""

    def identify(self, text: str) -> Caller | None:
        """Return the caller of a token or key of the flat paths, else of any other."""
        return identify(text) or super().identify(text)
