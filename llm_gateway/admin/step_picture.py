"""Pictures of runs: their steps in the order in which they can run, with states, times, calls and costs."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from llm_gateway.admin import words
from llm_gateway.models import WorkflowRun, WorkflowStep
from llm_gateway.workflows import telling
from orgs.admin.base import badge

STEPS: Final = {
    "pending": ("gray", "◌", "Waits"),
    "running": ("blue", "◐", "Running"),
    "completed": ("green", "●", "Done"),
    "failed": ("red", "✖", "Failed"),
    "skipped": ("gray", "⤼", "Skipped"),
    "cancelled": ("gray", "○", "Cancelled"),
}


@dataclass(frozen=True, slots=True)
class Box:
    """A step in the picture."""

    name: str
    kind: str
    tone: str
    badge: str
    progress: int
    is_running: bool
    model: str
    calls: str
    cost: str
    took: str
    error: str
    after: str


def waves(run: WorkflowRun, *, now: datetime) -> list[list[Box]]:
    """Return the boxes, those that can run side by side together; two queries."""
    steps = list(run.steps.all())
    spent = telling.costs([run.pk])
    needs = {step["name"]: step.get("after", []) for step in run.plan}
    order = depths(needs)
    found: list[list[Box]] = []
    for step in steps:
        depth = order.get(step.name, 0)
        found += [[] for _ in range(depth + 1 - len(found))]
        found[depth].append(_box(step, spent.get(step.pk, telling.NOTHING), needs.get(step.name, []), now=now))
    return [wave for wave in found if wave]


def depths(needs: dict[str, list[str]]) -> dict[str, int]:
    """Return for each step how many have to run one after the other before it; a step stands after those it needs."""
    found: dict[str, int] = {}
    for name, others in needs.items():
        found[name] = max((1 + found[other] for other in others if other in found), default=0)
    return found


def _box(step: WorkflowStep, spent: dict[str, Any], after: list[str], *, now: datetime) -> Box:
    tone, glyph, word = STEPS.get(step.status, ("gray", "○", step.status))
    count = spent["calls"]
    calls = f"{count} call{'s' * (count != 1)}" if count else ""
    calls += f", {spent['repairs']} to repair" if spent["repairs"] else ""
    is_running = step.status == WorkflowStep.Status.RUNNING
    calls += f" · {spent['characters']:,} characters so far" if is_running and spent["characters"] else ""
    return Box(
        step.name, step.kind.replace("_", " "), tone, badge(tone, glyph, word), step.progress,
        is_running, spent["model"], calls, words.usd(spent["usd_micros"]),
        took(step, now=now), step.error, ", ".join(after),
    )  # fmt: skip


def took(row: WorkflowRun | WorkflowStep, *, now: datetime) -> str:
    """Show how long something ran, or has been running."""
    if row.started_at is None:
        return "–"
    return words.ms(max(0.0, ((row.completed_at or now) - row.started_at).total_seconds() * 1000))
