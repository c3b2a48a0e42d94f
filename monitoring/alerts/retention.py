"""Retention: deliveries that are over are deleted after EVENT_RETENTION_DAYS."""

from datetime import datetime, timedelta
from typing import Final

from django.conf import settings

from monitoring.models import Delivery
from orgs import leases, retention
from orgs.retention import Rule

LEASE: Final = "prune-deliveries"
LEASE_SECONDS: Final = 120.0
MIN_GAP_SECONDS: Final = 60.0
BATCHES: Final = 50


def rules(*, now: datetime) -> list[Rule]:
    """Return what may go."""
    if not settings.EVENT_RETENTION_DAYS:
        return []
    cutoff = now - timedelta(days=settings.EVENT_RETENTION_DAYS)
    return [Rule("deliveries", Delivery.objects.filter(finished_at__lt=cutoff), "finished_at")]


def sweep(*, holder: str, now: datetime) -> int:
    """Delete in batches, unless another process does or did just now; return how many went."""
    grant = leases.take(LEASE, holder=holder, seconds=LEASE_SECONDS, min_gap_seconds=MIN_GAP_SECONDS, now=now)
    if grant is None:
        return 0
    gone = 0
    for rule in rules(now=now):
        for _ in range(BATCHES):
            deleted = retention.delete_batch(rule)
            gone += deleted
            if not deleted:
                break
    leases.finish(grant, now=now)
    return gone
