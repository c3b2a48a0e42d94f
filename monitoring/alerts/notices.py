"""Notices: an alert as channels tell it, written down at the time of the change it tells of."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from django.conf import settings

from monitoring.models import Alert
from orgs import keys

WORDS: Final = {
    "trigger": "Firing", "escalate": "Escalated", "acknowledge": "Acknowledged", "resolve": "Resolved",
}  # fmt: skip
APPROVALS: Final = {"trigger": "Approval needed", "escalate": "Still waits for approval"}
TEXTS: Final = (
    "alert_id", "dedup_key", "organization_id", "orchestrator_id", "rule_key", "alert_type", "severity", "status",
    "title", "detail", "value", "threshold", "acknowledged_by", "escalation_level",
)  # fmt: skip
TIMES: Final = ("started_at", "last_seen_at", "acknowledged_at", "resolved_at")
PATH: Final = "/admin/monitoring/alert/"


def of(alert: Alert) -> dict[str, Any]:
    """Return the alert as JSON; times are ISO 8601 in UTC."""
    found: dict[str, Any] = {name: getattr(alert, name) for name in TEXTS}
    found |= {name: _time(getattr(alert, name)) for name in TIMES}
    link = f"{settings.PUBLIC_URL}{PATH}{alert.pk}/change/" if settings.PUBLIC_URL and alert.pk else ""
    return found | {"url": link}


def is_approval(notice: Mapping[str, Any]) -> bool:
    """Whether it tells of an approval (monitoring/approvals), not of an alert."""
    return "approval_id" in notice


def subject(notice: Mapping[str, Any]) -> str:
    """Return what it tells of, as programs read it."""
    return "approval" if is_approval(notice) else "alert"


def word(notice: Mapping[str, Any], *, action: str) -> str:
    """Return what happened, in a word or two."""
    if not is_approval(notice):
        return WORDS[action]
    return APPROVALS.get(action, str(notice["status"]).capitalize())


def invitation(notice: Mapping[str, Any]) -> str:
    """Return what the link of a notice is called."""
    return "Approve or reject" if notice.get("decides") else "Open in moolai"


def facts(notice: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what there is to know in a line or two, as (name, text)."""
    if is_approval(notice):
        return _approval_facts(notice)
    value, threshold = notice["value"], notice["threshold"]
    found = [
        ("Severity", notice["severity"]),
        ("Organization", notice["organization_id"] or "none: the controller itself"),
        ("Orchestrator", notice["orchestrator_id"]),
        ("Value", "" if value is None else f"{value:g}"),
        ("Threshold", "" if threshold is None else f"{threshold:g}"),
        ("Since", notice["started_at"]),
        ("Acknowledged by", notice["acknowledged_by"]),
        ("Until", notice["resolved_at"]),
    ]
    return [(name, str(text)) for name, text in found if text]


def _approval_facts(notice: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = [
        ("Priority", notice["priority"]),
        ("Organization", notice["organization_id"]),
        ("Task", notice["task_id"]),
        ("Created by", keys.named(str(notice["created_by"]))),
        ("Since", notice["started_at"]),
        ("Decided by", keys.named(str(notice["decided_by"]))),
        ("Until", notice["resolved_at"] or notice["expires_at"]),
    ]
    return [(name, str(text)) for name, text in found if text]


def text(notice: Mapping[str, Any], *, action: str) -> str:
    """Return the notice as plain text."""
    lines = [f"{word(notice, action=action)}: {notice['title']}", ""]
    lines += [str(notice["detail"]), ""] if notice["detail"] else []
    lines += [f"{name}: {words}" for name, words in facts(notice)]
    lines += ["", f"{invitation(notice)}: {notice['url']}"] if notice.get("decides") else []
    lines += ["", str(notice["url"])] if notice["url"] and not notice.get("decides") else []
    return "\n".join(lines) + "\n"


def _time(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None
