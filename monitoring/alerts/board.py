"""The board: all open alerts during one run of the engine, and what the run changes about them, written in bulk."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings

from monitoring.alerts import outbox, words
from monitoring.alerts.judging import Finding
from monitoring.alerts.outbox import Audience
from monitoring.alerts.probes import CONTROLLER
from monitoring.models import RANKS, Alert, Rule, Severity
from orgs import events
from orgs.models import Event

REOPEN: Final = timedelta(minutes=10)  # what comes back sooner is the same alert, and pages nobody before
RESOLVE_AFTER: Final = timedelta(seconds=60)
TOUCH_EVERY: Final = timedelta(seconds=60)
MAX_TIMELINE: Final = 50
CHUNK: Final = 200
NO_CHANNEL: Final = "no channel takes it"
NO_DATA: Final = "No data since"
CHANGED: Final = (
    "rule_key", "severity", "status", "title", "detail", "value", "threshold", "started_at", "last_seen_at",
    "good_since", "acknowledged_at", "acknowledged_by", "resolved_at", "resolved_by", "escalation_level",
    "escalate_at", "reopened", "is_silenced", "is_announced", "announced_at", "announce_at", "parent", "timeline",
    "updated_at",
)  # fmt: skip


def note(alert: Alert, what: str, *, at: datetime, who: str = "", text: str = "") -> None:
    """Add a line to the alert's timeline, which keeps its first and its newest ones."""
    line = {"at": at.isoformat().replace("+00:00", "Z"), "what": what}
    line |= {"who": who} if who else {}
    line |= {"note": text} if text else {}
    alert.timeline = [*alert.timeline, line]
    if len(alert.timeline) > MAX_TIMELINE:
        alert.timeline = [alert.timeline[0], *alert.timeline[-MAX_TIMELINE + 1 :]]


def event(alert: Alert, kind: str, **more: Any) -> Event:
    """Return the event that tells dashboards of a change."""
    data = {"alert_id": alert.alert_id, "severity": alert.severity, "title": alert.title, **more}
    return Event(kind=kind, organization_id=alert.organization_id, orchestrator_id=alert.orchestrator_id, data=data)


class Board:
    """Open alerts by dedup key; changes are collected, and written by `save` in the running transaction."""

    def __init__(self, *, now: datetime) -> None:
        self.now = now
        rows = list(Alert.objects.unresolved().select_for_update().order_by("pk"))
        by_pk = {row.pk: row for row in rows}
        for row in rows:  # one object for each row, and a parent that is over is no parent
            row.parent = by_pk.get(row.parent_id) if row.parent_id else None
        self.open = {row.dedup_key: row for row in rows}
        self.fired: list[Alert] = []
        self._new: list[Alert] = []
        self._changed: dict[int, Alert] = {}
        self._events: list[Event] = []
        self._told: list[tuple[Alert, str, Audience]] = []

    def extend(self, late: timedelta) -> None:
        """Move what is waited for on by a pause of ours: nobody could act meanwhile."""
        for alert in self.open.values():
            for name in ("good_since", "escalate_at"):
                if (moment := getattr(alert, name)) is not None:
                    setattr(alert, name, moment + late)
                    self.change(alert)

    # --- changes ------------------------------------------------------------------------------------------------

    def fire(self, findings: Sequence[Finding]) -> None:
        """Open an alert for each finding; one that was resolved a short while ago opens again."""
        keys = [finding.dedup_key for finding in findings]
        recent = self._recent(keys)
        for finding in findings:
            old = recent.get(finding.dedup_key)
            alert = self._again(old, finding) if old is not None else self._first(finding)
            self.open[alert.dedup_key] = alert
            self.fired.append(alert)

    def _recent(self, keys: Sequence[str]) -> dict[str, Alert]:
        found: dict[str, Alert] = {}
        for start in range(0, len(keys), CHUNK):
            rows = Alert.objects.filter(
                dedup_key__in=keys[start : start + CHUNK], resolved_at__gte=self.now - REOPEN
            ).select_for_update()
            found |= {row.dedup_key: row for row in rows.order_by("resolved_at")}
        return found

    def _first(self, finding: Finding) -> Alert:
        organization_id, orchestrator_id = finding.subject
        alert = Alert(
            dedup_key=finding.dedup_key,
            organization_id=organization_id,
            orchestrator_id=orchestrator_id,
            alert_type=finding.rule.alert_type,
            started_at=self.now,
            announce_at=self.now + _grouping(finding),
        )
        self._describe(alert, finding)
        note(alert, "fired", at=self.now, text=alert.detail)
        self._new.append(alert)
        self._events.append(event(alert, "alert.fired"))
        return alert

    def _again(self, alert: Alert, finding: Finding) -> Alert:
        """Open a resolved alert again; who was told within REOPEN is not told once more until that is over."""
        alert.status, alert.resolved_at, alert.resolved_by = Alert.Status.FIRING, None, ""
        alert.acknowledged_at, alert.acknowledged_by = None, ""
        alert.started_at, alert.reopened = self.now, alert.reopened + 1
        alert.is_announced, alert.escalation_level, alert.escalate_at = False, 0, None
        due = self.now + _grouping(finding)
        alert.announce_at = max(due, alert.announced_at + REOPEN) if alert.announced_at else due
        alert.parent = None
        self._describe(alert, finding)
        note(alert, "came back", at=self.now, text=alert.detail)
        self.change(alert)
        self._events.append(event(alert, "alert.fired", reopened=alert.reopened))
        return alert

    def _describe(self, alert: Alert, finding: Finding) -> None:
        rule, value = finding.rule, finding.reading.value
        who = alert.orchestrator_id or alert.organization_id or "the controller"
        alert.title = f"{rule.title}: {who}"[:300]
        alert.rule_key, alert.severity = rule.rule_key, rule.severity
        alert.value, alert.threshold = value, rule.threshold
        alert.detail = _sentence(finding)
        alert.last_seen_at, alert.good_since = self.now, None

    def renew(self, alert: Alert, finding: Finding, *, own: Rule | None = None, is_ripe: bool = True) -> None:
        """Note that the cause is still there; the severity of an open alert only rises.

        `own` is the rule that made it as severe as it is: the number is told beside its limit. What is not ripe keeps
        an alert open, and makes it no worse.
        """
        is_worse = is_ripe and RANKS[finding.rule.severity] > RANKS[alert.severity]
        is_recent = alert.parent is not None or self.now - alert.last_seen_at < TOUCH_EVERY
        is_fresh = alert.good_since is None and is_recent and NO_DATA not in alert.detail
        if is_fresh and not is_worse:
            return
        if is_worse:
            self._describe(alert, finding)
            self._raise(alert, finding.rule.severity, "became worse")
        alert.last_seen_at, alert.good_since = self.now, None
        self._restate(alert, finding, own)

    def _restate(self, alert: Alert, finding: Finding, own: Rule | None) -> None:
        """Tell the number of now; what the channels were told stays as it was."""
        is_same = own is not None and own.metric == finding.rule.metric
        alert.value = finding.reading.value
        alert.detail = _sentence(Finding(own, finding.subject, finding.reading) if own and is_same else finding)
        self.change(alert)

    def _raise(self, alert: Alert, severity: str, what: str) -> None:
        alert.severity = severity
        note(alert, what, at=self.now, text=severity)
        self.change(alert)
        self._events.append(event(alert, "alert.escalated"))
        if alert.is_announced and not alert.is_silenced:
            self._told.append((alert, "escalate", _audience(alert)))

    def ease(self, alert: Alert, finding: Finding | None = None) -> None:
        """Note that the cause is gone, and resolve the alert once it has been gone for a while.

        `finding` has the number of now, where there is one, beside the rule that holds no more.
        """
        is_over = alert.good_since is not None and self.now - alert.good_since >= RESOLVE_AFTER
        if finding is not None and (alert.good_since is None or is_over):
            self._restate(alert, finding, None)
        if alert.good_since is None:
            alert.good_since = self.now
            self.change(alert)
        elif is_over:
            self.resolve(alert)

    def miss(self, alert: Alert) -> None:
        """Say that no number comes: nobody knows whether the cause is gone, so the alert stays as it is."""
        if NO_DATA not in alert.detail:
            alert.detail = f"{alert.detail[:1900]} {NO_DATA} {alert.last_seen_at:%Y-%m-%d %H:%M} UTC.".strip()
            note(alert, "no data", at=self.now)
            self.change(alert)

    def resolve(self, alert: Alert, *, text: str = "") -> None:
        """End an alert whose cause is gone; `text` says why, where it is for another reason."""
        if text:
            alert.detail = f"{alert.detail[:1900]} {text}".strip()
        close(alert, at=self.now, who="", text=text)
        self.change(alert)
        self._events.append(event(alert, "alert.resolved"))
        if alert.is_announced:
            self._told.append((alert, "resolve", Audience.ALL))
            alert.is_announced = False
        self.open.pop(alert.dedup_key, None)

    def announce(self, alert: Alert) -> None:
        """Tell the channels."""
        alert.is_announced, alert.announced_at = True, self.now
        if alert.severity not in (Severity.INFO, Severity.CRITICAL) and alert.status == Alert.Status.FIRING:
            alert.escalate_at = self.now + timedelta(minutes=settings.ALERT_ESCALATION_MINUTES)
        note(alert, "announced", at=self.now)
        self.change(alert)
        self._told.append((alert, "trigger", _audience(alert)))

    def escalate(self, alert: Alert) -> None:
        """Go one level up, because nobody took it."""
        higher = Severity.values[min(RANKS[alert.severity] + 1, len(RANKS) - 1)]
        alert.escalation_level += 1
        again = self.now + timedelta(minutes=settings.ALERT_ESCALATION_MINUTES)
        alert.escalate_at = again if higher != Severity.CRITICAL else None
        self._raise(alert, higher, "escalated")

    def silence(self, alert: Alert, is_silenced: bool) -> None:
        """Mark an alert as covered by a silence, or no longer."""
        alert.is_silenced = is_silenced
        note(alert, "silenced" if is_silenced else "no longer silenced", at=self.now)
        self.change(alert)

    def adopt(self, children: Iterable[Alert], parent: Alert) -> None:
        """Make alerts part of an incident: who was told of one is told that it is over.

        Of an organization's share the organization's own channels were told; to them it is not over.
        """
        for child in children:
            child.parent = parent
            if not child.is_share:
                child.escalate_at = None
            if child.is_announced:
                self._told.append((child, "resolve", Audience.INSTALLATION if child.is_share else Audience.ALL))
                child.is_announced = child.is_share
            note(child, "part of an incident", at=self.now, text=parent.title)
            self.change(child)

    def release(self, children: Iterable[Alert]) -> None:
        """Let what an incident leaves behind stand for itself."""
        for child in children:
            child.parent, child.announce_at = None, self.now
            note(child, "outlived the incident", at=self.now)
            self.change(child)

    def change(self, alert: Alert) -> None:
        """Note that a row is to be written."""
        if alert.pk is not None:
            self._changed[alert.pk] = alert

    # --- writing ------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write everything: rows, events, and what the channels are told."""
        for level in _levels(self._new):
            Alert.objects.bulk_create(level, batch_size=CHUNK)
        for alert in self._changed.values():
            alert.updated_at = self.now
        _write(self._changed.values(), CHANGED)
        events.record_many(self._events)
        homes = outbox.homes() if self._told else set()
        for alert, action, audience in self._told:
            number = 0
            if audience is not Audience.ORGANIZATION or alert.organization_id in homes:
                number = outbox.enqueue(alert, action, audience=audience)
            if action in ("trigger", "escalate"):
                self._count(alert, number, is_first=action == "trigger")
        told = {alert.pk: alert for alert, action, _ in self._told if action in ("trigger", "escalate")}
        _write(told.values(), ("told_channels", "announced_at", "timeline"))

    def _count(self, alert: Alert, number: int, *, is_first: bool) -> None:
        """Note how many channels the announcement was for; that it was for none is said on the timeline."""
        if number and not is_first and alert.told_channels == 0:  # one was added since
            alert.announced_at = self.now
            note(alert, "announced", at=self.now)
        elif is_first and not number:
            alert.timeline[-1] |= {"what": "nobody was told", "note": NO_CHANNEL}
        alert.told_channels = number if is_first else max(number, alert.told_channels or 0)


def _write(alerts: Collection[Alert], columns: Collection[str]) -> None:
    """Write columns of known rows, one row of VALUES each; bulk_update's CASEs cost fifty times as much."""
    Alert.objects.bulk_create(
        alerts, batch_size=CHUNK, update_conflicts=True, unique_fields=["id"], update_fields=columns
    )


def _sentence(finding: Finding) -> str:
    return (finding.reading.detail or words.finding(finding.rule, finding.reading.value))[:2000]


def _audience(alert: Alert) -> Audience:
    return Audience.ORGANIZATION if alert.is_share else Audience.ALL


def _levels(alerts: Sequence[Alert]) -> list[list[Alert]]:
    """Return new alerts such that parents stand before their children."""
    by_depth: dict[int, list[Alert]] = {}
    for alert in alerts:
        depth, above = 0, alert.parent
        while above is not None:
            depth, above = depth + 1, above.parent
        by_depth.setdefault(depth, []).append(alert)
    return [by_depth[depth] for depth in sorted(by_depth)]


def _grouping(finding: Finding) -> timedelta:
    """Return how long is waited whether an alert turns out to be part of an incident."""
    return timedelta(seconds=settings.ALERT_GROUPING_SECONDS if finding.subject != CONTROLLER else 0)


def close(alert: Alert, *, at: datetime, who: str, text: str = "") -> None:
    """Set what a resolved alert has set."""
    alert.status, alert.resolved_at, alert.resolved_by = Alert.Status.RESOLVED, at, who
    alert.escalate_at = alert.announce_at = None
    note(alert, "resolved", at=at, who=who, text=text)
