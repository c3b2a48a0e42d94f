"""Adoption: who was active in the period, beside the period before where all of it is kept. Reads rows."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings

from monitoring.analytics import availability
from monitoring.analytics.api_calls import Where, summed
from monitoring.analytics.insights.finding import INFO, WARNING, Finding, Looked
from monitoring.models import Activity

LOSS: Final = 0.2  # who lost a fifth or more is warned
MOST: Final = 20  # named


@dataclass(frozen=True, slots=True)
class Group:
    """Something that can be active: what it is called, what makes it so, for how many days that is kept (0: ever)."""

    topic: str
    noun: str
    basis: str
    setting: str
    read: Callable[[Looked], set[str]]

    def counted(self, found: set[str]) -> str:
        """Say how many were active."""
        return f"{len(found)} active {self.noun if len(found) != 1 else self.noun.removesuffix('s')}"

    def kept_since(self, now: datetime) -> datetime | None:
        """Return from when on its rows are kept, None for always."""
        days = getattr(settings, self.setting)
        return now - timedelta(days=days) if days else None


def _organizations(looked: Looked) -> set[str]:
    where = Where(looked.organizations, looked.since, looked.until, now=looked.now)
    return {str(key[1]) for key in summed(where, by=["organization"]) if key[1]}


def _orchestrators(looked: Looked) -> set[str]:
    return availability.active(availability.Whose(looked.organizations, looked.since, looked.until))


def _users(looked: Looked) -> set[str]:
    rows = Activity.objects.filter(created_at__gte=looked.since, created_at__lt=looked.until).order_by()
    if looked.organizations is not None:
        rows = rows.filter(organization_id__in=list(looked.organizations))
    return {f"{home}/{user}" for home, user in rows.values_list("organization_id", "user_id").distinct()}


GROUPS: Final = (
    Group("organizations", "organizations", "calls of the API", "METRICS_HOURLY_RETENTION_DAYS", _organizations),
    Group("orchestrators", "orchestrators", "connected at some time", "EVENT_RETENTION_DAYS", _orchestrators),
    Group("users", "users", "activities that clients report", "METRICS_HOURLY_RETENTION_DAYS", _users),
)


def find(looked: Looked) -> list[Finding]:
    """Return how many organizations, orchestrators and users were active; who came and who left."""
    return [_finding(group, looked) for group in GROUPS]


def _finding(group: Group, looked: Looked) -> Finding:
    now, kept = group.read(looked), group.kept_since(looked.now)
    if kept is not None and kept > looked.before.since:
        title, detail = group.counted(now), f"By {group.basis}. The period before is not kept whole."
        return Finding("adoption", group.topic, title, detail, _numbers(group, now, None, kept))
    before = group.read(looked.before)
    has_lost = len(now) < len(before) and len(before) - len(now) >= LOSS * len(before)
    return Finding(
        "adoption",
        group.topic,
        f"{group.counted(now)}, {len(before)} in the period before",
        f"By {group.basis}: {len(now - before)} came, {len(before - now)} left.",
        _numbers(group, now, before, kept),
        WARNING if has_lost else INFO,
    )


def _numbers(group: Group, now: set[str], before: set[str] | None, kept: datetime | None) -> dict[str, Any]:
    told: dict[str, Any] = {"active": len(now), "active_before": None, "basis": group.basis, "kept_since": kept}
    if before is None:
        return told
    change = len(now) - len(before)
    return told | {
        "active_before": len(before),
        "change": change,
        "change_percent": 100 * change / len(before) if before else None,
        "came": sorted(now - before)[:MOST],
        "left": sorted(before - now)[:MOST],
    }
