"""Usage patterns: the hours and days with most calls and with fewest, and the endpoints that are called most."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from monitoring.analytics.api_calls import Summed, Where, summed
from monitoring.analytics.insights import tracks
from monitoring.analytics.insights.finding import Finding, Looked
from monitoring.analytics.insights.tracks import DAY, HOUR

LEAST_CALLS: Final = 100  # fewer make no pattern
MOST: Final = 10
WEEK: Final = 7
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
THURSDAY: Final = 3  # of 1 January 1970


def find(looked: Looked) -> list[Finding]:
    """Return the patterns of the calls that are kept of the period; none of few calls."""
    kept = replace(looked, since=tracks.kept_calls(looked, HOUR))
    if kept.since >= kept.until:
        return []
    where = Where(kept.organizations, kept.since, kept.until, now=kept.now)
    by_hour = {key[0]: calls.count for key, calls in summed(where, step_seconds=HOUR).items()}
    endpoints = {str(key[1]): calls for key, calls in summed(where, by=["endpoint"]).items()}
    total = sum(by_hour.values())
    if total < LEAST_CALLS:
        return []
    is_week = (kept.until - kept.since).days >= WEEK - 1  # less the moment of asking
    return [_hours(by_hour, total), *([_days(by_hour, total)] if is_week else []), _endpoints(endpoints, total)]


def _hours(by_hour: Mapping[int, int], total: int) -> Finding:
    calls = [0] * 24
    for at, number in by_hour.items():
        calls[at // HOUR % 24] += number
    busiest, quietest = calls.index(max(calls)), calls.index(min(calls))
    return Finding(
        "usage_patterns",
        "hours",
        f"Most calls come from {busiest:02}:00 to {(busiest + 1) % 24:02}:00 UTC",
        f"{100 * calls[busiest] / total:.1f} % of {total} calls; fewest come from {quietest:02}:00 "
        f"({100 * calls[quietest] / total:.1f} %).",
        {
            "calls": total,
            "busiest_hour": busiest,
            "busiest_share": calls[busiest] / total,
            "quietest_hour": quietest,
            "quietest_share": calls[quietest] / total,
            "calls_by_hour": calls,
        },
    )


def _days(by_hour: Mapping[int, int], total: int) -> Finding:
    calls = [0] * WEEK
    for at, number in by_hour.items():
        calls[(at // DAY + THURSDAY) % WEEK] += number
    busiest, quietest = calls.index(max(calls)), calls.index(min(calls))
    return Finding(
        "usage_patterns",
        "days",
        f"Most calls come on {DAYS[busiest]}",
        f"{100 * calls[busiest] / total:.1f} % of {total} calls; fewest come on {DAYS[quietest]} "
        f"({100 * calls[quietest] / total:.1f} %).",
        {
            "calls": total,
            "busiest_day": DAYS[busiest],
            "busiest_share": calls[busiest] / total,
            "quietest_day": DAYS[quietest],
            "quietest_share": calls[quietest] / total,
            "calls_by_day": dict(zip(DAYS, calls, strict=True)),
        },
    )


def _endpoints(endpoints: Mapping[str, Summed], total: int) -> Finding:
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
        f"{100 * shown[0]['share']:.1f} % of {total} calls go there; {len(endpoints)} endpoints are used.",
        {"calls": total, "endpoints_used": len(endpoints), "endpoints": shown},
    )
