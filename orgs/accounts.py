"""Accounts, as a superadmin sees them: who exists, who may sign in, who is superadmin. Roles stand in `orgs.users`.

A change is audited in the chain of the account's one organization; of several or none, in the chain of the system.
"""

from typing import Any, Final

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from moolai.errors import Conflict, NotFound
from orgs import audit, events, tokens
from orgs.models import User

EDITABLE: Final = ("email", "first_name", "last_name", "is_active", "is_superuser")
LAST: Final = (
    "{} is the last active superadmin: without one nobody could open the console. "
    "Make somebody else a superadmin first."
)


@transaction.atomic
def create_superadmin(username: str, *, password: str, acting_user: User | None, email: str = "") -> User:
    """Make a superadmin; raises `conflict` when the name is taken. The caller has validated the password."""
    try:
        with transaction.atomic():
            row = User.objects.create_superuser(username, email, password)
    except IntegrityError:
        raise Conflict(detail=f"The user name {username} is taken.") from None
    after = {"email": email, "is_superuser": True, "is_active": True}
    _record("create", row, acting_user=acting_user, after=after)
    return row


@transaction.atomic
def update(user: User, *, acting_user: User | None, **fields: Any) -> User:
    """Change columns of EDITABLE and return the row; who loses the console or the account is signed out everywhere.

    Raises `conflict` when nobody would be left who can open the console.
    """
    row = _locked(user)
    before = {name: getattr(row, name) for name, value in fields.items() if getattr(row, name) != value}
    if not before:
        return row
    after = {name: fields[name] for name in before}
    is_losing = after.get("is_active") is False or after.get("is_superuser") is False
    if is_losing:
        _require_another(row)
    for name, value in after.items():
        setattr(row, name, value)
    row.is_staff = row.is_superuser  # Django's own flag for the console
    row.save(update_fields=[*after, "is_staff"])
    _record("update", row, acting_user=acting_user, before=before, after=after)
    if is_losing:
        tokens.end_all(row, now=timezone.now())
    _tell(row)
    return row


@transaction.atomic
def note_password(user: User, *, acting_user: User | None) -> None:
    """Leave the traces of a password that was just set: one audit row, and every API sign-in ended."""
    _record("password", user, acting_user=acting_user)
    tokens.end_all(user, now=timezone.now())
    _tell(user)


@transaction.atomic
def delete(user: User, *, acting_user: User | None) -> None:
    """Delete the account with its roles; raises `conflict` for the last active superadmin."""
    row = _locked(user)
    _require_another(row)
    before = {name: getattr(row, name) for name in EDITABLE}
    roles = dict(row.memberships.values_list("organization_id", "role"))
    _record("delete", row, acting_user=acting_user, before=before | {"roles": roles})
    _tell(row)
    row.delete()


def would_lock_out(user: User) -> bool:
    """Whether the console could be opened by nobody if `user` were no active superadmin any more."""
    active = User.objects.filter(is_superuser=True, is_active=True)
    return user.is_active and user.is_superuser and not active.exclude(pk=user.pk).exists()


def _locked(user: User) -> User:
    # All superadmins are locked along, in one order: two of them cannot take the console from each other at once.
    rows = User.objects.select_for_update(no_key=True).filter(Q(pk=user.pk) | Q(is_superuser=True))
    found = {row.pk: row for row in rows.order_by("pk")}
    if user.pk not in found:
        raise NotFound
    return found[user.pk]


def _require_another(row: User) -> None:
    if would_lock_out(row):
        raise Conflict(detail=LAST.format(row.get_username()))


def _organizations(user: User) -> list[str]:
    return list(user.memberships.order_by("organization_id").values_list("organization_id", flat=True))


def _tell(user: User) -> None:
    for organization_id in _organizations(user) or [""]:
        events.record("user.changed", organization_id=organization_id, data={"username": user.get_username()})


def _record(action: str, user: User, *, acting_user: User | None, **change: Any) -> None:
    where = _organizations(user)
    audit.record(
        f"user.{action}",
        acting_user=acting_user,
        organization_id=where[0] if len(where) == 1 else "",
        target=("user", user.get_username()),
        **change,
    )
