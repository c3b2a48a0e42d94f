"""The states of an API key, as badges and as a filter: active, expiring, expired, revoked."""

from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import RadioFilter

from orgs.admin.base import ago, badge, exact, until
from orgs.models import ApiKey

SOON: Final = timedelta(days=7)  # an end this near is shown as a state of its own
STATES: Final = {"active": "Active", "expiring": "Expiring within 7 days", "expired": "Expired", "revoked": "Revoked"}


def of(row: ApiKey, *, now: datetime) -> str:
    """Return which of STATES the key is in."""
    if row.revoked_at is not None:
        return "revoked"
    if not row.is_usable(now=now):
        return "expired"
    return "expiring" if row.expires_at is not None and row.expires_at <= now + SOON else "active"


def show(row: ApiKey, *, now: datetime) -> SafeString:
    """Show the state as a badge; an end that is near says how near."""
    state = of(row, now=now)
    if state == "expiring" and row.expires_at is not None:
        return badge("amber", "◔", f"Expiring {until(row.expires_at, now=now)}")
    tone, glyph = {"active": ("green", "●"), "expired": ("gray", "○"), "revoked": ("red", "✖")}[state]
    return badge(tone, glyph, STATES[state])


def end(row: ApiKey, *, now: datetime) -> SafeString:
    """Show when the key ends, or ended: by being revoked, or by its own date."""
    moment = row.revoked_at or row.expires_at
    if moment is None:
        return SafeString("never")
    if moment <= now:
        return ago(moment)
    return format_html('<time class="mo-whole" title="{}">{}</time>', exact(moment), until(moment, now=now))


class StateFilter(RadioFilter):  # type: ignore[misc]
    """Narrows to keys in one state."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states."""
        return list(STATES.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        """Apply the chosen one."""
        now = timezone.now()
        standing, ended = Q(revoked_at=None), Q(expires_at__lte=now)
        chosen = {
            "active": standing & (Q(expires_at=None) | Q(expires_at__gt=now + SOON)),
            "expiring": standing & Q(expires_at__gt=now, expires_at__lte=now + SOON),
            "expired": standing & ended,
            "revoked": ~standing,
        }.get(self.value() or "")
        return queryset if chosen is None else queryset.filter(chosen)
