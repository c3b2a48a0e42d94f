"""The table of an organization's machines with their latest samples, and the cards of one host's parts."""

from datetime import datetime
from typing import Any, Final

from django.urls import reverse
from django.utils.safestring import SafeString

from monitoring.metrics import latest, levels
from monitoring.models import SystemMetric
from orchestrators.models import Instance
from orgs.admin.base import ago, badge

SHOWN: Final = 50
LEVELS: Final = {
    levels.HEALTHY: ("green", "●", "Healthy"),
    levels.WARNING: ("amber", "▲", "Warning"),
    levels.CRITICAL: ("critical", "✖", "Critical"),
    levels.UNKNOWN: ("gray", "○", "Unknown"),
}
CPU, MEMORY, DISK = levels.PARTS[:3]


def level(word: str) -> SafeString:
    """Show a level as a badge."""
    return badge(*LEVELS[word])


def table(organization_id: str, *, now: datetime) -> dict[str, Any]:
    """Return what the table shows of each orchestrator of the organization: busiest first, SHOWN of them."""
    rows = [row for row in latest.rows([organization_id]) if row.orchestrator_id]
    rows.sort(key=lambda row: -1.0 if row.cpu_usage_percent is None else row.cpu_usage_percent, reverse=True)
    shown = rows[:SHOWN]
    names = [row.orchestrator_id for row in shown]
    found = Instance.objects.present().filter(orchestrator_id__in=names, organization_id=organization_id)
    pages = dict(found.values_list("orchestrator_id", "pk"))
    return {"lines": [_line(row, pages, now=now) for row in shown], "total": len(rows)}


def _line(row: SystemMetric, pages: dict[str, int], *, now: datetime) -> dict[str, Any]:
    pk = pages.get(row.orchestrator_id)
    is_fresh = row.timestamp >= now - levels.FRESH
    return {
        "row": row,
        "url": reverse("admin:orchestrators_instance_change", args=[pk]) if pk else "",
        "cpu": _share(CPU, row),
        "memory": _share(MEMORY, row),
        "disk": _share(DISK, row),
        "when": ago(row.timestamp),
        "is_fresh": is_fresh,
    }


def _share(part: levels.Part, row: SystemMetric) -> dict[str, Any]:
    value = getattr(row, part.column)
    return {"value": value, "tone": LEVELS[part.level(value)][0]}
