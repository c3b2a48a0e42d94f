"""Recommendations: what findings give reason to do; each points at its finding and repeats its numbers. Pure."""

from collections.abc import Mapping, Sequence
from math import floor
from typing import Any, Final

from monitoring.analytics.insights.finding import INFO, Finding

FULL: Final[Mapping[str, float]] = {"cpu_usage_percent": 90, "memory_percent": 95, "storage_percent": 90}
QUIET: Final = 0.5  # an hour with less than half of an average one is quiet
HOURS: Final = 24
ORDER: Final = ("critical", "warning", "info")


def of(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return the recommendations, most urgent first; `finding` is the place of the reason in `findings`."""
    found = []
    for place, finding in enumerate(findings):
        said = READERS[finding.insight_type](finding)
        if said is not None:
            title, detail, numbers = said
            told = {"finding": place, "insight_type": finding.insight_type, "severity": finding.severity}
            found.append(told | {"title": title, "detail": detail, "numbers": numbers})
    return sorted(found, key=lambda entry: ORDER.index(str(entry["severity"])))


Said = tuple[str, str, dict[str, Any]] | None


def _adoption(finding: Finding) -> Said:
    if finding.severity == INFO:
        return None
    numbers = {name: finding.numbers[name] for name in ("active", "active_before", "change", "left")}
    return f"Ask the {finding.topic} that left", "Those in `left` were active in the period before.", numbers


def _patterns(finding: Finding) -> Said:
    if finding.topic != "hours" or finding.numbers["quietest_share"] >= QUIET / HOURS:
        return None
    hour = finding.numbers["quietest_hour"]
    numbers = {"quietest_hour": hour, "quietest_share": finding.numbers["quietest_share"]}
    return f"Plan maintenance from {hour:02}:00 UTC", "Fewest calls come in that hour.", numbers


def _anomalies(finding: Finding) -> Said:
    if finding.severity == INFO:
        return None
    names = ("start", "end", "value", "median", "score", "unit")
    numbers = {name: finding.numbers[name] for name in names}
    what = "Look at what changed between `start` and `end`: events, configurations, messages."
    return f"Find out why: {finding.title[0].lower()}{finding.title[1:]}", what, numbers


def _trends(finding: Finding) -> Said:
    if finding.severity == INFO:
        return None
    numbers = {name: finding.numbers[name] for name in ("slope_per_day", "standard_error", "line_end", "unit")}
    limit = FULL.get(finding.topic)
    if limit is None:
        return f"Watch it: {finding.title[0].lower()}{finding.title[1:]}", "It gets worse day by day.", numbers
    days = max(0, floor((limit - numbers["line_end"]) / numbers["slope_per_day"]))
    text = f"At this pace {limit:g} {numbers['unit']} are reached in {days} {'day' if days == 1 else 'days'}."
    return f"Plan for more: {finding.title[0].lower()}{finding.title[1:]}", text, numbers | {
        "limit": limit, "days_until_limit": days,
    }  # fmt: skip


READERS: Final = {"adoption": _adoption, "usage_patterns": _patterns, "anomalies": _anomalies, "trends": _trends}
