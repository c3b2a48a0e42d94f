"""What happened to a task: its lines in words, and the same drawn as bars on one line of time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from orchestrators.admin.task_words import span
from orchestrators.models import Task, TaskStep
from orgs import keys
from orgs.admin import bars
from orgs.admin.bars import Bar
from orgs.admin.base import ago
from orgs.admin.sentences import WORDS

Kind = TaskStep.Kind
MOST_LINES: Final = 200
MOST_BARS: Final = 30
SAID: Final = {
    Kind.CREATED: "Created", Kind.APPROVAL_REQUESTED: "Waits for approval", Kind.APPROVED: "Approved",
    Kind.REJECTED: "Rejected", Kind.EXPIRED: "Not approved in time", Kind.ESCALATED: "Told again",
    Kind.TAKEN: "Taken", Kind.GIVEN_BACK: "Given back", Kind.ATTEMPT_FAILED: "The attempt failed",
    Kind.COMPLETED: "Completed", Kind.FAILED: "Failed", Kind.CANCELLED: "Cancelled", Kind.DEAD: "Given up",
    Kind.SLA_MISSED: "Late",
}  # fmt: skip
ENDS: Final = {
    Kind.COMPLETED: ("green", "completed"), Kind.FAILED: ("red", "failed"), Kind.DEAD: ("red", "the last one"),
    Kind.CANCELLED: ("gray", "cancelled"), Kind.REJECTED: ("red", "rejected"), Kind.EXPIRED: ("gray", "expired"),
}  # fmt: skip
AGAIN: Final = {Kind.GIVEN_BACK: ("amber", "given back"), Kind.ATTEMPT_FAILED: ("red", "failed")}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of what happened, with its icon (Material Symbols) and tone."""

    icon: str
    tone: str
    what: str
    who: str
    note: str
    when: str


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of a task's life: it waits, or somebody works on it; `end` is None while it lasts."""

    label: str
    note: str
    tone: str
    start: datetime
    end: datetime | None = None
    result: str = ""


def read(task: Task) -> list[TaskStep]:
    """Return the newest lines of a task, oldest first; what agents publish may be many."""
    return list(task.steps.order_by("-id")[:MOST_LINES])[::-1]


def lines(steps: Iterable[TaskStep]) -> list[Line]:
    """Return the lines in words."""
    return [_line(step) for step in steps]


def _line(step: TaskStep) -> Line:
    if step.kind == Kind.EVENT:
        return Line("campaign", "gray", f"Published “{step.note}”", keys.named(step.actor), "", ago(step.at))
    icon, tone, _ = WORDS[f"task.{step.kind}"]
    return Line(icon, tone, SAID[Kind(step.kind)], keys.named(step.actor), step.note, ago(step.at))


def phases(steps: Iterable[TaskStep]) -> list[Phase]:
    """Return the stretches of its life, oldest first; only the last one may be without an end."""
    return list(_phases(steps))[-MOST_BARS:]


def _phases(steps: Iterable[TaskStep]) -> Iterator[Phase]:
    running: Phase | None = None
    attempt = 0
    for step in steps:
        kind, following = Kind(step.kind), None
        if kind == Kind.TAKEN:
            attempt += 1
        if kind in (Kind.CREATED, Kind.APPROVED, *AGAIN):
            following = Phase("Waits to be taken", "", "gray", step.at)
        elif kind == Kind.APPROVAL_REQUESTED:
            running, following = None, Phase("Waits for approval", "", "amber", step.at)
        elif kind == Kind.TAKEN:
            following = Phase(f"Attempt {attempt}", step.actor, "blue", step.at)
        elif kind not in ENDS:
            continue
        if running is not None:
            yield _ended(running, step, kind)
        running = following
    if running is not None:
        yield running


def _ended(running: Phase, step: TaskStep, kind: Kind) -> Phase:
    is_attempt = running.tone == "blue"
    tone, result = {**ENDS, **AGAIN}.get(kind, (running.tone, ""))
    if not is_attempt:
        tone = running.tone
    return Phase(running.label, running.note, tone, running.start, step.at, result)


def draw(found: list[Phase], *, now: datetime) -> list[Bar]:
    """Return the phases on one line of time, up to now while the last one lasts."""
    if not found:
        return []
    begin = found[0].start
    whole = max(((phase.end or now) - begin).total_seconds() for phase in found) or 0.001
    result = []
    for phase in found:
        length = max(0.0, ((phase.end or now) - phase.start).total_seconds())
        text = span(length) + (f" · {phase.result}" if phase.result else "" if phase.end else " so far")
        start = (phase.start - begin).total_seconds()
        result.append(
            bars.draw(phase.label, phase.note, tone=phase.tone, text=text, start=start, length=length, whole=whole)
        )
    return result
