"""Dispatch: the worker's loop that sends what is waiting, many receivers at once, none of them holding up another.

The threads of the pool speak to receivers and touch no database; claiming and settling is done by the one that loops.
"""

import logging
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime
from functools import cache
from typing import Any, Final

from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from monitoring.alerts import claims, notices, senders
from monitoring.alerts.claims import Claim
from monitoring.alerts.senders import Later, Letter, Refused
from monitoring.approvals import links
from monitoring.models import Channel, Delivery
from orgs import destinations, sealed, vault

logger = logging.getLogger(__name__)
SEND_SECONDS: Final = 10.0
MAX_SENDS: Final = 24  # at once in a process, of which a channel has at most claims.PARALLEL
LOOK_SECONDS: Final = 1.0
DRAIN_SECONDS: Final = 20.0
_is_draining = threading.Lock()
_look_again = threading.Event()
Sending = dict[Future[None], Claim]


def drain(*, seconds: float = DRAIN_SECONDS) -> int:
    """Send what is waiting, for `seconds` at most, and return how many were sent; 0 where this process does already."""
    until, sent = time.monotonic() + seconds, 0
    _look_again.set()
    while _look_again.is_set() and time.monotonic() < until and _is_draining.acquire(blocking=False):
        try:
            claims.expire(now=timezone.now())
            with ThreadPoolExecutor(MAX_SENDS, thread_name_prefix="alerts") as pool:
                sent += _loop(pool, until=until)
        finally:
            _is_draining.release()
    return sent


def _loop(pool: ThreadPoolExecutor, *, until: float) -> int:
    sending: Sending = {}
    sent, next_look = 0, 0.0
    while True:
        if time.monotonic() < until and (_look_again.is_set() or time.monotonic() >= next_look):
            _look_again.clear()
            next_look = time.monotonic() + LOOK_SECONDS
            _begin(pool, sending)
        if not sending:
            return sent
        done, _ = wait(sending, timeout=0.2, return_when=FIRST_COMPLETED)
        for future in done:
            sent += _settle(sending.pop(future), future)
        if done:
            _look_again.set()  # there is room


def _begin(pool: ThreadPoolExecutor, sending: Sending) -> None:
    networks = cache(destinations.allowed_networks)
    for channel_id in claims.waiting(now=timezone.now()):
        room = MAX_SENDS - len(sending)
        busy = sum(claim.channel.pk == channel_id for claim in sending.values())
        for claim in claims.take(channel_id, now=timezone.now(), limit=min(room, claims.PARALLEL - busy)):
            try:
                until = time.monotonic() + SEND_SECONDS
                allowed = networks(claim.channel.organization_id)
                letter = write(claim.channel, claim.delivery, allowed_networks=allowed, until=until)
            except vault.Unreadable as problem:
                claims.refused(claim, problem.detail, now=timezone.now())
                continue
            sending[pool.submit(senders.send, letter)] = claim


def write(channel: Channel, delivery: Delivery, *, allowed_networks: tuple[str, ...], until: float) -> Letter:
    """Return what a sender needs to send a delivery through a channel; raises `vault.Unreadable`."""
    return Letter(
        kind=channel.kind,
        url=sealed.read(channel, "url"),
        secret=sealed.read(channel, "secret"),
        settings=channel.settings,
        allowed_networks=allowed_networks,
        delivery_id=delivery.delivery_id,
        action=delivery.action,
        notice=_with_link(channel, delivery),
        until=until,
    )


def _with_link(channel: Channel, delivery: Delivery) -> dict[str, Any]:
    """Return the notice with the link to decide an approval by, which is stored nowhere."""
    found: dict[str, Any] = delivery.notice
    if not notices.is_approval(found) or delivery.action == "resolve":
        return found
    link = links.address(
        found["approval_id"], channel, organization_id=found["organization_id"], now=timezone.now(),
        until=found["expires_at"],
    )  # fmt: skip
    return found | {"url": link, "decides": True} if link else found


def _settle(claim: Claim, future: Future[None]) -> bool:
    try:
        return _note(claim, future, now=timezone.now())
    except (DatabaseError, InterfaceError) as problem:
        logger.warning("delivery %s is settled when its lease ends: %s", claim.delivery.delivery_id, problem)
        return False


def _note(claim: Claim, future: Future[None], *, now: datetime) -> bool:
    try:
        future.result()
    except Refused as problem:
        claims.refused(claim, str(problem), now=now)
    except Later as problem:
        wait_, arrived = problem.retry_after_seconds, problem.may_have_arrived
        claims.postponed(claim, str(problem), now=now, retry_after_seconds=wait_, may_have_arrived=arrived)
    except Exception:
        logger.exception("the sender of %s channels failed", claim.channel.kind)
        claims.postponed(claim, "a fault of ours; it is in the log", now=now, may_have_arrived=True)
    else:
        return claims.delivered(claim, now=now)
    return False
