"""Alerts that events raise: an event rule of an organization fitted, and the event says so (`alerts`).

The engine reads each event once, so each raises or renews its alert once. Such an alert has no number that could say
that the cause is gone: it ends when a person ends it, or when no such event came for QUIET.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, cast

from monitoring.alerts.board import Board
from monitoring.alerts.judging import Finding
from monitoring.alerts.probes import Reading
from monitoring.models import Alert, Rule, Severity
from orgs.models import Event

KIND: Final = "event.published"
PREFIX: Final = "event."
QUIET: Final = timedelta(hours=1)


def findings(happened: Sequence[Event]) -> dict[str, Finding]:
    """Return by dedup key what the new events raise, as findings of a rule that stands in no table."""
    told: dict[str, list[tuple[Event, Mapping[str, Any]]]] = {}
    for event in happened:
        for raised in event.data.get("alerts", ()) if event.kind == KIND else ():
            told.setdefault(f"{raised['rule_id']}/{event.organization_id}", []).append((event, raised))
    found = [_finding(pairs) for pairs in told.values()]
    return {finding.dedup_key: finding for finding in found}


def _finding(pairs: Sequence[tuple[Event, Mapping[str, Any]]]) -> Finding:
    event, raised = pairs[-1]
    key = f"{PREFIX}{raised['rule_id']}"
    severity, nothing = Severity(raised["severity"]), cast(float, None)  # there is no number to compare
    rule = Rule(rule_key=key, alert_type=key, title=str(raised["title"]), severity=severity, threshold=nothing)
    who = f"{event.data['event_type']} from {event.data['source_agent']} at {event.created_at:%Y-%m-%d %H:%M:%S} UTC"
    times = f"{len(pairs)} events, the last: " if len(pairs) > 1 else ""
    return Finding(rule, (event.organization_id, ""), Reading(float(len(pairs)), f"{times}{who}."))


def is_one(alert: Alert) -> bool:
    """Whether an event raised it."""
    return alert.alert_type.startswith(PREFIX)


def settle(board: Board, alert: Alert) -> None:
    """Resolve an alert that no event renewed for QUIET."""
    if board.now - alert.last_seen_at >= QUIET:
        board.resolve(alert, text="No such event for an hour.")
