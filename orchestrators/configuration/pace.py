"""Pace: when a rollout takes its next step, and when it stops. Pure functions of its row, its counts and the time.

A stage waits until every member that is connected has answered. Members that are offline get the version when they
connect; a stage waits for them, too, until its time-out. What is silent at the time-out of a staged rollout counts as
failed, and so does, in any rollout and at any time, what went away after it was given the version and before it said
how that went, and was not back within the grace. A session that the controller itself ended is no such word.
"""

from datetime import datetime
from enum import Enum
from typing import Final

from moolai.errors import InvalidInput
from orchestrators.configuration.progress import Progress
from orchestrators.models import Rollout

MAX_SECONDS: Final = 30 * 86_400


class Step(Enum):
    """What is due."""

    SETTLE = "the stage has answered: from now on it is watched"
    NEXT = "the next stage, or the end"
    HALT = "too many failed"


def due(rollout: Rollout, counts: Progress, *, now: datetime) -> Step | None:
    """Return the step that is due, None when it is time to wait. A paused one can only halt."""
    if is_too_bad(rollout, failed(rollout, counts, now=now), counts.reached):
        return Step.HALT
    if rollout.status != Rollout.Status.RUNNING or not _is_settled(rollout, counts, now=now):
        return None
    if rollout.settled_at is None and rollout.soak_seconds:
        return Step.SETTLE
    return Step.NEXT if rollout.settled_at is None or now >= rollout.settled_at + rollout.soak else None


def failed(rollout: Rollout, counts: Progress, *, now: datetime) -> int:
    """Return how many count as failed at `now`; silence does only while the stage runs, not in its soak or a pause."""
    is_watched = rollout.settled_at is not None or rollout.status != Rollout.Status.RUNNING
    is_silence_failure = rollout.is_staged and not is_watched and _is_late(rollout, now=now)
    return counts.failed + counts.missing + (counts.silent if is_silence_failure else 0)


def is_too_bad(rollout: Rollout, number: int, reached: int) -> bool:
    """Whether more failed, of those that were reached, than the thresholds allow."""
    if rollout.max_failed is not None and number > rollout.max_failed:
        return True
    return number * 100 > rollout.max_failed_percent * reached


def reason(rollout: Rollout, counts: Progress, *, now: datetime) -> str:
    """Return why it halts, in a sentence."""
    number = failed(rollout, counts, now=now)
    silent = number - counts.failed
    tail = f", {silent} of them without an answer" if silent else ""
    return f"{number} of {counts.reached} failed{tail}."


def leftovers(counts: Progress) -> str:
    """Return what a finished rollout leaves open, in a sentence; "" when nothing."""
    parts = [(counts.failed, "failed"), (counts.waiting + counts.lost, "did not answer"), (counts.offline, "offline")]
    told = ", ".join(f"{number} {word}" for number, word in parts if number)
    return f"Of {counts.members}: {told}." if told else ""


def _is_late(rollout: Rollout, *, now: datetime) -> bool:
    return now >= rollout.stage_started_at + rollout.stage_timeout


def _is_settled(rollout: Rollout, counts: Progress, *, now: datetime) -> bool:
    if not (counts.waiting or counts.offline or counts.lost):
        return True
    may_still_answer = counts.waiting > counts.silent or counts.lost > counts.missing
    return _is_late(rollout, now=now - rollout.grace if may_still_answer else now)


def check(limits: dict[str, int | None]) -> None:
    """Raise `invalid_field` for limits of a new rollout that are out of their bounds."""
    bounds = {
        "max_failed_percent": (0, 100),
        "stage_timeout_seconds": (1, MAX_SECONDS),
        "soak_seconds": (0, MAX_SECONDS),
    }
    for name, (low, high) in bounds.items():
        value = limits.get(name, low)
        if value is None or not low <= value <= high:
            raise InvalidInput(fields={name: f"Give {low} to {high}."})
