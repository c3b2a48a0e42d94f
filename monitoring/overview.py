"""The overview: what there is and what was done, in numbers (API §3).

Organizations, orchestrators and messages are counted here; calls, tokens, costs and alerts come from the sources that
`moolai/wiring.py` names, so that a room adds its numbers without this one knowing it.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from django.db.models import Count, QuerySet

from monitoring.periods import Period
from orchestrators.models import Instance, Message
from orgs.models import Organization

# organizations (None: all), period → {organization id: {number: value}}, with the numbers of NUMBERS
Source = Callable[[Collection[str] | None, Period], Mapping[str, Mapping[str, int]]]
NUMBERS: Final = ("requests", "tokens", "cost_usd_micros", "alerts_open")
TOP: Final = 10
_sources: Sequence[Source] = ()


def install(sources: Sequence[Source]) -> None:
    """Name the rooms whose numbers count; called once by `moolai/wiring.py`."""
    global _sources
    _sources = tuple(sources)


def build(
    *,
    organizations: QuerySet[Organization],
    instances: QuerySet[Instance],
    messages: QuerySet[Message],
    scope: Collection[str] | None,
    period: Period,
) -> dict[str, Any]:
    """Return the overview of these rows; `scope` names their organizations for the sources (None: all there are).

    What exists is counted as it is now, messages, calls and costs as of the period.
    """
    sent = messages.filter(created_at__gte=period.start_at, created_at__lt=period.end_at)
    numbers = _numbers(scope, period)
    total = {name: sum(row[name] for row in numbers.values()) for name in NUMBERS}
    return {
        "start_date": period.start_at,
        "end_date": period.end_at,
        "organizations": _counted(organizations, Organization.Status.values),
        "orchestrators": _counted(instances, Instance.Status.values),
        "messages": _by_status(sent, Message.Status.values),
        "requests": total["requests"],
        "tokens": total["tokens"],
        "cost_usd": usd(total["cost_usd_micros"]),
        "alerts_open": total["alerts_open"],
        "top_organizations": _top(numbers),
    }


def usd(micros: int) -> float:
    """Return micro-dollars as dollars, exact to the micro-dollar."""
    return round(micros / 1_000_000, 6)


def _by_status(rows: QuerySet[Any, Any], words: Collection[str]) -> dict[str, int]:
    found: dict[str, int] = dict(rows.order_by().values_list("status").annotate(number=Count("pk")))
    return {word: found.get(word, 0) for word in words}


def _counted(rows: QuerySet[Any, Any], words: Collection[str]) -> dict[str, int]:
    counts = _by_status(rows, words)
    return {"total": sum(counts.values())} | counts


def _numbers(scope: Collection[str] | None, period: Period) -> dict[str, Counter[str]]:
    summed: dict[str, Counter[str]] = {}
    for source in _sources:
        for organization_id, row in source(scope, period).items():
            summed.setdefault(organization_id, Counter()).update(row)
    return summed


def _top(numbers: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    """Return the organizations that cost most, most expensive first; those that cost nothing are left out."""
    costs = {organization_id: row["cost_usd_micros"] for organization_id, row in numbers.items()}
    costly = sorted((key for key in costs if costs[key] > 0), key=lambda key: (-costs[key], key))[:TOP]
    names = dict(Organization.objects.filter(pk__in=costly).values_list("pk", "name")) if costly else {}
    return [{"organization_id": key, "name": names.get(key, key), "cost_usd": usd(costs[key])} for key in costly]
