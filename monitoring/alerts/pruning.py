"""Retention of alerts: resolved ones and silences that are over go after ALERT_RETENTION_DAYS (0: never)."""

from datetime import datetime, timedelta
from typing import Final

from django.conf import settings

from monitoring.models import Alert, Silence
from orgs import leases, retention
from orgs.retention import Rule

LEASE_SECONDS: Final = 60
MIN_GAP_SECONDS: Final = 600
MAX_BATCHES: Final = 100


def rules(*, now: datetime) -> list[Rule]:
    """Return what may go now."""
    if not settings.ALERT_RETENTION_DAYS:
        return []
    cutoff = now - timedelta(days=settings.ALERT_RETENTION_DAYS)
    old = Alert.objects.filter(status=Alert.Status.RESOLVED, resolved_at__lt=cutoff)
    return [
        Rule("alerts", old, "resolved_at"),
        Rule("silences", Silence.objects.filter(ends_at__lt=cutoff), "ends_at"),
    ]


def sweep(*, holder: str, now: datetime) -> dict[str, int] | None:
    """Delete what served its time, unless another process does or did it just now (None)."""
    grant = leases.take("prune alerts", holder=holder, seconds=LEASE_SECONDS, min_gap_seconds=MIN_GAP_SECONDS, now=now)
    if grant is None:
        return None
    gone: dict[str, int] = {}
    for rule in rules(now=now):
        for _ in range(MAX_BATCHES):
            deleted = retention.delete_batch(rule)
            gone[rule.name] = gone.get(rule.name, 0) + deleted
            if not deleted:
                break
    leases.finish(grant, now=now)
    return gone
