"""Claims: which deliveries go out now, who holds them, and what became of them.

A claim is a row held under a random name until its lease ends; only that name may settle it, so a worker that slept
through its lease changes nothing. A channel is locked while its deliveries are claimed: of one dedup key there is never
more than one on its way, and of a channel that fails never more than one at all.
"""

import random
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import Exists, Min, OuterRef, Q, QuerySet

from monitoring.models import Channel, Delivery

LEASE_SECONDS: Final = 20.0  # longer than a lookup and a send together (SEND_SECONDS in dispatch.py)
PARALLEL: Final = 4
MAX_BACKOFF_SECONDS: Final = 45.0
MAX_WAIT_SECONDS: Final = 3_600.0  # of what a receiver asks for
EXPIRED_AT_ONCE: Final = 2_000
Status = Delivery.Status


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that may be sent now, with its channel; `had_arrived` is what was known before this attempt."""

    delivery: Delivery
    channel: Channel
    holder: str
    had_arrived: bool


def waiting(*, now: datetime) -> list[int]:
    """Return the channels that have something to send now and are not left alone, the longest waiting first."""
    free = Q(lease_until__isnull=True) | Q(lease_until__lte=now)
    open_ = Q(channel__parked_until__isnull=True) | Q(channel__parked_until__lte=now)
    rows = Delivery.objects.filter(
        free, open_, status=Status.PENDING, next_attempt_at__lte=now, channel__is_enabled=True
    )
    first = rows.order_by().values("channel_id").annotate(first=Min("next_attempt_at")).order_by("first")
    return [row["channel_id"] for row in first]


@transaction.atomic
def take(channel_id: int, *, now: datetime, limit: int = PARALLEL) -> list[Claim]:
    """Claim what a channel may be told now, oldest first, and drop a resolve of what it was never told."""
    channel = (
        Channel.objects.select_for_update(no_key=True, of=("self",)).filter(pk=channel_id, is_enabled=True).first()
    )
    if channel is None or channel.is_parked(now=now):
        return []
    if channel.failures:
        held = Delivery.objects.filter(channel=channel, status=Status.PENDING, lease_until__gt=now)
        limit = 0 if held.exists() else min(limit, 1)
    rows = list(_next(channel, now=now)[:limit]) if limit > 0 else []
    return [claim for row in rows if (claim := _hold(row, channel, now=now)) is not None]


def _next(channel: Channel, *, now: datetime) -> QuerySet[Delivery]:
    free = Q(lease_until__isnull=True) | Q(lease_until__lte=now)
    rows = Delivery.objects.filter(channel=channel, status=Status.PENDING)
    before = rows.filter(dedup_key=OuterRef("dedup_key"), pk__lt=OuterRef("pk"))
    due = rows.filter(free, next_attempt_at__lte=now, expires_at__gt=now).exclude(Exists(before)).order_by("pk")
    return due.select_for_update(skip_locked=True, of=("self",))


def _hold(row: Delivery, channel: Channel, *, now: datetime) -> Claim | None:
    if row.action != "trigger" and not row.may_have_arrived and not _was_told(row):
        if row.action != "escalate":
            _drop(row, now=now)
            return None
        row.action = "trigger"
    holder, had_arrived = secrets.token_hex(12), row.may_have_arrived
    row.attempts, row.lease_until = row.attempts + 1, now + timedelta(seconds=LEASE_SECONDS)
    row.holder, row.may_have_arrived = holder, True  # until the attempt says otherwise
    row.save(update_fields=["action", "attempts", "lease_until", "holder", "may_have_arrived"])
    return Claim(row, channel, holder, had_arrived)


def _was_told(row: Delivery) -> bool:
    """Whether the channel may have heard of the alert since it was resolved there last."""
    earlier = Delivery.objects.filter(channel=row.channel_id, dedup_key=row.dedup_key, pk__lt=row.pk)
    end = earlier.filter(action="resolve").exclude(status=Status.DROPPED).order_by("-pk").first()
    return earlier.filter(pk__gt=end.pk if end else 0, may_have_arrived=True).exists()


# --- what became of it -----------------------------------------------------------------------------------------------


@transaction.atomic
def delivered(claim: Claim, *, now: datetime) -> bool:
    """Note that the receiver has it; False when the claim is somebody else's by now."""
    stale = Q(failures__gt=0) | Q(last_ok_at__isnull=True) | Q(last_ok_at__lt=now - timedelta(seconds=1))
    fine: dict[str, Any] = {"last_ok_at": now, "failures": 0, "parked_until": None, "last_error": ""}
    Channel.objects.filter(stale | ~Q(last_error=""), pk=claim.channel.pk).update(**fine)
    return _settle(claim, status=Status.DELIVERED, finished_at=now, error="")


@transaction.atomic
def refused(claim: Claim, reason: str, *, now: datetime) -> bool:
    """Note that the receiver will never take it, and on the channel why."""
    _mark(claim.channel, reason, now=now)
    arrived = claim.had_arrived
    return _settle(claim, status=Status.FAILED, finished_at=now, error=reason, may_have_arrived=arrived)


@transaction.atomic
def postponed(
    claim: Claim, reason: str, *, now: datetime, retry_after_seconds: float | None = None, may_have_arrived: bool
) -> bool:
    """Put it back for later, and leave the whole channel alone for as long; drop it when the alert is over by now."""
    pause = backoff(claim.delivery.attempts, retry_after_seconds=retry_after_seconds)
    channel = _mark(claim.channel, reason, now=now)
    rest = backoff(channel.failures + 1, retry_after_seconds=retry_after_seconds)
    channel.failures, channel.parked_until = channel.failures + 1, now + timedelta(seconds=rest)
    channel.save(update_fields=["failures", "parked_until"])
    arrived = claim.had_arrived or may_have_arrived
    row = claim.delivery
    later = Delivery.objects.filter(channel=channel, dedup_key=row.dedup_key, pk__gt=row.pk, action="resolve")
    if not arrived and later.filter(status=Status.PENDING).exists():
        return _settle(claim, status=Status.DROPPED, finished_at=now, error=reason, may_have_arrived=False)
    at = now + timedelta(seconds=pause)
    return _settle(claim, next_attempt_at=at, error=reason, may_have_arrived=arrived)


def backoff(attempts: int, *, retry_after_seconds: float | None = None) -> float:
    """Return how many seconds to wait: what the receiver asks for, else exponential with full jitter.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    jitter = random.uniform(0, min(MAX_BACKOFF_SECONDS, 2.0 ** min(attempts, 10)))
    if retry_after_seconds is None:
        return jitter
    return min(max(retry_after_seconds, 0.0), MAX_WAIT_SECONDS) + random.uniform(0, 1)


@transaction.atomic
def expire(*, now: datetime) -> int:
    """Give up what could not be sent for a day, some thousands at a time; return how many."""
    free = Q(lease_until__isnull=True) | Q(lease_until__lte=now)
    rows = Delivery.objects.filter(free, status=Status.PENDING, expires_at__lte=now).order_by("pk")
    pks = list(rows.values_list("pk", flat=True)[:EXPIRED_AT_ONCE])
    return Delivery.objects.filter(free, pk__in=pks, status=Status.PENDING).update(
        status=Status.EXPIRED, finished_at=now
    )


def _mark(channel: Channel, reason: str, *, now: datetime) -> Channel:
    row = Channel.objects.select_for_update(no_key=True, of=("self",)).get(pk=channel.pk)
    row.last_error, row.last_error_at = reason[:300], now
    row.save(update_fields=["last_error", "last_error_at"])
    return row


def _settle(claim: Claim, **changed: Any) -> bool:
    mine = Delivery.objects.filter(pk=claim.delivery.pk, holder=claim.holder, status=Status.PENDING)
    if "error" in changed:
        changed["error"] = changed["error"][:300]
    return bool(mine.update(**changed, lease_until=None, holder=""))


def _drop(row: Delivery, *, now: datetime) -> None:
    row.status, row.finished_at, row.error = Status.DROPPED, now, "the channel was never told of the alert"
    row.lease_until, row.holder = None, ""
    row.save(update_fields=["status", "finished_at", "error", "lease_until", "holder"])
