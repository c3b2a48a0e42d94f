"""Retention of measurements: samples, hours and days, each for their time; of samples an organization may say how long.

`settings.retention.metrics_days` of an organization, 1 to 365, counts instead of METRICS_RETENTION_DAYS.
"""

from datetime import datetime, timedelta
from typing import Final

from django.conf import settings

from monitoring.metrics import sources
from monitoring.models import Activity, MetricRollup, RequestMetric, SystemMetric
from orgs.models import Organization
from orgs.retention import Rule

HOURLY, DAILY = MetricRollup.Resolution.HOURLY, MetricRollup.Resolution.DAILY
MAX_DAYS: Final = 365


def rules(*, now: datetime) -> list[Rule]:
    """Return what may go now: samples by organization, roll-ups by resolution, calls of our API, activities."""
    return [*_samples(now), *_rollups(now), *_of_people(now)]


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


def _of_people(now: datetime) -> list[Rule]:
    """Return the calls of our API, which are kept as long as samples, and activities, as long as hours."""
    calls_days, activities_days = settings.METRICS_RETENTION_DAYS, settings.METRICS_HOURLY_RETENTION_DAYS
    calls = RequestMetric.objects.filter(minute_at__lt=now - timedelta(days=calls_days))
    activities = Activity.objects.filter(created_at__lt=now - timedelta(days=activities_days))
    found = [Rule("request_metrics", calls, "minute_at")] if calls_days else []
    return [*found, Rule("activities", activities, "created_at")] if activities_days else found
