"""PagerDuty: the Events API v2. One incident for each dedup key: triggered, acknowledged, resolved.

https://developer.pagerduty.com/docs/events-api-v2-overview
"""

import hashlib
from typing import Any, Final

from django.conf import settings

from monitoring.alerts import notices
from monitoring.alerts.senders import letters
from monitoring.alerts.senders.letters import Later, Letter
from orgs import destinations
from orgs.destinations import Unresolved

PATH: Final = "/v2/enqueue"
EVENTS: Final = {"trigger": "trigger", "escalate": "trigger", "acknowledge": "acknowledge", "resolve": "resolve"}
SUMMARY_LENGTH, KEY_LENGTH = 1_024, 255  # PagerDuty's own limits


def send(letter: Letter) -> None:
    """Send one event; raises Refused or Later."""
    try:
        destination = destinations.trusted(settings.PAGERDUTY_BASE_URL.rstrip("/") + PATH)
    except Unresolved as problem:
        raise Later(str(problem)) from None
    letters.post(destination, letters.encode(event(letter)), headers={}, until=letter.until)


def event(letter: Letter) -> dict[str, Any]:
    """Return the event; our four severities are PagerDuty's."""
    notice, kind = letter.notice, EVENTS[letter.action]
    found: dict[str, Any] = {
        "routing_key": letter.secret,
        "event_action": kind,
        "dedup_key": key(letter.dedup_key),
    }
    if kind != "trigger":
        return found
    found["payload"] = {
        "summary": str(notice["title"])[:SUMMARY_LENGTH],
        "source": notice["orchestrator_id"] or notice["organization_id"] or "controller",
        "severity": notice["severity"],
        "timestamp": notice["started_at"],
        "component": notice["orchestrator_id"] or "",
        "group": notice["organization_id"] or "",
        "class": notice["alert_type"],
        "custom_details": {**dict(notices.facts(notice)), "detail": notice["detail"], "alert_id": notice["alert_id"]},
    }
    found["client"] = "moolai"
    if notice["url"]:
        found["client_url"] = notice["url"]
    return found


def key(dedup_key: str) -> str:
    """Return the dedup key as PagerDuty takes it: a long one by its hash."""
    if len(dedup_key) <= KEY_LENGTH:
        return dedup_key
    return hashlib.sha256(dedup_key.encode()).hexdigest()
