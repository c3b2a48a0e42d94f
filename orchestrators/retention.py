"""Retention of the fleet's rows, and the sweep that keeps all tables in bounds.

Open messages stay, and so do recommendations that nobody read, however old they are. Messages that came up are kept at
least MESSAGE_DEDUPE_DAYS: as long as a client may send one again, its id must be known.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db.models import Q, QuerySet

from orchestrators.models import Job, Message, Task
from orgs import leases, retention
from orgs.retention import Rule

BUDGET_SECONDS: Final = 20.0
LEASE_SECONDS: Final = 60
MIN_GAP_SECONDS: Final = 300
CLOSED: Final = (Message.Status.DELIVERED, Message.Status.FAILED, Message.Status.EXPIRED)
UNREAD: Final = Q(direction=Message.Direction.INBOUND, message_type="recommendation", review__isnull=True)
_others: Sequence[Callable[..., list[Rule]]] = ()


def install(others: Sequence[Callable[..., list[Rule]]]) -> None:
    """Name the `rules(now=…)` of the apps that come after this one; called once by `moolai/wiring.py`."""
    global _others
    _others = tuple(others)


def rules(*, now: datetime) -> list[Rule]:
    """Return everything that may go now, of this app, of `orgs` and of what was installed."""
    found = [rule for other in _others for rule in other(now=now)]
    if settings.MESSAGE_RETENTION_DAYS:
        found.append(Rule("messages", _messages(now), "finished_at"))
    if settings.EVENT_RETENTION_DAYS:
        cutoff = now - timedelta(days=settings.EVENT_RETENTION_DAYS)
        found.append(Rule("jobs", Job.objects.filter(finished_at__lt=cutoff), "finished_at"))
    if settings.TASK_RETENTION_DAYS:
        cutoff = now - timedelta(days=settings.TASK_RETENTION_DAYS)
        found.append(Rule("tasks", Task.objects.filter(completed_at__lt=cutoff), "completed_at"))
    return [*found, *retention.rules(now=now)]


def _messages(now: datetime) -> QuerySet[Message]:
    cutoff = now - timedelta(days=settings.MESSAGE_RETENTION_DAYS)
    replayable = min(cutoff, now - timedelta(days=settings.MESSAGE_DEDUPE_DAYS))
    rows = Message.objects.filter(status__in=CLOSED, finished_at__lt=cutoff)
    return rows.exclude(direction=Message.Direction.INBOUND, finished_at__gte=replayable).exclude(UNREAD)


def prune(*, now: datetime, budget_seconds: float = BUDGET_SECONDS) -> dict[str, int]:
    """Delete in batches, in turn of each rule, until nothing is left or the time is up; return how many of each."""
    gone: Counter[str] = Counter()
    pending = rules(now=now)
    until = time.monotonic() + budget_seconds
    while pending and time.monotonic() < until:
        left = []
        for rule in pending:
            deleted = retention.delete_batch(rule)
            gone[rule.name] += deleted
            if deleted:
                left.append(rule)
        pending = left
    return dict(gone)


def sweep(*, holder: str, now: datetime) -> dict[str, int] | None:
    """Prune, unless another process does or did it just now (None)."""
    grant = leases.take("prune", holder=holder, seconds=LEASE_SECONDS, min_gap_seconds=MIN_GAP_SECONDS, now=now)
    if grant is None:
        return None
    gone = prune(now=now)
    leases.finish(grant, now=now)
    return gone
