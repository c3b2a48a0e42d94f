"""Who calls the HTTP API: the superadmin's token, an API key, or the console's session."""

import hmac
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.request import Request

from moolai.errors import AppError, Forbidden
from orgs import counters, keys, tokens
from orgs.keys import Credential
from orgs.models import Role, User


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with a good credential: a superadmin, or a role in some organizations.

    `name` is what the audit trail says, `caller_id` what counts and stored answers are kept under.

    An orchestrator's key has no role at all: only the doors that look at `key` let it in.
    """

    name: str
    caller_id: str
    is_superadmin: bool
    roles: dict[str, str]
    user: User | None = None
    is_authenticated: bool = True
    key: Credential | None = None

    def may_read(self, organization_id: str) -> bool:
        """Whether the caller has any role in the organization."""
        return self.is_superadmin or organization_id in self.roles

    @property
    def authority(self) -> dict[str, Any]:
        """What the caller may do at this moment, as JSON: its roles, and what its key is bound to."""
        bound = [self.key.organization_id, self.key.orchestrator_id, sorted(self.key.scopes)] if self.key else []
        return {"is_superadmin": self.is_superadmin, "roles": self.roles, "key": bound}

    def may_write(self, organization_id: str) -> bool:
        """Whether the caller administers the organization."""
        return self.is_superadmin or self.roles.get(organization_id) == Role.ADMIN


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer …` or `X-API-Key: …` (API §2)."""

    def authenticate(self, request: Request) -> tuple[Caller, str] | None:
        """Return the caller; None without such a header; raises what `_refused` says for one that fails."""
        secret = presented(request)
        if not secret:
            if request.headers.get("Authorization", ""):
                raise _refused(request, "Send `Authorization: Bearer …`.")
            return None
        try:
            caller = self.identify(secret)
        except tokens.ExpiredError:
            raise AppError("token_expired") from None
        if caller is None:
            counters.add("credential.refused", str(request.META.get("REMOTE_ADDR", "")))
            raise _refused(request, "The credential is wrong, expired or revoked.")
        return caller, "credential"

    def identify(self, text: str) -> Caller | None:
        """Return whose credential `text` is, None when it is nobody's; raises `tokens.ExpiredError`."""
        if settings.DEV_BEARER_TOKEN and hmac.compare_digest(text.encode(), settings.DEV_BEARER_TOKEN.encode()):
            return Caller("static token", "token", True, {})
        if tokens.looks_like_jwt(text):
            try:
                return _of_user(tokens.read(text))
            except tokens.InvalidError:
                return None
        credential = keys.lookup([text], now=timezone.now()).get(text)
        if credential is None or not credential.is_organization_open:
            return None
        roles = {credential.organization_id: credential.role} if credential.role else {}
        return Caller(credential.actor, f"key:{credential.key_id}", False, roles, key=credential)

    def authenticate_header(self, request: Request) -> str:
        """Make a missing credential a 401."""
        return 'Bearer realm="moolai"'


def again(request: Request) -> None:
    """Have a request that lasts come from its caller as it is now; raises where its credential is no good any more."""
    plain: Any = request._request
    if (session := getattr(plain, "session", None)) is not None:
        plain.session = type(session)(session.session_key)
        plain.user = get_user(plain)
    found = next((one for each in request.authenticators or () if (one := each.authenticate(request))), None)
    if found is None:
        raise AppError("unauthenticated")
    request.user = found[0]  # type: ignore[assignment]  # here a user of a request is a Caller


def presented(request: Request) -> str:
    """Return the secret in the request's headers, "" without one."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else request.headers.get("X-API-Key", "").strip()


def _refused(request: Request, detail: str) -> AppError:
    """Return 403 where that is the published contract (API §2), 401 elsewhere."""
    if request.path.startswith(("/api/v1/controller/", "/api/v1/internal/")):
        return Forbidden(detail=detail)
    return AppError("unauthenticated", detail)


class ConsoleSessionAuthentication(SessionAuthentication):
    """The console's cookie, with its CSRF token on writes."""

    def authenticate(self, request: Request) -> tuple[Caller, None] | None:
        """Return the signed-in user as a caller."""
        user = getattr(request._request, "user", None)
        if not isinstance(user, User) or not user.is_active:
            return None
        self.enforce_csrf(request)
        return _of_user(user), None

    def enforce_csrf(self, request: Request) -> None:
        """Refuse a write without the form's token."""
        try:
            # Django's own request: DRF's would read the body to look for a form in it.
            super().enforce_csrf(request._request)  # type: ignore[arg-type]
        except Exception:
            counters.add("origin.refused", str(request.META.get("REMOTE_ADDR", "")))
            raise AppError("csrf_failed") from None


def caller_id(user: User) -> str:
    """Return what a person's session and tokens count under."""
    return f"user:{user.pk}"


def _of_user(user: User) -> Caller:
    """Return a person as a caller, with the roles of this moment in organizations that are open."""
    roles = dict(user.memberships.open().values_list("organization_id", "role"))
    return Caller(user.get_username(), caller_id(user), user.is_superuser, roles, user)
