"""Users and their roles in organizations: make, change and close accounts."""

from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from moolai.errors import AppError, Conflict, InvalidInput, NotFound
from orgs import audit, events, names, tokens
from orgs.models import Membership, Organization, User


@transaction.atomic
def create(
    organization: Organization,
    *,
    username: str,
    role: str,
    acting_user: User | None,
    email: str = "",
    password: str = "",
    is_active: bool = True,
) -> Membership:
    """Make a user with a role in `organization`; without a password the account cannot sign in yet.

    Raises `conflict` for a name that is taken, also in other letters of the same meaning, and `invalid_field`.
    """
    username = _as_stored(username)
    if User.objects.filter(username__iexact=username).exists():
        raise Conflict(detail=f"The user name {username} is taken.")
    user = User(username=username, email=email, is_active=is_active)
    _set_password(user, password)
    try:
        user.full_clean(exclude=["password"])
    except ValidationError as error:
        raise InvalidInput(fields={key: " ".join(texts) for key, texts in error.message_dict.items()}) from None
    try:
        with transaction.atomic():
            user.save()
    except IntegrityError:  # somebody else was quicker
        raise Conflict(detail=f"The user name {username} is taken.") from None
    membership = Membership.objects.create(user=user, organization=organization, role=role)
    after = {"email": email, "role": role, "is_active": is_active}
    _record("create", membership, acting_user=acting_user, after=after)
    return membership


@transaction.atomic
def add(user: User, *, organization: Organization, role: str, acting_user: User | None) -> Membership:
    """Give somebody who has an account a role in `organization`; raises `conflict` when there is one already."""
    if Membership.objects.filter(user=user, organization=organization).exists():
        raise Conflict(detail=f"{user.get_username()} has a role in {organization.pk} already.")
    try:
        with transaction.atomic():
            membership = Membership.objects.create(user=user, organization=organization, role=role)
    except IntegrityError:  # somebody else was quicker
        raise Conflict(detail=f"{user.get_username()} has a role in {organization.pk} already.") from None
    _record("add", membership, acting_user=acting_user, after={"role": role})
    events.record("user.changed", organization_id=organization.pk, data={"username": user.get_username()})
    return membership


@transaction.atomic
def update(
    membership: Membership, *, acting_user: User | None, may_be_superadmin: bool = False, **fields: Any
) -> Membership:
    """Change email, password, is_active or role; a new password or a closed account ends open sign-ins.

    Raises `forbidden` for a superadmin unless the caller says that it may be one, `not_found` when the membership has
    just been removed.
    """
    membership = _locked(membership)
    user, before, after = membership.user, dict[str, Any](), dict[str, Any]()
    if user.is_superuser and not may_be_superadmin:
        raise AppError("forbidden", "A superadmin is changed in the console only.")
    if password := fields.pop("password", ""):
        _set_password(user, password)
        before["password"], after["password"] = "***", "changed"
    for name, value in fields.items():
        subject = membership if name == "role" else user
        if getattr(subject, name) != value:
            before[name], after[name] = getattr(subject, name), value
            setattr(subject, name, value)
    if not after:
        return membership
    user.save()
    membership.save(update_fields=["role"])
    _record("update", membership, acting_user=acting_user, before=before, after=after)
    if {"password", "is_active"} & set(after):
        tokens.end_all(user, now=timezone.now())
    events.record("user.changed", organization_id=membership.organization_id, data={"username": user.get_username()})
    return membership


@transaction.atomic
def remove(membership: Membership, *, acting_user: User | None, may_be_superadmin: bool = False) -> None:
    """Take the user out of the organization; an account without any organization left is closed.

    Raises `forbidden` for a superadmin unless the caller says that it may be one: that account stays open.
    """
    membership = _locked(membership)
    user = membership.user
    if user.is_superuser and not may_be_superadmin:
        raise AppError("forbidden", "A superadmin is changed in the console only.")
    _record("delete", membership, acting_user=acting_user, before={"role": membership.role})
    organization_id = membership.organization_id
    membership.delete()
    if not user.is_superuser and not user.memberships.exists():
        user.is_active = False
        user.save(update_fields=["is_active"])
        tokens.end_all(user, now=timezone.now())
    events.record("user.changed", organization_id=organization_id, data={"username": user.get_username()})


def _locked(membership: Membership) -> Membership:
    # The account before its roles, as `accounts` locks them: two writers that meet do not hold what the other wants.
    user = User.objects.select_for_update(no_key=True).filter(pk=membership.user_id).first()
    row = Membership.objects.select_for_update(no_key=True).filter(pk=membership.pk).first()
    if user is None or row is None:
        raise NotFound
    row.user = user
    return row


def _as_stored(username: str) -> str:
    """Return the user name as the database holds it (NFKC): two that mean the same are one; raises `invalid_field`."""
    username = User.normalize_username(names.require(username, field="username"))
    longest = User._meta.get_field("username").max_length or 0
    if len(username) > longest:
        raise InvalidInput(fields={"username": f"At most {longest} characters are taken."})
    if any(letter.isspace() for letter in username):
        raise InvalidInput(fields={"username": "A user name has no spaces."})
    return names.require(username, field="username")


def _set_password(user: User, password: str) -> None:
    if not password:
        user.set_unusable_password()
        return
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise InvalidInput(fields={"password": " ".join(error.messages)}) from None
    user.set_password(password)


def _record(action: str, membership: Membership, *, acting_user: User | None, **change: Any) -> None:
    audit.record(
        f"user.{action}",
        acting_user=acting_user,
        organization_id=membership.organization_id,
        target=("user", membership.user.get_username()),
        **change,
    )
