"""What became of many tasks, told by their rows and timelines: each done once, none lost, the urgent ones first."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import QuerySet

from orchestrators.models import Task, TaskStep
from orchestrators.work.holding import FIRST_PAUSE_SECONDS

Kind = TaskStep.Kind
WAITS_AFTER: Final = (Kind.CREATED, Kind.GIVEN_BACK, Kind.ATTEMPT_FAILED)
WITHIN_SECONDS: Final = 2.0
"""How long a take may be on its way between its look at the clock and its commit, with a machine under load."""

LOOK_SECONDS: Final = 0.1
"""How long a thread may be away between its look at the clock and its reading of the rows."""


@dataclass
class Story:
    """One task: its row, and when it waited to be taken (from, to)."""

    row: Task
    kinds: Counter[str] = field(default_factory=Counter)
    waits: list[tuple[datetime, datetime]] = field(default_factory=list)
    takers: list[tuple[datetime, str]] = field(default_factory=list)
    turns: list[tuple[datetime, datetime, int]] = field(default_factory=list)  # ready at, taken at, the line's number


def read(rows: QuerySet[Task]) -> list[Story]:
    """Read tasks with their timelines."""
    steps: dict[int, list[TaskStep]] = defaultdict(list)
    for step in TaskStep.objects.filter(task__in=rows).order_by("id"):
        steps[step.task_id].append(step)
    return [_story(row, steps[row.pk]) for row in rows]


def _story(row: Task, steps: Iterable[TaskStep]) -> Story:
    story, since, failures = Story(row), None, 0
    ready = row.created_at
    for step in steps:
        story.kinds[step.kind] += 1
        if step.kind == Kind.TAKEN and since is not None:
            story.waits.append((since, step.at))
            story.takers.append((step.at, step.actor))
            story.turns.append((ready, step.at, step.pk))
        failures += step.kind == Kind.ATTEMPT_FAILED
        pause = FIRST_PAUSE_SECONDS * 2 ** (failures - 1) if step.kind == Kind.ATTEMPT_FAILED else 0
        since = step.at + timedelta(seconds=pause) if step.kind in WAITS_AFTER else None
        ready = step.at
    return story


def check(stories: Sequence[Story], tokens: dict[str, set[str]]) -> None:
    """Assert that each task was completed exactly once, by a run of its own, or is dead with its reason.

    `tokens` are those of the runs, by the `id` in the payload.
    """
    for story in stories:
        row, kinds = story.row, story.kinds
        ends = kinds[Kind.COMPLETED] + kinds[Kind.DEAD] + kinds[Kind.FAILED] + kinds[Kind.CANCELLED]
        assert (ends, kinds[row.status]) == (1, 1), (row.task_id, row.status, kinds)
        assert row.lease == kinds[Kind.TAKEN], (row.task_id, row.lease, kinds)
        if row.status == Task.Status.COMPLETED:
            result: Any = row.result
            assert result["token"] in tokens[row.payload["id"]], row.task_id
        else:
            assert row.status == Task.Status.DEAD, (row.task_id, row.status)
            assert "the last)" in row.error, row.error


def overtaken(stories: Sequence[Story], types: Sequence[str], *, taker: str) -> list[str]:
    """Return the takes (by whom `taker` names, of the types they all can do) that passed over a more urgent task.

    That is one that could be taken WITHIN_SECONDS before the take looked, and was not taken WITHIN_SECONDS after.
    """
    margin = timedelta(seconds=WITHIN_SECONDS)
    moments: list[tuple[datetime, int, int, str]] = []  # when, what (0: begins to wait, 1: ends, 2: taken), how urgent
    for story in stories:
        if story.row.task_type not in types:
            continue
        for since, until in story.waits:
            if until - since > 2 * margin:
                moments += [(since + margin, 0, story.row.priority, ""), (until - margin, 1, story.row.priority, "")]
        moments += [(at, 2, story.row.priority, story.row.task_id) for at, who in story.takers if who.startswith(taker)]
    waiting: Counter[int] = Counter()
    wrong = []
    for at, what, priority, task_id in sorted(moments):
        if what == 2 and any(count and urgent > priority for urgent, count in waiting.items()):
            wrong.append(f"{task_id} ({priority}) at {at}")
        waiting[priority] += {0: 1, 1: -1, 2: 0}[what]
    return wrong


def passed_over(stories: Sequence[Story], types: Sequence[str], *, takers: int) -> list[str]:
    """Return the takes that left a more urgent task to a take that came more than `takers` takes later.

    For tasks without pauses, in a process of its own threads: there the order of the lines is that of the takes, but
    for those under way together. A take looks at the clock first, so the later one must also have looked LOOK_SECONDS
    later: the row it took was not held by it when the former read.
    """
    look = timedelta(seconds=LOOK_SECONDS)
    found = sorted(
        (number, ready, taken, story.row.priority)
        for story in stories
        if story.row.task_type in types
        for ready, taken, number in story.turns
    )
    return [
        f"take {place} ({priority}) left {found[later][3]} to take {later}"
        for place, (_, _, taken, priority) in enumerate(found)
        for later in range(place + takers + 1, len(found))
        if found[later][3] > priority and found[later][1] < taken - look and found[later][2] > taken + look
    ]
