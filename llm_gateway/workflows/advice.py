"""Advice: what runs that were measured say about models and types; nothing where there were too few."""

from collections import defaultdict
from datetime import datetime, timedelta
from statistics import median, quantiles
from typing import Any, Final

from llm_gateway.models import WorkflowCall, WorkflowRun
from orgs import spending
from orgs.models import Organization

FEWEST: Final = 20  # calls of one model for one type, below which nothing is concluded
MOST: Final = 20_000
SLOW_RATIO, DEAR_RATIO = 1.5, 1.5
REPAIR_SHARE, FAILED_SHARE, REPEATED_SHARE = 0.1, 0.05, 0.2
Key = tuple[str, str]


def measured(organization: Organization, *, now: datetime, days: int, workflow_type: str = "") -> list[dict[str, Any]]:
    """Return what each model did for each type in the last `days`: calls, times, costs, repairs, failures."""
    rows = WorkflowCall.objects.filter(
        step__run__organization=organization, started_at__gte=now - timedelta(days=days), cost_usd_micros__isnull=False
    ).exclude(model="")  # no provider was asked
    if workflow_type:
        rows = rows.filter(step__run__workflow_type=workflow_type)
    columns = ("step__kind", "model", "latency_ms", "cost_usd_micros", "is_repair", "error", "is_cached")
    groups: dict[Key, list[tuple[Any, ...]]] = defaultdict(list)
    for kind, model, *rest in rows.order_by("-started_at").values_list(*columns)[:MOST]:
        groups[kind, model].append(tuple(rest))
    return [_group(key, found) for key, found in sorted(groups.items())]


def _group(key: Key, rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    times = [row[0] for row in rows if row[0] is not None and not row[4] and not row[3]]
    asked = [row for row in rows if not row[4] and (row[1] or not row[3])]  # what failed free of charge says nothing
    answers = [row for row in rows if not row[3]]
    repairs = sum(bool(row[2]) for row in answers)
    count = len(rows)
    return {
        "type": key[0],
        "model": key[1],
        "calls": count,
        "latency_p50_ms": round(median(times), 1) if times else None,
        "latency_p95_ms": round(_p95(times), 1) if times else None,
        "cost_usd_per_call": spending.usd(round(sum(row[1] for row in asked) / len(asked))) if asked else None,
        "repair_rate": round(min(1.0, repairs / max(1, len(answers) - repairs)), 4),
        "failure_rate": round(sum(bool(row[3]) for row in rows) / count, 4),
        "cache_hit_rate": round(sum(bool(row[4]) for row in rows) / count, 4),
    }


def _p95(times: list[float]) -> float:
    return quantiles(times, n=20, method="inclusive")[-1] if len(times) > 1 else times[0]


def recommendations(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what to change, each with its measurements; groups of fewer than FEWEST calls say nothing."""
    known = [group for group in groups if group["calls"] >= FEWEST]
    found = [advice for group in known for advice in _alone(group)]
    by_type: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for group in known:
        by_type[group["type"]].append(group)
    for rivals in by_type.values():
        found += _compared(rivals)
    return found


def _alone(group: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    if group["repair_rate"] >= REPAIR_SHARE:
        text = f"{group['model']} often answers {group['type']} out of shape: a model with structured output asks once."
        found.append(_advice("repairs", text, group))
    if group["failure_rate"] >= FAILED_SHARE:
        text = f"Calls of {group['model']} for {group['type']} fail: give it an alias with a fallback."
        found.append(_advice("failures", text, group))
    return found


def _compared(rivals: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Name the model that is cheaper, or faster, than another, and answers as well."""
    found = []
    good = [one for one in rivals if one["repair_rate"] < REPAIR_SHARE and one["failure_rate"] < FAILED_SHARE]
    for name, ratio, word in (("cost_usd_per_call", DEAR_RATIO, "costs"), ("latency_p50_ms", SLOW_RATIO, "takes")):
        told = [one for one in good if one[name] is not None]
        best = min(told, key=lambda one: one[name], default=None)
        for other in rivals:
            if best is None or other is best or other[name] is None or other[name] <= best[name] * ratio:
                continue
            text = f"For {other['type']}, {best['model']} {word} less than {other['model']} and answers as well."
            found.append(_advice("cost" if word == "costs" else "latency", text, other, best))
    return found


def _advice(kind: str, text: str, *groups: dict[str, Any]) -> dict[str, Any]:
    return {"kind": kind, "recommendation": text, "measurements": list(groups)}


def repeated(organization: Organization, *, now: datetime, days: int, workflow_type: str = "") -> dict[str, Any]:
    """Return how many runs there were, how many of them were answered from the results of the last hour, and failed."""
    rows = WorkflowRun.objects.filter(organization=organization, created_at__gte=now - timedelta(days=days))
    if workflow_type:
        rows = rows.filter(workflow_type=workflow_type)
    states = list(rows.values_list("status", "is_cached")[:MOST])
    return {
        "runs": len(states),
        "cached": sum(cached for _, cached in states),
        "failed": sum(status == WorkflowRun.Status.FAILED for status, _ in states),
        "partial": sum(status == WorkflowRun.Status.PARTIAL for status, _ in states),
    }
