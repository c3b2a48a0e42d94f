"""The outbox of alerts: what the channels are to be told, as rows written in the transaction that changes an alert."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final

from django.db import transaction
from django.db.models import Max, Q, QuerySet
from django.utils import timezone

from monitoring.alerts import notices
from monitoring.models import RANKS, Alert, Channel, Delivery

ACTIONS: Final = ("trigger", "acknowledge", "resolve", "escalate")
LIFETIME: Final = timedelta(hours=24)


class Audience(Enum):
    """Whose channels are told; the value is what `organization__isnull` of a channel has to be."""

    ALL = None
    ORGANIZATION = False
    INSTALLATION = True


Status = Delivery.Status
_listeners: list[Callable[[], None]] = []


def on_wake(listener: Callable[[], None]) -> None:
    """Call `listener` after each transaction that wrote a delivery: a wake-up, which may get lost."""
    _listeners.append(listener)


def enqueue(alert: Alert, action: str, *, not_before: datetime | None = None, audience: Audience = Audience.ALL) -> int:
    """Note, in the running transaction, that the channels, or only those of `audience`, are to be told of `action`.

    Returns how many those are.

    Actions of one alert are told in this order. Of a `trigger` and an `escalate` learn the channels whose severity is
    met, of the others those that were told of the alert. What nobody was told yet is dropped by a `resolve`, and where
    that was everything, so is the `resolve`. An alert that came back is triggered anew with the same dedup key.
    """
    assert action in ACTIONS
    now = timezone.now()
    told = _told(alert.dedup_key, audience)
    if action == "resolve":
        told -= _drop_unsent(alert.dedup_key, audience, now=now)
    channels = _listening(alert, audience, also=told) if action in ("trigger", "escalate") else _open(told)
    _write(notices.of(alert), action, channels, told=told, not_before=not_before or now, now=now)
    return len(channels)


def tell(notice: Mapping[str, Any], action: str, channels: QuerySet[Channel]) -> int:
    """Note, in the running transaction, that these channels are to be told of something that is no alert.

    The same order and the same care as in `enqueue`: what ends is told to those that were told of it.
    """
    assert action in ACTIONS
    now, key = timezone.now(), str(notice["dedup_key"])
    told = _told(key, Audience.ALL)
    if action == "resolve":
        told -= _drop_unsent(key, Audience.ALL, now=now)
    found = _open(told) if action == "resolve" else list(channels.order_by("pk"))
    _write(notice, action, found, told=told, not_before=now, now=now)
    return len(found)


def homes() -> set[str]:
    """Return the organizations that have channels of their own."""
    rows = Channel.objects.filter(organization__isnull=False).order_by()
    return {str(name) for name in rows.values_list("organization_id", flat=True).distinct()}


def forget(channel: Channel, *, now: datetime) -> int:
    """Drop what waits for a channel that is switched off; return how many."""
    rows = Delivery.objects.filter(channel=channel, status=Status.PENDING, lease_until__isnull=True)
    return _drop(rows, "the channel was switched off", now=now)


def _listening(alert: Alert, audience: Audience, *, also: Collection[int]) -> list[Channel]:
    severities = [word for word, rank in RANKS.items() if rank <= RANKS[alert.severity]]
    whose = Q(organization__isnull=True) if audience is not Audience.ORGANIZATION else Q(pk__in=[])
    if alert.organization_id and audience is not Audience.INSTALLATION:
        whose |= Q(organization=alert.organization_id)
    wanted = Q(min_severity__in=severities) | Q(pk__in=list(also))
    return list(Channel.objects.filter(whose, wanted, is_enabled=True).order_by("pk"))


def _open(told: Collection[int]) -> list[Channel]:
    return list(Channel.objects.filter(pk__in=list(told), is_enabled=True).order_by("pk")) if told else []


def _write(
    notice: Mapping[str, Any], action: str, channels: Iterable[Channel], *, told: Collection[int], not_before: datetime,
    now: datetime,
) -> None:  # fmt: skip
    rows = [
        Delivery(
            channel=channel,
            organization_id=notice["organization_id"],
            alert_id=notice["alert_id"],
            dedup_key=notice["dedup_key"],
            action="trigger" if action == "escalate" and channel.pk not in told else action,
            notice=dict(notice),
            created_at=now,
            next_attempt_at=not_before,
            expires_at=not_before + LIFETIME,
        )
        for channel in channels
    ]
    if rows:
        Delivery.objects.bulk_create(rows)
        transaction.on_commit(_wake, robust=True)


def _wake() -> None:
    for listener in _listeners:
        listener()


# --- what a channel knows of an alert --------------------------------------------------------------------------------


def _told(dedup_key: str, audience: Audience) -> set[int]:
    """Return the channels that were told, or are to be told, of the alert since it was resolved there last."""
    rows = _about(dedup_key, audience).exclude(status=Status.DROPPED)
    ends = dict(rows.filter(action="resolve").order_by().values_list("channel").annotate(last=Max("pk")))
    last = dict(rows.order_by().values_list("channel").annotate(last=Max("pk")))
    return {channel for channel, pk in last.items() if pk > ends.get(channel, 0)}


def _about(dedup_key: str, audience: Audience) -> QuerySet[Delivery]:
    rows = Delivery.objects.filter(dedup_key=dedup_key)
    return rows if audience is Audience.ALL else rows.filter(channel__organization__isnull=audience.value)


def _drop_unsent(dedup_key: str, audience: Audience, *, now: datetime) -> set[int]:
    """Drop what no receiver can have seen; return the channels that are left without any word of the alert."""
    rows = _about(dedup_key, audience).select_for_update(of=("self",)).filter(status=Status.PENDING)
    unsent: dict[int, list[int]] = defaultdict(list)
    for row in rows.order_by("pk"):
        is_held = row.lease_until is not None and row.lease_until > now
        if not is_held and not row.may_have_arrived and row.action != "resolve":
            unsent[row.channel_id].append(row.pk)
    pks = [pk for found in unsent.values() for pk in found]
    _drop(Delivery.objects.filter(pk__in=pks), "the alert ended before anybody was told", now=now)
    return set(unsent) - _told(dedup_key, audience) if pks else set()


def _drop(rows: QuerySet[Delivery], reason: str, *, now: datetime) -> int:
    return rows.update(status=Status.DROPPED, finished_at=now, error=reason)
