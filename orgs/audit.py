"""The audit trail's only writer: one row per administrative change, in the transaction of the change."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from orgs import chain
from orgs.models import AuditEntry, User


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the change being made comes from; set by the door it came through."""

    actor: str = "system"
    remote_address: str = ""
    request_id: str = ""


ACTOR_LENGTH: Final = 200
SYSTEM: Final = Origin()
_origin: ContextVar[Origin] = ContextVar("audit_origin", default=SYSTEM)


@contextmanager
def origin(actor: str, *, remote_address: str = "", request_id: str = "") -> Iterator[None]:
    """Attribute the changes made inside the block to `actor` where no acting user is named."""
    token = _origin.set(Origin(actor, remote_address[:64], request_id))
    try:
        yield
    finally:
        _origin.reset(token)


def record(
    action: str,
    *,
    acting_user: User | None,
    organization_id: str,
    target: tuple[str, str],
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
    actor: str = "",
) -> AuditEntry:
    """Write one row: `target` is (type, public id), `before` and `after` hold the changed fields and no secret."""
    where = _origin.get()
    entry = AuditEntry(
        organization_id=organization_id,
        actor=(actor or _name(acting_user, where))[:ACTOR_LENGTH],
        action=action,
        target_type=target[0],
        target_id=target[1],
        before=dict(before) if before is not None else None,
        after=dict(after) if after is not None else None,
        reason=reason[:500],
        remote_address=where.remote_address,
        request_id=where.request_id,
        created_at=timezone.now(),
    )
    with transaction.atomic():
        chain.append(entry)
        transaction.on_commit(
            partial(chain.keep_head, organization_id, sequence=entry.sequence, entry_hash=entry.hash), robust=True
        )
    return entry


def actor(acting_user: User | None) -> str:
    """Return who makes the changes of the running block, as audit rows name it."""
    return _name(acting_user, _origin.get())[:ACTOR_LENGTH]


def _name(acting_user: User | None, where: Origin) -> str:
    return acting_user.get_username() if acting_user else where.actor


def attribute(actor: str) -> None:
    """Name who makes the changes of the running block, once it is known."""
    where = _origin.get()
    _origin.set(Origin(actor, where.remote_address, where.request_id))
