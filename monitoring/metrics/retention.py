"""Retention of measurements: samples, hours and days, each for their time; of samples an organization may say how long.

`settings.retention.metrics_days` of an organization, 1 to 365, counts instead of METRICS_RETENTION_DAYS.
"""

from datetime import datetime, timedelta
from typing import Final

from django.conf import settings

from monitoring.metrics import call_spans, sources
from monitoring.models import Activity, MetricRollup, RequestMetric, SystemMetric
from orgs.models import Organization
from orgs.retention import Rule

HOURLY, DAILY = MetricRollup.Resolution.HOURLY, MetricRollup.Resolution.DAILY
MAX_DAYS: Final = 365
CALLS: Final = {
    call_spans.MINUTE: "request_metrics",
    call_spans.HOUR: "request_metrics_hourly",
    call_spans.DAY: "request_metrics_daily",
}


def rules(*, now: datetime) -> list[Rule]:
    """Return what may go now: samples by organization, roll-ups by resolution, calls of our API by span, activities."""
    return [*_samples(now), *_rollups(now), *_calls(now), *_activities(now)]


def days_of(organization: Organization | None) -> int:
    """Return for how many days an organization's samples are kept (0: for ever); what is no number does not count."""
    chosen = organization.settings if organization else None
    for name in ("retention", "metrics_days"):
        chosen = chosen.get(name) if isinstance(chosen, dict) else None
    if type(chosen) is int and chosen >= 1:
        return min(chosen, MAX_DAYS)
    return int(settings.METRICS_RETENTION_DAYS)


def _samples(now: datetime) -> list[Rule]:
    there = sources.organizations()
    known, found = Organization.objects.in_bulk(there), []
    for organization_id in there:
        if days := days_of(known.get(organization_id)):
            rows = SystemMetric.objects.filter(organization_id=organization_id)
            old = rows.filter(timestamp__lt=now - timedelta(days=days))
            found.append(Rule("metrics", old, "timestamp"))
    return found


def _rollups(now: datetime) -> list[Rule]:
    kept = {HOURLY: settings.METRICS_HOURLY_RETENTION_DAYS, DAILY: settings.METRICS_DAILY_RETENTION_DAYS}
    return [
        Rule(
            f"metrics_{resolution}",
            MetricRollup.objects.filter(resolution=resolution, start_at__lt=now - timedelta(days=days)),
            "start_at",
        )
        for resolution, days in kept.items()
        if days
    ]


def _calls(now: datetime) -> list[Rule]:
    found = []
    for span, name in CALLS.items():
        if since := call_spans.kept_since(span, now=now):
            rows = RequestMetric.objects.filter(span_seconds=span, minute_at__lt=since)
            found.append(Rule(name, rows, "minute_at"))
    return found


def _activities(now: datetime) -> list[Rule]:
    """Return the activities, which are kept as long as hours."""
    days = settings.METRICS_HOURLY_RETENTION_DAYS
    rows = Activity.objects.filter(created_at__lt=now - timedelta(days=days))
    return [Rule("activities", rows, "created_at")] if days else []
