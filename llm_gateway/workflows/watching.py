"""Watching: runs as they are at a moment, read for all who follow them together, and what of it is new to one of them.

What carries a run from its worker to whoever follows it, in any process, are its rows.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import orjson

from llm_gateway.models import WorkflowContent, WorkflowRun, WorkflowStep
from llm_gateway.sse import frame
from llm_gateway.workflows import contents, frames, runs, telling
from llm_gateway.workflows.kinds import PROMPT
from llm_gateway.workflows.rows import RunRow, RunStepRow

QUEUED: Final = WorkflowRun.Status.QUEUED
ANSWERED: Final = (WorkflowStep.Status.RUNNING, WorkflowStep.Status.COMPLETED)


@dataclass(slots=True)
class Answer:
    """A model's newest answer to a step: the number of its call, and how much of it is there."""

    call: int
    characters: int
    text: str = field(default="", repr=False)
    call_id: str = field(default="", compare=False)


@dataclass(slots=True)
class State:
    """A run at a moment: as the API shows it, its steps too, and the newest answers to them while it is open."""

    is_over: bool
    run: dict[str, Any]
    steps: list[dict[str, Any]]
    answers: dict[str, Answer]


States = Mapping[int, State]


def read(pks: Collection[int], *, now: datetime, before: States = MappingProxyType({})) -> dict[int, State]:
    """Return runs by their keys as they are now; four queries, five with texts, however many there are.

    `before` is what was read last: what cannot have changed since is taken from it.
    """
    over = {pk: state for pk, state in before.items() if state.is_over and pk in pks}
    found = _rows(set(pks) - over.keys())
    if left := [run for run in found if _is_left(run)]:
        for run in left:
            runs.reconcile(run, now=now)
        found = _rows(set(pks) - over.keys())
    waiting = {run.pk: before[run.pk] for run in found if _waits(run, before)}
    found = [run for run in found if run.pk not in waiting]
    spent = telling.costs([run.pk for run in found])
    answers = _answers([run for run in found if not run.is_over], spent, before)
    return over | waiting | {run.pk: _state(run, spent, answers.get(run.pk, {})) for run in found}


def _waits(run: WorkflowRun, before: States) -> bool:
    """Whether a run waits for a worker, as it did before."""
    return run.status == QUEUED and run.pk in before and before[run.pk].run["status"] == QUEUED


def _state(run: WorkflowRun, spent: Mapping[int, dict[str, Any]], answers: dict[str, Answer]) -> State:
    steps = [_step(step, spent.get(step.pk, telling.NOTHING)) for step in run.steps.all()]
    return State(run.is_over, dict(RunRow(telling.brief(run)).data), steps, answers)


def _step(step: WorkflowStep, spent: dict[str, Any]) -> dict[str, Any]:
    return dict(RunStepRow(telling.told_step(step, spent)).data)


def _rows(pks: Collection[int]) -> list[WorkflowRun]:
    rows = WorkflowRun.objects.filter(pk__in=pks).select_related("task").defer("plan")
    return list(rows.prefetch_related("steps"))


def _is_left(run: WorkflowRun) -> bool:
    """Whether a run's task ended without it."""
    return not run.is_over and (run.task is None or run.task.is_over)


def _answers(
    found: Sequence[WorkflowRun], spent: Mapping[int, dict[str, Any]], before: States
) -> dict[int, dict[str, Answer]]:
    """Return the newest answers to the steps of open runs; their texts where those are kept and may be shown."""
    answers: dict[int, dict[str, Answer]] = {}
    unread: dict[tuple[int, str], Answer] = {}
    for run in found:
        for step in run.steps.all():
            if step.status not in ANSWERED or (one := spent.get(step.pk)) is None:
                continue
            answer = Answer(one["calls"], one["characters"], call_id=one["call_id"])
            answers.setdefault(run.pk, {})[step.name] = answer
            known = before[run.pk].answers.get(step.name) if run.pk in before else None
            if run.is_private or step.kind != PROMPT:
                continue
            if known is not None and (known.call_id, known.characters) == (answer.call_id, answer.characters):
                answer.text = known.text
            else:
                unread[run.pk, step.name] = answer
    _add_texts(unread)
    return answers


def _add_texts(unread: Mapping[tuple[int, str], Answer]) -> None:
    """Read the texts of answers; the run's row says whether any may be shown."""
    rows = WorkflowContent.objects.filter(run__in={pk for pk, _ in unread}, run__is_private=False)
    for row in rows.filter(name__startswith=contents.TEXT) if unread else ():
        answer = unread.get((row.run_id, row.name.removeprefix(contents.TEXT)))
        kept = contents.opened(row) if answer is not None else None
        if answer is not None and kept is not None and kept["call_id"] == answer.call_id:
            answer.text = kept["text"]


class Watch:
    """What one client was told of its runs; begins with nothing, or with what `last_event_id` names."""

    def __init__(self, last_event_id: str = "") -> None:
        self._last_event_id = last_event_id
        self._told: dict[tuple[int, str, str], Any] = {}

    def news(self, states: States) -> bytes:
        """Return the events of what changed, b"" for nothing; from then on it is told."""
        events = [event for pk, state in sorted(states.items()) for event in self._of_run(pk, state)]
        if not events:
            return b""
        event_id = _id(states)
        is_known, self._last_event_id = event_id == self._last_event_id, event_id
        return frames.identified(b"" if is_known else b"".join(events), event_id)

    def _of_run(self, pk: int, state: State) -> Iterator[bytes]:
        workflow_id = state.run["workflow_id"]
        if self._is_new(pk, "", "status", state.run):
            yield frame(state.run, name="status")
        for step in state.steps:
            if self._is_new(pk, step["name"], "step", step):
                yield frame({"workflow_id": workflow_id, **step}, name="step")
        for name, answer in state.answers.items():
            told = {"workflow_id": workflow_id, "step": name, "call": answer.call}
            if answer.characters and self._is_new(pk, name, "progress", (answer.call, answer.characters)):
                yield frame({**told, "characters": answer.characters}, name="progress")
            call, at = self._told.get((pk, name, "token"), (0, 0))
            at = at if call == answer.call else 0
            if len(answer.text) > at:
                self._told[pk, name, "token"] = answer.call, len(answer.text)
                yield frame({**told, "at": at, "text": answer.text[at:]}, name="token")

    def _is_new(self, pk: int, name: str, what: str, value: Any) -> bool:
        before, self._told[pk, name, what] = self._told.get((pk, name, what)), value
        return bool(before != value)


def _id(states: States) -> str:
    """Return the id of all that is to be told of some runs: runs and steps that are over, characters, and a digest."""
    parts = [
        [pk, state.run, state.steps, [[name, a.call, a.characters, len(a.text)] for name, a in state.answers.items()]]
        for pk, state in sorted(states.items())
    ]
    runs_over = sum(state.is_over for state in states.values())
    steps_over = sum(step["completed_at"] is not None for state in states.values() for step in state.steps)
    characters = sum(answer.characters for state in states.values() for answer in state.answers.values())
    digest = hashlib.blake2b(orjson.dumps(parts), digest_size=8).hexdigest()
    return f"{runs_over:x}-{steps_over:x}-{characters:x}-{digest}"


@dataclass(slots=True)
class Plan:
    """A stream that may be opened: of which runs, and (`first`) what is told of them at once.

    `check` raises an AppError when the caller may not see them any more; `finish` returns the last event of what is
    over, and raises as `check` does. Both block.
    """

    pks: frozenset[int]
    organization_id: str
    watch: Watch
    check: Callable[[], None]
    finish: Callable[[], bytes]
    first: bytes = b""
