"""Insights: findings with the numbers behind them, and recommendations that point at the numbers (API §3).

Adoption compares with the period before, usage patterns say when and what is used, anomalies are hours unlike the same
hours of other days, trends are straight lines that exceed their error.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, Final

from monitoring.analytics.insights import adoption, advice, anomalies, patterns, trends
from monitoring.analytics.insights.finding import Finding, Looked

FINDERS: Final[dict[str, Callable[[Looked], list[Finding]]]] = {
    "adoption": adoption.find,
    "usage_patterns": patterns.find,
    "anomalies": anomalies.find,
    "trends": trends.find,
}


def build(
    types: Sequence[str],
    *,
    organizations: Collection[str] | None,
    since: datetime,
    until: datetime,
    now: datetime,
) -> dict[str, Any]:
    """Return what is found of these types (FINDERS) in a period, within these organizations (None: all)."""
    looked = Looked(organizations, since, min(until, now), now)
    found = [finding for name in types for finding in FINDERS[name](looked)] if since < looked.until else []
    return {
        "start_date": since,
        "end_date": until,
        "findings": [finding.told() for finding in found],
        "recommendations": advice.of(found),
    }
