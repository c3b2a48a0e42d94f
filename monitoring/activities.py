"""Activities: what people do with the product, as clients report it and as other rooms count it; summed up.

What clients report is stored here. Tasks and the like are rows already: `moolai/wiring.py` names who counts them.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from django.db.models import Count, QuerySet
from django.db.models.functions import TruncDay
from django.utils import timezone

from monitoring.models import Activity

TOP: Final = 10
CHUNK: Final = 500
User = tuple[str, str]  # (organization id, user)


@dataclass(frozen=True, slots=True)
class Deeds:
    """How often somebody did something of a kind on a day (UTC)."""

    kind: str
    organization_id: str
    user_id: str
    day: date
    count: int


# organizations (None: all), since, until → what was done there
Source = Callable[[Collection[str] | None, datetime, datetime], Iterable[Deeds]]
_sources: tuple[Source, ...] = ()


def install(sources: Iterable[Source]) -> None:
    """Name who else counts what people do; called once by `moolai/wiring.py`."""
    global _sources
    _sources = tuple(sources)


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
    counted = [deeds for source in _sources for deeds in source(organizations, since, until)]
    by_type = Counter(dict(rows.values_list("activity_type").annotate(number=Count("pk"))))
    by_day, others = _by_day(rows), Counter[User]()
    for deeds in counted:
        by_type[deeds.kind] += deeds.count
        by_day[deeds.day] += deeds.count
        others[deeds.organization_id, deeds.user_id] += deeds.count
    reported = _of_users(rows, others)
    users = rows.values("organization_id", "user_id").distinct().count()
    return {
        "since": since,
        "until": until,
        "total": by_type.total(),
        "by_type": {word: by_type[word] for word in Activity.Kind.values},
        "users": users + len(others.keys() - reported.keys()),
        "by_day": [{"day": day.isoformat(), "count": by_day[day]} for day in sorted(by_day)],
        "top_users": _top(_busiest(rows) | (others + reported)),
    }


def _by_day(rows: QuerySet[Activity]) -> Counter[date]:
    days = rows.annotate(day=TruncDay("created_at")).values_list("day").annotate(number=Count("pk"))
    return Counter({day.date(): number for day, number in days})


def _of_users(rows: QuerySet[Activity], users: Collection[User]) -> Counter[User]:
    """Return how much of these users was reported, of those of whom there was anything."""
    names, found = sorted({name for _, name in users}), Counter[User]()
    for start in range(0, len(names), CHUNK):
        some = rows.filter(user_id__in=names[start : start + CHUNK])
        for home, name, number in some.values_list("organization_id", "user_id").annotate(number=Count("pk")):
            if (home, name) in users:
                found[home, name] = number
    return found


def _busiest(rows: QuerySet[Activity]) -> Counter[User]:
    found = rows.values_list("organization_id", "user_id").annotate(number=Count("pk"))
    return Counter(
        {(home, user): number for home, user, number in found.order_by("-number", "organization_id", "user_id")[:TOP]}
    )


def _top(found: Mapping[User, int]) -> list[dict[str, Any]]:
    """Return the busiest: each of them is among the busiest of those who report, or counted elsewhere."""
    busiest = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:TOP]
    return [{"organization_id": home, "user_id": user, "count": number} for (home, user), number in busiest]
