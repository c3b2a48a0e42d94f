"""Signed links: who holds one may decide one approval, once, before it expires. Nothing is stored.

A link is made for a channel when a message goes out, and is bound to where that channel leads: it is worthless as soon
as the channel is switched off, deleted, told no more of approvals, or leads elsewhere. One use, as an approval is
decided once. https://docs.djangoproject.com/en/5.2/topics/signing/ (salted HMAC under SECRET_KEY)
"""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

from monitoring.models import Channel
from moolai.errors import NotFound
from orchestrators.models import Approval
from orchestrators.work import approvals
from orgs import sealed
from orgs.models import Organization

PREFIX: Final = "apl_"  # moolai/logs.py knows it
PATH: Final = "/decide/"
SALT: Final = "moolai.approval-link"
MAC_BYTES: Final = 32
MAX_LENGTH: Final = 400


@dataclass(frozen=True, slots=True)
class Link:
    """What a good link stands for."""

    approval: Approval
    channel: Channel
    expires_at: datetime

    def is_over(self, *, now: datetime) -> bool:
        """Whether it came too late."""
        return self.expires_at <= now

    @property
    def holder(self) -> str:
        """Return who a decision through it is recorded as."""
        return f"link sent to {self.channel.name}"


def address(approval_id: str, channel: Channel, *, organization_id: str, now: datetime, until: str | None) -> str:
    """Return the link for a channel, good for APPROVAL_LINK_HOURS and no longer than `until` (ISO 8601).

    "" where the installation has no PUBLIC_URL, where links are off, and where nobody may approve their own: a link
    does not say who opens it.
    """
    if not settings.PUBLIC_URL or not settings.APPROVAL_LINK_HOURS or not channel.takes_approvals:
        return ""
    approval = Approval.objects.select_related("task__organization").filter(approval_id=approval_id).first()
    if approval is None or approval.task.organization_id != organization_id or is_withheld(approval):
        return ""
    expires_at = now + timedelta(hours=settings.APPROVAL_LINK_HOURS)
    if until is not None:
        expires_at = min(expires_at, datetime.fromisoformat(until))
    return f"{settings.PUBLIC_URL}{PATH}{sign(approval_id, channel, expires_at=expires_at)}"


def sign(approval_id: str, channel: Channel, *, expires_at: datetime) -> str:
    """Return the token of a link."""
    said = f"{approval_id}:{channel.channel_id}:{int(expires_at.timestamp())}"
    return PREFIX + base64.urlsafe_b64encode(_mac(said, channel) + said.encode()).decode().rstrip("=")


def read(token: str) -> Link:
    """Return what a token stands for; raises NotFound unless it was made here, for a channel as it is now.

    That of a suspended organization is none.
    """
    said, mac = _opened(token)
    approval_id, channel_id, seconds = said.split(":")
    channel = Channel.objects.filter(channel_id=channel_id, is_enabled=True, takes_approvals=True).first()
    if channel is None or not constant_time_compare(_mac(said, channel), mac):
        raise NotFound
    is_open = Organization.open_at("task__organization__")
    rows = Approval.objects.select_related("task__organization").filter(is_open, approval_id=approval_id)
    if channel.organization_id is not None:
        rows = rows.filter(task__organization_id=channel.organization_id)
    approval = rows.first()
    if approval is None:
        raise NotFound
    return Link(approval, channel, datetime.fromtimestamp(int(seconds), UTC))


def is_withheld(approval: Approval) -> bool:
    """Whether its organization forbids approving one's own: then a person has to sign in."""
    return approvals.forbids_own(approval.task.organization)


def _opened(token: str) -> tuple[str, bytes]:
    if not token.startswith(PREFIX) or len(token) > MAX_LENGTH or not token.isascii():
        raise NotFound
    text = token.removeprefix(PREFIX)
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        said = raw[MAC_BYTES:].decode("ascii")
    except (binascii.Error, ValueError):
        raise NotFound from None
    if said.count(":") != 2:
        raise NotFound
    return said, raw[:MAC_BYTES]


def _mac(said: str, channel: Channel) -> bytes:
    place = json.dumps([said, sealed.read(channel, "url"), channel.settings], sort_keys=True)
    return salted_hmac(SALT, place, algorithm="sha256").digest()
