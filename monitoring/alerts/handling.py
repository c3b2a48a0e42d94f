"""What people do about alerts: take one on, or end it; with an audit row, an event and a word to the channels."""

from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone

from monitoring.alerts import outbox
from monitoring.alerts.board import close, event, note
from monitoring.models import Alert
from moolai.errors import Conflict
from orgs import audit, events
from orgs.models import User


@transaction.atomic
def acknowledge(alert: Alert, *, acting_user: User | None, reason: str = "") -> Alert:
    """Take an alert on: it is escalated no further. Raises Conflict unless it fires."""
    row, now = _locked(alert), timezone.now()
    if row.status != Alert.Status.FIRING:
        raise Conflict(detail=f"The alert is {row.status}.")
    who = audit.actor(acting_user)
    row.status, row.acknowledged_at, row.acknowledged_by = Alert.Status.ACKNOWLEDGED, now, who
    row.escalate_at = None
    note(row, "acknowledged", at=now, who=who, text=reason)
    row.save(update_fields=["status", "acknowledged_at", "acknowledged_by", "escalate_at", "timeline", "updated_at"])
    _record("acknowledge", row, acting_user=acting_user, reason=reason)
    events.record_many([event(row, "alert.acknowledged", by=who)])
    if row.is_announced:
        outbox.enqueue(row, "acknowledge")
    return row


@transaction.atomic
def resolve(alert: Alert, *, acting_user: User | None, reason: str = "") -> Alert:
    """End an alert by hand, an incident with its children. Raises Conflict when it is over.

    A cause that is still there opens it again, without a new announcement for ten minutes.
    """
    row, now = _locked(alert), timezone.now()
    if not row.is_open:
        raise Conflict(detail="The alert is resolved.")
    who = audit.actor(acting_user)
    children = list(_family(row))
    for one in (row, *children):
        was_announced = one.is_announced
        close(one, at=now, who=who, text=reason)
        one.is_announced = False
        if was_announced:
            outbox.enqueue(one, "resolve")
    fields = [
        "status", "resolved_at", "resolved_by", "escalate_at", "announce_at", "is_announced", "timeline", "updated_at",
    ]  # fmt: skip
    Alert.objects.bulk_update([row, *children], [*fields], batch_size=200)
    before = {"status": alert.status}
    _record("resolve", row, acting_user=acting_user, reason=reason, before=before)
    events.record_many(event(one, "alert.resolved", by=who) for one in (row, *children))
    return row


def _locked(alert: Alert) -> Alert:
    return Alert.objects.select_for_update().get(pk=alert.pk)


def _family(incident: Alert) -> Sequence[Alert]:
    """Return the open alerts below an incident, at any depth."""
    found: list[Alert] = []
    parents = [incident.pk]
    while parents:
        level = list(Alert.objects.unresolved().filter(parent__in=parents).select_for_update().order_by("pk"))
        found += level
        parents = [row.pk for row in level]
    return found


def _record(
    action: str, row: Alert, *, acting_user: User | None, reason: str, before: dict[str, str] | None = None
) -> None:
    audit.record(
        f"alert.{action}",
        acting_user=acting_user,
        organization_id=row.organization_id,
        target=("alert", row.alert_id),
        before=before,
        after={"status": row.status, "title": row.title},
        reason=reason,
    )
