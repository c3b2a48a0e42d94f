"""Activities: what people do with the product, as clients report it; stored, and summed up per organization."""

import secrets
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from django.db.models import Count, QuerySet
from django.db.models.functions import TruncDay
from django.utils import timezone

from monitoring.models import Activity

TOP: Final = 10


def track(activity_type: str, *, organization_id: str, user_id: str, metadata: Mapping[str, Any]) -> Activity:
    """Store one activity at once: what a client was answered for is there."""
    return Activity.objects.create(
        activity_id=f"act_{secrets.token_hex(8)}",
        organization_id=organization_id,
        user_id=user_id,
        activity_type=activity_type,
        metadata=dict(metadata),
        created_at=timezone.now(),
    )


def summarize(*, organizations: Collection[str] | None, since: datetime, until: datetime) -> dict[str, Any]:
    """Return how many activities there were, by type, by day and of whom, in these organizations (None: in all)."""
    rows = Activity.objects.filter(created_at__gte=since, created_at__lt=until).order_by()
    if organizations is not None:
        rows = rows.filter(organization_id__in=list(organizations))
    by_type = dict(rows.values_list("activity_type").annotate(number=Count("pk")))
    return {
        "since": since,
        "until": until,
        "total": sum(by_type.values()),
        "by_type": {word: by_type.get(word, 0) for word in Activity.Kind.values},
        "users": rows.values("organization_id", "user_id").distinct().count(),
        "by_day": _by_day(rows),
        "top_users": _top(rows),
    }


def _by_day(rows: QuerySet[Activity]) -> list[dict[str, Any]]:
    days = rows.annotate(day=TruncDay("created_at")).values_list("day").annotate(number=Count("pk"))
    return [{"day": day.date().isoformat(), "count": number} for day, number in days.order_by("day")]


def _top(rows: QuerySet[Activity]) -> list[dict[str, Any]]:
    found = rows.values_list("organization_id", "user_id").annotate(number=Count("pk"))
    busiest = found.order_by("-number", "organization_id", "user_id")[:TOP]
    return [{"organization_id": home, "user_id": user, "count": number} for home, user, number in busiest]
