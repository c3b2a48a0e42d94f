"""Everybody who calls: nobody, roles of A and B, the superadmin, orchestrators' keys; and their dead copies."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.contrib.sessions.models import Session
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from orgs import keys, tokens
from orgs.models import ApiKey, Membership, Organization, User

TOKEN: Final = "a-superadmin-token-for-tests-only"
CSRF: Final = "c" * 32
MEMBERS: Final = {
    "MV": ("A", "viewer"),
    "MO": ("A", "operator"),
    "AA": ("A", "admin"),
    "MB": ("B", "viewer"),
    "AB": ("B", "admin"),
}
ORCHESTRATORS: Final = {"OA": ("A", True), "OU": ("A", False), "OB": ("B", True)}  # whether bound to one
OURS: Final = ("MV", "MO", "AA", "OA", "OU")
ROLES: Final = ("AN", *MEMBERS, "SA", *ORCHESTRATORS)


@dataclass(frozen=True)
class Part:
    """A part to play: `role` is a column of the matrix, `kind` how it signs in, `state` how its credential is."""

    role: str
    kind: str = "key"
    state: str = "good"

    def __str__(self) -> str:
        return f"{self.role}/{self.kind}" + (f"/{self.state}" if self.state != "good" else "")


def _parts() -> list[Part]:
    found = [Part("AN", "none")]
    for state in ("good", "revoked", "expired"):
        found += [Part(role, "key", state) for role in (*MEMBERS, *ORCHESTRATORS)]
        found += [Part(role, kind, state) for kind in ("jwt", "session") for role in (*MEMBERS, "SA")]
    return [*found, Part("SA", "token"), Part("SA", "token", "revoked")]


PARTS: Final = _parts()
GOOD: Final = [part for part in PARTS if part.state == "good"]
DEAD: Final = [part for part in PARTS if part.state != "good"]
STRONGEST: Final = ("SA", "AA", "AN")  # the first of them that has a kind of credential may most with it
IS_WHOLE: Final = os.environ.get("MOOLAI_MATRIX") == "whole"


def some(parts: list[Part], *, turn: int) -> list[Part]:
    """Return, of each kind and state, the role that may most and one more, another with each turn.

    For what a role does not decide. `MOOLAI_MATRIX=whole` has everybody ask everything.
    """
    if IS_WHOLE:
        return parts
    chosen: list[Part] = []
    for look in dict.fromkeys((part.kind, part.state) for part in parts):
        alike = [part for part in parts if (part.kind, part.state) == look]
        first = min(alike, key=lambda part: STRONGEST.index(part.role) if part.role in STRONGEST else len(STRONGEST))
        others = [part for part in alike if part != first]
        chosen += [first, *others[turn % len(others) :][:1]] if others else [first]
    return chosen


def roles(decide: Callable[[Part], object], *, turn: int) -> list[Part]:
    """Return every role with a good credential: A's admin with each kind, the others with one, another with each turn.

    Kinds that `decide` something else for a role are all there. Other roles have other kinds in one turn, so that each
    kind is there, too. `MOOLAI_MATRIX=whole` has everybody ask everything.
    """
    if IS_WHOLE:
        return GOOD
    alike: dict[tuple[str, object], list[Part]] = {}
    for part in GOOD:
        alike.setdefault((part.role, part.kind if part.role == "AA" else decide(part)), []).append(part)
    return [parts[(turn + ROLES.index(role)) % len(parts)] for (role, _), parts in alike.items()]


@dataclass
class Caller:
    """Somebody who plays a part."""

    part: Part
    client: Client
    headers: Mapping[str, str]
    user: User | None = None

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Call the API with a JSON body, as if through a proxy: what is for callers on this host only is closed."""
        options: dict[str, Any] = {"headers": {"X-Forwarded-For": "203.0.113.7", **self.headers, **headers}}
        if body is not None:
            options |= {"data": body, "content_type": "application/json"}
        return _whole(getattr(self.client, method.lower())(path, **options))


def _whole(answer: Any) -> Any:
    """Return a file that is sent in pieces as one answer, so that it can be read more than once."""
    if not answer.streaming:
        return answer
    return HttpResponse(answer.getvalue(), status=answer.status_code, headers=dict(answer.items()))


def person(name: str, organization: Organization | None, role: str) -> User:
    """Make somebody who signs in; without an organization a superadmin."""
    is_root = organization is None
    user = User.objects.create_user(name, f"{name}@example.com", is_superuser=is_root, is_staff=is_root)
    if organization is not None:
        Membership.objects.create(user=user, organization=organization, role=role)
    return user


def signing_in(part: Part, user: User) -> Caller:
    """Sign a person in by token or by the console's session."""
    now, client = timezone.now(), Client(enforce_csrf_checks=True)
    if part.kind == "jwt":
        pair = tokens.sign_in(user, now=now - timedelta(hours=1) if part.state == "expired" else now)
        if part.state == "revoked":
            tokens.sign_out(pair.refresh_token, now=now)
        return Caller(part, client, {"Authorization": f"Bearer {pair.access_token}"}, user)
    client.force_login(user)
    client.cookies[settings.CSRF_COOKIE_NAME] = CSRF
    rows = Session.objects.filter(pk=client.cookies[settings.SESSION_COOKIE_NAME].value)
    if part.state == "revoked":
        rows.delete()
    elif part.state == "expired":
        rows.update(expire_date=now - timedelta(seconds=1))
    return Caller(part, client, {"X-CSRFToken": CSRF}, user)


def with_key(part: Part, organization: Organization, *, role: str = "", orchestrator_id: str = "") -> Caller:
    """Make a key with a role, or with the scope orchestrator; revoked or expired where the part says so."""
    scopes = () if role else ("orchestrator",)
    row, secret = keys.create(
        organization, name=f"{part}", acting_user=None, role=role, scopes=scopes, orchestrator_id=orchestrator_id
    )
    if part.state == "revoked":
        keys.revoke(row, acting_user=None)
    elif part.state == "expired":
        ApiKey.objects.filter(pk=row.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    return Caller(part, Client(), {"Authorization": f"Bearer {secret}"})


def plain(part: Part) -> Caller:
    """Return nobody, or the bearer of the static token (a wrong one, where it is revoked)."""
    if part.kind == "none":
        return Caller(part, Client(), {})
    return Caller(part, Client(), {"Authorization": f"Bearer {TOKEN}{'x' * (part.state == 'revoked')}"})
