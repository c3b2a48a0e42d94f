"""Retention of alerts that are resolved, and of silences and deliveries that are over; 0 days keep them.

Deliveries go after EVENT_RETENTION_DAYS, the others after ALERT_RETENTION_DAYS.
"""

from datetime import datetime, timedelta

from django.conf import settings

from monitoring.models import Alert, Delivery, Silence
from orgs.retention import Rule


def rules(*, now: datetime) -> list[Rule]:
    """Return what may go now."""
    found = []
    if settings.ALERT_RETENTION_DAYS:
        cutoff = now - timedelta(days=settings.ALERT_RETENTION_DAYS)
        old = Alert.objects.filter(status=Alert.Status.RESOLVED, resolved_at__lt=cutoff)
        found.append(Rule("alerts", old, "resolved_at"))
        found.append(Rule("silences", Silence.objects.filter(ends_at__lt=cutoff), "ends_at"))
    if settings.EVENT_RETENTION_DAYS:
        cutoff = now - timedelta(days=settings.EVENT_RETENTION_DAYS)
        found.append(Rule("deliveries", Delivery.objects.filter(finished_at__lt=cutoff), "finished_at"))
    return found
