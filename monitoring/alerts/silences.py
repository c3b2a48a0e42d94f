"""Silences: what is known or planned is shown, and nobody is told of it; one room for silence, snooze, maintenance."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from monitoring.alerts.board import Board
from monitoring.models import RANKS, Alert, Rule, Severity, Silence
from moolai.errors import Conflict, InvalidInput
from orchestrators import labels as label_names
from orchestrators.models import Instance
from orgs import audit
from orgs.models import User

MATCHERS: Final = ("organization_id", "orchestrator_id", "labels", "rule_key", "severity", "alert_id")
Labels = Mapping[str, Mapping[str, str]]


def active(*, now: datetime) -> list[Silence]:
    """Return the silences that hold at `now`."""
    return list(Silence.objects.filter(starts_at__lte=now, ends_at__gt=now))


def covers(silence: Silence, alert: Alert, *, labels: Mapping[str, str]) -> bool:
    """Whether everything the silence names fits the alert; `labels` are those of its orchestrator."""
    for name in ("organization_id", "orchestrator_id", "alert_id"):
        wanted = getattr(silence, name)
        if wanted and wanted != getattr(alert, name):
            return False
    if silence.rule_key and silence.rule_key not in (alert.rule_key, alert.alert_type):
        return False
    if silence.severity and RANKS[alert.severity] > RANKS[silence.severity]:
        return False
    return all(labels.get(name) == text for name, text in silence.labels.items())


def mark(board: Board) -> None:
    """Mark the open alerts that a silence covers now, and those that none covers any more."""
    found = active(now=board.now)
    alerts = list(board.open.values())
    labels = _labels({row.orchestrator_id for row in alerts}) if any(row.labels for row in found) else {}
    for alert in alerts:
        own = labels.get(alert.orchestrator_id, {})
        is_silenced = any(covers(silence, alert, labels=own) for silence in found)
        if is_silenced != alert.is_silenced:
            board.silence(alert, is_silenced)


def covering(alert: Alert, *, now: datetime) -> list[Silence]:
    """Return the silences that cover an open alert at `now`, the one that ends last first."""
    found = sorted(active(now=now), key=lambda row: row.ends_at, reverse=True) if alert.is_open else []
    labels = _labels({alert.orchestrator_id}) if any(row.labels for row in found) else {}
    return [row for row in found if covers(row, alert, labels=labels.get(alert.orchestrator_id, {}))]


def _labels(orchestrator_ids: Collection[str]) -> Labels:
    ids = sorted(orchestrator_ids - {""}) if isinstance(orchestrator_ids, set) else list(orchestrator_ids)
    found: dict[str, Mapping[str, str]] = {}
    for start in range(0, len(ids), 5000):
        rows = Instance.objects.filter(orchestrator_id__in=ids[start : start + 5000])
        found |= dict(rows.values_list("orchestrator_id", "labels"))
    return found


@transaction.atomic
def create(
    *,
    kind: str,
    ends_at: datetime,
    acting_user: User | None,
    starts_at: datetime | None = None,
    reason: str = "",
    everything: bool = False,
    **matchers: Any,
) -> Silence:
    """Make a silence of alerts that match all of MATCHERS that are named; raises InvalidInput.

    One that names nothing covers the whole installation: `everything` says that this is meant.
    """
    now = timezone.now()
    starts_at = starts_at or now
    if ends_at <= max(starts_at, now):
        raise InvalidInput(fields={"ends_at": "Name a moment to come, after starts_at."})
    if unknown := set(matchers) - set(MATCHERS):
        raise InvalidInput(fields=dict.fromkeys(sorted(unknown), "is no matcher"))
    if kind not in Silence.Kind.values:
        raise InvalidInput(fields={"kind": f"Kinds are {', '.join(Silence.Kind.values)}."})
    if kind == Silence.Kind.SNOOZE and not matchers.get("alert_id"):
        raise InvalidInput(fields={"alert_id": "A snooze names one alert."})
    if matchers.get("severity") not in (None, "", *Severity.values):
        raise InvalidInput(fields={"severity": f"Severities are {', '.join(Severity.values)}."})
    if problem := _label_problem(matchers.get("labels") or {}):
        raise InvalidInput(fields={"labels": problem})
    if problem := _rule_problem(matchers.get("rule_key") or ""):
        raise InvalidInput(fields={"rule_key": problem})
    if not everything and not any(matchers.values()):
        told = f"Name what is silenced ({', '.join(MATCHERS)}), or send true to silence the whole installation."
        raise InvalidInput(fields={"everything": told})
    row = Silence.objects.create(
        kind=kind, starts_at=starts_at, ends_at=ends_at, reason=reason[:500], created_by=audit.actor(acting_user),
        **{name: value for name, value in matchers.items() if value},
    )  # fmt: skip
    named = {name: value for name, value in matchers.items() if value}
    after = {"kind": kind, "starts_at": starts_at.isoformat(), "ends_at": ends_at.isoformat(), **named}
    _record("create", row, acting_user=acting_user, after=after, reason=reason)
    return row


def _label_problem(labels: Any) -> str:
    try:
        label_names.validate(labels)
    except Exception as problem:  # a ValidationError, whose messages are for people
        return " ".join(getattr(problem, "messages", [str(problem)]))
    return ""


def _rule_problem(key: str) -> str:
    if not key or Rule.objects.filter(Q(rule_key=key) | Q(alert_type=key)).exists():
        return ""
    if Alert.objects.filter(alert_type=key).exists():
        return ""  # of a rule that is gone
    types = Rule.objects.order_by("alert_type").values_list("alert_type", flat=True).distinct()
    return f"There is no such rule. Name the key of one, or a type: {', '.join(types)}."


@transaction.atomic
def end(silence: Silence, *, acting_user: User | None) -> Silence:
    """End a silence now; what still fires is announced by the next run. Raises Conflict when it is over."""
    now = timezone.now()
    row = Silence.objects.select_for_update().get(pk=silence.pk)
    if row.ends_at <= now:
        raise Conflict(detail="The silence is over.")
    before = row.ends_at
    row.starts_at, row.ends_at = min(row.starts_at, now), now
    row.save(update_fields=["starts_at", "ends_at"])
    _record(
        "end", row, acting_user=acting_user, before={"ends_at": before.isoformat()}, after={"ends_at": now.isoformat()}
    )
    return row


def _record(action: str, row: Silence, *, acting_user: User | None, **change: Any) -> None:
    audit.record(
        f"silence.{action}", acting_user=acting_user, organization_id=row.organization_id,
        target=("silence", row.silence_id), **change,
    )  # fmt: skip
