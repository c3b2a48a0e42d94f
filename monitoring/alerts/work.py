"""The probes of the task queue: how deep, how old, and what of it is late or given up. Reads rows."""

from datetime import timedelta
from typing import Final, cast

from monitoring.alerts.probes import CONTROLLER, Moment, Reading, Source, Subject
from orchestrators.work import figures

MISSED_WITHIN: Final = timedelta(minutes=10)  # a target that was missed is told, however soon the task ended then
Values = dict[Subject, float | Reading]


def pending(moment: Moment) -> Values:
    """Return how many tasks wait, for approval or to be taken: of all, and of each organization."""
    return _shares(moment, 0)


def processing(moment: Moment) -> Values:
    """Return how many tasks run: of all, and of each organization."""
    return _shares(moment, 1)


def oldest(moment: Moment) -> Values:
    """Return for how many seconds the oldest task that may be taken waits: of all, and of each organization."""
    found = figures.oldest_by_organization(now=moment.now)
    values: Values = {CONTROLLER: max(found.values(), default=0.0)}
    return values | {(name, ""): seconds for name, seconds in found.items()}


def late(moment: Moment) -> Values:
    """Return how many tasks of each organization missed their target: still open, or missed just now."""
    found = figures.late_by_organization(now=moment.now, missed_within=MISSED_WITHIN)
    return {(name, ""): Reading(float(number), _missed(number)) for name, number in found.items()}


def dead(moment: Moment) -> Values:
    """Return how many tasks of each organization were given up within the last hour."""
    return {(name, ""): float(number) for name, number in figures.dead_by_organization(now=moment.now).items()}


def _missed(number: int) -> str:
    return "One task missed its target." if number == 1 else f"{number} tasks missed their target."


def _shares(moment: Moment, index: int) -> Values:
    if "open_tasks" not in moment.cache:
        moment.cache["open_tasks"] = figures.pending_by_organization()
    found = cast(dict[str, tuple[int, int]], moment.cache["open_tasks"])
    values: Values = {CONTROLLER: float(sum(numbers[index] for numbers in found.values()))}
    return values | {(name, ""): float(numbers[index]) for name, numbers in found.items()}


SOURCES: Final = {
    "queue_pending": Source(pending, is_timeless=True),
    "queue_processing": Source(processing, is_timeless=True),
    "queue_oldest_seconds": Source(oldest, is_timeless=True),
    "tasks_late": Source(late, is_timeless=True),
    "tasks_dead_per_hour": Source(dead, is_timeless=True),
}
