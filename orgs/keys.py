"""API keys: make, recognize, look up and revoke. Only a hash of the secret is ever stored."""

import hashlib
import re
import secrets
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from moolai.errors import Conflict, InvalidInput
from orgs import audit, events, names, spending
from orgs.models import ApiKey, Event, Organization, Role, User

ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PREFIX_LENGTH: Final = 8
RANDOM_LENGTH: Final = 32  # 62^32: 190 bits
SCOPES: Final = frozenset({"orchestrator"})
ACTOR: Final = re.compile(r"key key_[0-9a-f]+ \((?P<name>.*?)\)?", re.DOTALL)
_SHAPE: Final = re.compile(rf"mk_[0-9A-Za-z]{{{PREFIX_LENGTH + RANDOM_LENGTH + 6}}}")


@dataclass(frozen=True, slots=True)
class Credential:
    """What a usable key stands for; safe to keep in memory for a few seconds, holds no secret."""

    key_id: str
    organization_id: str
    name: str
    role: str
    scopes: tuple[str, ...]
    orchestrator_id: str
    expires_at: datetime | None
    is_organization_open: bool

    @property
    def actor(self) -> str:
        """How the audit trail names who holds it: the id comes first, it has to survive a name that is cut."""
        return f"key {self.key_id} ({self.name})"  # which `named` reads

    @property
    def may_register(self) -> bool:
        """Whether it may open orchestrator sessions."""
        return "orchestrator" in self.scopes


def named(actor: str) -> str:
    """Return who did something as people know them: of a key its name instead of its id."""
    found = ACTOR.fullmatch(actor)
    return f"API key “{found['name']}”" if found else actor


def _checksum(body: str) -> str:
    value, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        value, digit = divmod(value, 62)
        digits = ALPHABET[digit] + digits
    return digits


def generate() -> str:
    """Return a new secret: `mk_`, 8 characters of prefix, 32 random ones, 6 of CRC-32 checksum (base 62)."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(PREFIX_LENGTH + RANDOM_LENGTH))
    return f"mk_{body}{_checksum(body)}"


def new_id() -> str:
    """Return a public id for a key that is to be made."""
    return f"key_{secrets.token_hex(8)}"


def is_well_formed(secret: str) -> bool:
    """Whether `secret` has a key's shape and checksum: false means a typo, without asking the database."""
    return _SHAPE.fullmatch(secret) is not None and _checksum(secret[3:-6]) == secret[-6:]


def digest(secret: str) -> str:
    """Return the hash under which a secret is stored. A 190-bit random secret needs no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


@transaction.atomic
def create(
    organization: Organization,
    *,
    name: str,
    acting_user: User | None,
    role: str = "",
    scopes: Sequence[str] = (),
    orchestrator_id: str = "",
    expires_at: datetime | None = None,
    key_id: str = "",
    **limits: Any,
) -> tuple[ApiKey, str]:
    """Make a key with either a `role` or `scopes`; return its row and, this one time, its secret.

    `limits` are those of `spending.set_for_key`. `key_id` is one of `new_id`, so that what is sent twice makes one key.
    Raises IntegrityError when it is taken.
    """
    if bool(role) == bool(scopes):
        raise InvalidInput("invalid_field", "Give a key either a role or scopes.", fields={"role": "either or"})
    if role and role not in Role.values:
        raise InvalidInput("invalid_field", f"Roles are {', '.join(Role.values)}.", fields={"role": "unknown"})
    if unknown := sorted(set(scopes) - SCOPES):
        raise InvalidInput("invalid_field", f"Unknown scope {unknown[0]!r}.", fields={"scopes": "unknown"})
    if orchestrator_id and not scopes:
        raise InvalidInput(fields={"orchestrator_id": "Only a key of the scope orchestrator is bound to one."})
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidInput(fields={"expires_at": "This moment has passed."})
    row, secret = _make(
        organization,
        key_id=key_id or new_id(),
        name=names.require(name),
        role=role,
        scopes=list(scopes),
        orchestrator_id=orchestrator_id,
        expires_at=expires_at,
        created_by=acting_user,
    )
    after = {"name": row.name, "role": role, "scopes": list(scopes), "orchestrator_id": orchestrator_id}
    _record("create", row, acting_user=acting_user, after=after | spending.set_for_key(row, **limits))
    return row, secret


def issue(organization: Organization, *, orchestrator_id: str, acting_user: User | None) -> tuple[ApiKey, str]:
    """Make the key of an orchestrator that is just being made, whose audit row names it; return row and secret."""
    return _make(
        organization,
        key_id=new_id(),
        name=f"orchestrator {orchestrator_id}",
        scopes=["orchestrator"],
        orchestrator_id=orchestrator_id,
        created_by=acting_user,
    )


def _make(organization: Organization, **columns: Any) -> tuple[ApiKey, str]:
    secret = generate()
    columns.setdefault("key_id", new_id())
    row = ApiKey.objects.create(
        organization=organization,
        prefix=secret[: 3 + PREFIX_LENGTH],
        secret_hash=digest(secret),
        **columns,
    )
    return row, secret


def _record(action: str, row: ApiKey, *, acting_user: User | None, **change: Any) -> None:
    target = ("api_key", row.key_id)
    audit.record(
        f"api_key.{action}", acting_user=acting_user, organization_id=row.organization_id, target=target, **change
    )


@transaction.atomic
def revoke(row: ApiKey, *, acting_user: User | None) -> None:
    """Make the key useless everywhere within 5 s: sessions opened with it are closed."""
    now = timezone.now()
    if not ApiKey.objects.filter(pk=row.pk, revoked_at=None).update(revoked_at=now):
        return
    row.revoked_at = now
    _record("revoke", row, acting_user=acting_user)
    events.record("api_key.revoked", organization_id=row.organization_id, data={"key_id": row.key_id})


@transaction.atomic
def revoke_bound(orchestrator_id: str, *, organization_id: str) -> list[str]:
    """Make the keys of an orchestrator that is just being deleted useless, and return their ids for its audit row."""
    rows = ApiKey.objects.filter(orchestrator_id=orchestrator_id, organization=organization_id, revoked_at__isnull=True)
    key_ids = list(rows.select_for_update().order_by("pk").values_list("key_id", flat=True))
    ApiKey.objects.filter(key_id__in=key_ids).update(revoked_at=timezone.now())
    events.record_many(
        Event(kind="api_key.revoked", organization_id=organization_id, data={"key_id": key_id}) for key_id in key_ids
    )
    return key_ids


@transaction.atomic
def rotate(row: ApiKey, *, acting_user: User | None, grace_seconds: int) -> tuple[ApiKey, str]:
    """Make a successor with the same rights; return its row and, this one time, its secret.

    The old key works `grace_seconds` longer, or until its own end when that is sooner; without grace it ends now, and
    the sessions it opened are closed within 5 s. Raises `conflict` for a key that has ended already.
    """
    row = ApiKey.objects.select_for_update(of=("self",)).select_related("organization").get(pk=row.pk)
    now, before = timezone.now(), row.expires_at
    if not row.is_usable(now=now):
        raise Conflict(detail="The key is revoked or expired; make a new one.")
    successor, secret = _make(
        row.organization,
        name=row.name,
        role=row.role,
        scopes=row.scopes,
        orchestrator_id=row.orchestrator_id,
        expires_at=before,
        created_by=acting_user,
    )
    spending.copy_to(successor, key=row)
    end = now + timedelta(seconds=grace_seconds)
    row.expires_at = min(before, end) if before else end
    row.save(update_fields=["expires_at"])
    _record(
        "rotate",
        row,
        acting_user=acting_user,
        before={"expires_at": before and before.isoformat()},
        after={
            "expires_at": row.expires_at.isoformat(), "successor": successor.key_id, "grace_seconds": grace_seconds,
        },
    )  # fmt: skip
    kind = "api_key.expiring" if grace_seconds else "api_key.revoked"
    events.record(kind, organization_id=row.organization_id, data={"key_id": row.key_id})
    return successor, secret


def lookup(secrets_: Iterable[str], *, now: datetime) -> dict[str, Credential]:
    """Return the credentials of those `secrets_` that are usable at `now`, in one query, by secret."""
    hashes = {digest(secret): secret for secret in secrets_ if is_well_formed(secret)}
    if not hashes:
        return {}
    rows = ApiKey.objects.filter(secret_hash__in=hashes).select_related("organization")
    return {hashes[row.secret_hash]: _credential(row) for row in rows if row.is_usable(now=now)}


def _credential(row: ApiKey) -> Credential:
    return Credential(
        key_id=row.key_id,
        organization_id=row.organization_id,
        name=row.name,
        role=row.role,
        scopes=tuple(row.scopes),
        orchestrator_id=row.orchestrator_id,
        expires_at=row.expires_at,
        is_organization_open=row.organization.is_open,
    )
