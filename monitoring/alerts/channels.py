"""Channels: make, change, delete and try them. Secrets are sealed, and bound to the address they were entered for."""

import re
import secrets
import time
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils import timezone

from monitoring.alerts import dispatch, notices, outbox, senders
from monitoring.alerts.senders import Later, Refused, smtp
from monitoring.models import Alert, Channel, Delivery, Severity
from moolai.errors import AppError, InvalidInput
from orgs import audit, destinations, sealed, vault
from orgs.models import Organization, User

MAX_RECIPIENTS: Final = 50
MIN_SECRET_LENGTH: Final = 16
ROUTING_KEY: Final = re.compile(r"[A-Za-z0-9_-]{20,64}")
PLAIN: Final = ("name", "min_severity", "is_enabled", "takes_approvals")
SETTINGS: Final = ("recipients", "sender", "username")
USED: Final[Mapping[str, frozenset[str]]] = {
    "slack": frozenset({"url"}),
    "email": frozenset({"url", "secret", *SETTINGS}),
    "pagerduty": frozenset({"secret"}),
    "webhook": frozenset({"url", "secret"}),
}
TEST_SECONDS: Final = 8.0


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of a test notification."""

    is_delivered: bool
    error: str
    duration_ms: int


@dataclass(slots=True)
class _Draft:
    """A channel that is being written, what its audit row will say, and a secret that was made for it."""

    row: Channel
    made: str = field(default="", repr=False)


def create(
    organization: Organization | None, *, kind: str, name: str, acting_user: User | None, **wish: Any
) -> tuple[Channel, str]:
    """Make a channel; return it, and the signing secret where one was made for it ("" otherwise).

    Raises `invalid_field`, and `destination_not_allowed`. The address is looked up before the transaction begins.
    """
    row = Channel(organization=organization, kind=kind)
    _check_address(row, wish)
    draft = _write(row, {"name": name, **wish})
    with transaction.atomic():
        row.save(force_insert=True)
        _record("create", row, acting_user=acting_user, after=shown(row))
    return row, draft.made


def update(channel: Channel, *, acting_user: User | None, **wish: Any) -> tuple[Channel, str]:
    """Change a channel; return it as it is now, and a signing secret that was made for it.

    Another address clears the secret: it is entered again, or for a webhook made anew. Raises as `create` does.
    """
    _check_address(channel, wish)
    with transaction.atomic():
        row = Channel.objects.select_for_update(of=("self",)).get(pk=channel.pk)
        before, ciphers = shown(row), (row.url, row.secret)
        draft = _write(row, wish)
        after = shown(row)
        is_rewired = ciphers != (row.url, row.secret)
        if before == after and not is_rewired:
            return row, ""
        if is_rewired:
            row.failures, row.parked_until, row.last_error = 0, None, ""
        row.save()
        if not row.is_enabled:
            outbox.forget(row, now=timezone.now())
        changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
        _record(
            "update",
            row,
            acting_user=acting_user,
            before={name: before.get(name) for name in changed},
            after={name: after.get(name) for name in changed} | ({"credentials": "changed"} if is_rewired else {}),
        )
    return row, draft.made


def check(channel: Channel, **wish: Any) -> None:
    """Raise what `create` or `update` would for `wish`; nothing is written."""
    _check_address(channel, wish)
    _write(copy(channel), wish)


@transaction.atomic
def delete(channel: Channel, *, acting_user: User | None) -> None:
    """Delete a channel with all that waits for it."""
    _record("delete", channel, acting_user=acting_user, before=shown(channel))
    channel.delete()


def shown(row: Channel) -> dict[str, Any]:
    """Return what readers may see of a channel's settings."""
    plain = {name: getattr(row, name) for name in PLAIN}
    return {"kind": row.kind, **plain, **row.settings, **sealed.masked(row)}


# --- trying ----------------------------------------------------------------------------------------------------------


def try_out(channel: Channel, *, acting_user: User | None, reason: str = "") -> Trial:
    """Send a test notification now, and resolve it where that is a thing; leaves one audit row."""
    trial = _try(channel)
    now = timezone.now()
    state: dict[str, Any] = {"last_error": trial.error[:300], "last_error_at": now}
    if trial.is_delivered:
        state = {"last_ok_at": now, "last_error": "", "failures": 0, "parked_until": None}
    with transaction.atomic():
        Channel.objects.filter(pk=channel.pk).update(**state)
        after = {"is_delivered": trial.is_delivered, "error": trial.error}
        _record("test", channel, acting_user=acting_user, after=after, reason=reason)
    channel.refresh_from_db()
    return trial


def _try(channel: Channel) -> Trial:
    began, error = time.monotonic(), ""
    networks = destinations.allowed_networks(channel.organization_id)
    try:
        for action in ("trigger", "resolve") if channel.kind == Channel.Kind.PAGERDUTY else ("trigger",):
            delivery = Delivery(channel=channel, action=action, notice=_example(channel))
            until = began + TEST_SECONDS
            senders.send(dispatch.write(channel, delivery, allowed_networks=networks, until=until))
    except (Refused, Later, AppError) as problem:
        error = problem.detail if isinstance(problem, AppError) else str(problem)
    return Trial(not error, error, round((time.monotonic() - began) * 1000))


def _example(channel: Channel) -> dict[str, Any]:
    now = timezone.now()
    alert = Alert(
        alert_id="alr_test",
        dedup_key=f"test:{channel.channel_id}",
        organization_id=channel.organization_id or "",
        alert_type="test",
        severity=Severity.INFO,
        title="Test notification from moolai",
        detail=f"The channel “{channel.name}” works. Nothing is wrong.",
        started_at=now,
        last_seen_at=now,
    )
    return notices.of(alert)


# --- checking --------------------------------------------------------------------------------------------------------


def _write(row: Channel, wish: dict[str, Any]) -> _Draft:
    """Put what is wished into the row, checked and sealed (not saved)."""
    used = USED.get(row.kind, frozenset())
    if extra := sorted(set(wish) - set(PLAIN) - used):
        raise InvalidInput(fields=dict.fromkeys(extra, f"a channel of the kind {row.kind} has no such setting"))
    for name in PLAIN:
        setattr(row, name, wish.get(name, getattr(row, name)))
    row.settings = {**row.settings, **{name: wish[name] for name in SETTINGS if name in wish}}
    row.settings = {name: value for name, value in row.settings.items() if value}
    draft = _Draft(row)
    _write_address(draft, wish)
    if row.takes_approvals and row.kind == Channel.Kind.PAGERDUTY:
        raise InvalidInput(fields={"takes_approvals": "PagerDuty has incidents, and takes no links to decide."})
    _CHECKS[row.kind](row)
    _validate(row)
    return draft


def _write_address(draft: _Draft, wish: Mapping[str, Any]) -> None:
    row = draft.row
    if "url" in wish and not sealed.is_same(row, "url", wish["url"]):
        sealed.put(row, "url", wish["url"])
        if wish.get("secret") in (None, "", vault.STARS):
            wish = {**wish, "secret": ""}
    if "secret" in wish and not sealed.is_same(row, "secret", wish["secret"]):
        sealed.put(row, "secret", wish["secret"])
    if row.kind == Channel.Kind.WEBHOOK and not row.secret:
        draft.made = f"whsec_{secrets.token_urlsafe(32)}"
        sealed.put(row, "secret", draft.made)


def _check_address(row: Channel, wish: Mapping[str, Any]) -> None:
    """Refuse an address that may not be called; it is looked up, so no transaction should be open."""
    url = str(wish.get("url") or "")
    if not url or "url" not in USED.get(row.kind, ()) or sealed.is_same(row, "url", url):
        return
    networks = destinations.allowed_networks(row.organization_id)
    if row.kind == Channel.Kind.EMAIL:
        destinations.require(url, allowed_networks=networks, ports=smtp.PORTS, schemes=smtp.SCHEMES)
    else:
        destinations.require(url, allowed_networks=networks)


def _check_slack(row: Channel) -> None:
    if not row.url:
        raise InvalidInput(fields={"url": "Give the address of the incoming webhook."})


def _check_email(row: Channel) -> None:
    recipients = row.settings.get("recipients")
    if not isinstance(recipients, list) or not 1 <= len(recipients) <= MAX_RECIPIENTS:
        raise InvalidInput(fields={"recipients": f"Give 1 to {MAX_RECIPIENTS} addresses."})
    sender = row.settings.get("sender")
    try:
        for address in [*recipients, *([sender] if sender else [])]:
            validate_email(address)
    except ValidationError:
        raise InvalidInput(fields={"recipients": "One of the addresses is no e-mail address."}) from None
    if (row.secret or row.settings.get("username")) and not row.url:
        raise InvalidInput(fields={"url": "A user name or a password is for a server of its own: give its address."})


def _check_pagerduty(row: Channel) -> None:
    if not row.secret or not ROUTING_KEY.fullmatch(sealed.read(row, "secret")):
        raise InvalidInput(fields={"secret": "Give the integration key of an Events API v2 integration."})


def _check_webhook(row: Channel) -> None:
    if not row.url:
        raise InvalidInput(fields={"url": "Give an address."})
    if len(sealed.read(row, "secret")) < MIN_SECRET_LENGTH:
        raise InvalidInput(fields={"secret": f"Give {MIN_SECRET_LENGTH} or more characters, or none to have one made."})


_CHECKS: Final = {
    "slack": _check_slack, "email": _check_email, "pagerduty": _check_pagerduty, "webhook": _check_webhook,
}  # fmt: skip


def _validate(row: Channel) -> None:
    try:
        row.full_clean(exclude=["url", "secret", "organization"], validate_unique=False)
    except ValidationError as error:
        raise InvalidInput(fields={name: " ".join(texts) for name, texts in error.message_dict.items()}) from None


def _record(action: str, row: Channel, *, acting_user: User | None, **change: Any) -> None:
    audit.record(
        f"channel.{action}",
        acting_user=acting_user,
        organization_id=row.organization_id or "",
        target=("channel", row.channel_id),
        **change,
    )
