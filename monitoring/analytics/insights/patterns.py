"""Usage patterns: the hours and days with most calls and with fewest, and the endpoints that are called most."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from monitoring.analytics.api_calls import Summed, Where, summed
from monitoring.analytics.insights import tracks
from monitoring.analytics.insights.finding import Finding, Looked
from monitoring.analytics.insights.tracks import DAY, HOUR
from monitoring.metrics import routes

LEAST_CALLS: Final = 100  # fewer make no pattern
MOST: Final = 10
HOURS_NEED: Final = 2  # days with calls from the first one on, before hours of the day are compared
DAYS_NEED: Final = 6  # the same for days of the week
UNASKED: Final = frozenset({  # static files and health probes: no use of the product
    routes.STATIC, "/health", "/healthz", "/readyz", "/api/v1/controller/health", "/api/v1/system/health",
})  # fmt: skip
WEEK: Final = 7
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
THURSDAY: Final = 3  # of 1 January 1970


def find(looked: Looked) -> list[Finding]:
    """Return the patterns of the calls that are kept of the period, and what there is too little of; none of few calls.

    Calls are observed from the first one on: what lies before it is not taken for silence.
    """
    kept = replace(looked, since=tracks.kept_calls(looked, HOUR))
    if kept.since >= kept.until:
        return []
    where = Where(kept.organizations, kept.since, kept.until, now=kept.now)
    calls = {key[0]: calls.count for key, calls in summed(where, step_seconds=HOUR).items()}
    endpoints = {str(key[1]): calls for key, calls in summed(where, by=["endpoint"]).items() if key[1] not in UNASKED}
    if sum(calls.values()) < LEAST_CALLS:
        return []
    until = int(kept.until.timestamp())
    since = max(int(kept.since.timestamp()), min(calls))
    found = [by_hour(calls, since=since, until=until)] if until - since >= HOURS_NEED * DAY else []
    if until - since >= DAYS_NEED * DAY - HOUR:  # less the moment of asking
        found.append(by_day(calls, since=since, until=until))
    else:
        found.append(_too_little((until - since) // HOUR))
    return [*found, *([_endpoints(endpoints)] if endpoints else [])]


def by_hour(calls: Mapping[int, int], *, since: int, until: int) -> Finding:
    """Return the hours of the day with most and with fewest calls, each beside how often it was observed."""
    summed_up, times = _folded(calls, 24, HOUR, 0, since, until)
    total, busiest, quietest = sum(summed_up), *_extremes(summed_up, times)
    return Finding(
        "usage_patterns",
        "hours",
        f"Most calls come from {busiest:02}:00 to {(busiest + 1) % 24:02}:00 UTC",
        f"{100 * summed_up[busiest] / total:.1f} % of {total} calls; fewest come from {quietest:02}:00 "
        f"({100 * summed_up[quietest] / total:.1f} %).",
        {
            "calls": total,
            "busiest_hour": busiest,
            "busiest_share": summed_up[busiest] / total,
            "quietest_hour": quietest,
            "quietest_share": summed_up[quietest] / total,
            "calls_by_hour": _observed(summed_up, times),
            "observed_times": times,
        },
    )


def by_day(calls: Mapping[int, int], *, since: int, until: int) -> Finding:
    """Return the days of the week with most and with fewest calls; one that was not observed has none (null)."""
    summed_up, times = _folded(calls, WEEK, DAY, THURSDAY, since, until)
    total, busiest, quietest = sum(summed_up), *_extremes(summed_up, times)
    return Finding(
        "usage_patterns",
        "days",
        f"Most calls come on {DAYS[busiest]}",
        f"{100 * summed_up[busiest] / total:.1f} % of {total} calls; fewest come on {DAYS[quietest]} "
        f"({100 * summed_up[quietest] / total:.1f} %).",
        {
            "calls": total,
            "busiest_day": DAYS[busiest],
            "busiest_share": summed_up[busiest] / total,
            "quietest_day": DAYS[quietest],
            "quietest_share": summed_up[quietest] / total,
            "calls_by_day": dict(zip(DAYS, _observed(summed_up, times), strict=True)),
        },
    )


def _folded(
    calls: Mapping[int, int], size: int, step: int, first: int, since: int, until: int
) -> tuple[list[int], list[float]]:
    """Return, by hour of the day or day of the week, the calls and how many such hours or days were looked at."""
    summed_up, times = [0] * size, [0.0] * size
    for at in range(since - since % step, until, step):
        times[(at // step + first) % size] += (min(at + step, until) - max(at, since)) / step
    for at, number in calls.items():
        summed_up[(at // step + first) % size] += number
    return summed_up, times


def _extremes(summed_up: Sequence[int], times: Sequence[float]) -> tuple[int, int]:
    """Return which has most and which fewest calls each time, of those that were observed for half a time at least."""
    rates = {place: summed_up[place] / number for place, number in enumerate(times) if number >= 0.5}
    return max(rates, key=lambda place: rates[place]), min(rates, key=lambda place: rates[place])


def _observed(summed_up: Sequence[int], times: Sequence[float]) -> list[int | None]:
    return [number if seen else None for number, seen in zip(summed_up, times, strict=True)]


def _too_little(hours: int) -> Finding:
    return Finding(
        "usage_patterns",
        "observed",
        f"Not enough data yet: {hours} {'hour' if hours == 1 else 'hours'}",
        f"Calls by hour of the day are compared from {HOURS_NEED} days on, by day of the week from {DAYS_NEED} on.",
        {"observed_hours": hours, "hours_need_days": HOURS_NEED, "days_need_days": DAYS_NEED},
    )


def _endpoints(endpoints: Mapping[str, Summed]) -> Finding:
    total = sum(calls.count for calls in endpoints.values())
    first = sorted(endpoints, key=lambda name: (-endpoints[name].count, name))[:MOST]
    shown: list[dict[str, Any]] = [
        {
            "endpoint": name,
            "calls": endpoints[name].count,
            "share": endpoints[name].count / total,
            "error_rate": endpoints[name].server_errors / endpoints[name].count,
            "avg_ms": endpoints[name].sum_ms / endpoints[name].count,
        }
        for name in first
    ]
    return Finding(
        "usage_patterns",
        "endpoints",
        f"{first[0]} is called most",
        f"{100 * shown[0]['share']:.1f} % of {total} calls go there; "
        f"{len(endpoints)} {'endpoint is' if len(endpoints) == 1 else 'endpoints are'} used.",
        {"calls": total, "endpoints_used": len(endpoints), "endpoints": shown},
    )
