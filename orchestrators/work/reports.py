"""What orchestrators say of the tasks they were given: results and progress, which count under their lease alone."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import transaction

from moolai.errors import Conflict
from orchestrators import protocol
from orchestrators.models import Task
from orchestrators.protocol import FrameError
from orchestrators.work import holding

MAX_TASK_ID_LENGTH: Final = 40
NO_LEASE: Final = -1
REFERENCE: Final = re.compile(r"(tsk_[0-9a-f]{24})\.([0-9]{1,9})")
"""The message_id of a `task` frame: the task and the number of its lease."""
Status = Task.Status


@dataclass(frozen=True, slots=True)
class Word:
    """A validated `task_result` or `task_progress`; `lease` is the one it is about, None where nobody knows."""

    orchestrator_id: str
    organization_id: str
    task_id: str
    message_id: str
    lease: int | None
    is_success: bool = True
    result: Any = None
    error: str = ""
    percent: int | None = None
    weight: int = 0  # bytes of memory while it waits, roughly


def check_result(session: Any, frame: dict[str, Any]) -> Word:
    """Validate a `task_result` (PROTOCOL §1)."""
    success = frame.get("success")
    if type(success) is not bool:
        raise FrameError("invalid_field", "success must be true or false.", path="success")
    error = protocol.text_field(frame, "error", limit=protocol.MAX_STRING_BYTES)[:1000]
    result = frame.get("result")
    weight = protocol.weight(result)
    error = error or "it did not say why"
    word = _word(session, frame, is_success=success, result=result, error=error, weight=weight)
    session.work.settling(word.task_id, word.lease)
    return word


def check_progress(session: Any, frame: dict[str, Any]) -> Word:
    """Validate a `task_progress`; without `progress` it only renews the lease."""
    progress = frame.get("progress")
    if progress is not None and (type(progress) not in (int, float) or not 0 <= progress <= 100):
        raise FrameError("invalid_field", "progress must be a number from 0 to 100.", path="progress")
    word = _word(session, frame, percent=None if progress is None else int(progress), weight=protocol.weight(None))
    session.work.heard_of(word.task_id)
    return word


def _word(session: Any, frame: dict[str, Any], **more: Any) -> Word:
    task_id = frame.get("task_id")
    if type(task_id) is not str or not 0 < len(task_id) <= MAX_TASK_ID_LENGTH:
        raise FrameError("invalid_field", "task_id must name the task.", path="task_id")
    reference = protocol.message_id(frame, required=False)
    match = REFERENCE.fullmatch(reference)
    if match is not None and match[1] != task_id:
        raise FrameError("invalid_field", "message_id is that of another task.", path="message_id")
    lease = int(match[2]) if match else session.work.lease_of(task_id)
    return Word(session.orchestrator_id, session.organization_id, task_id, reference, lease, **more)


@transaction.atomic
def settle(words: Sequence[Word]) -> list[str | None | FrameError]:
    """End tasks as their holders say, in the order of their keys; answer those that carry a `message_id`."""
    rows = _known(words)
    answers: dict[int, str | None | FrameError] = {}
    for index in sorted(range(len(words)), key=lambda index: _key(rows, words[index])):
        answers[index] = _settle(rows.get(words[index].task_id), words[index])
    return [answers[index] for index in range(len(words))]


def _known(words: Sequence[Word]) -> dict[str, Task]:
    columns = ("task_id", "organization_id", "orchestrator_id", "lease", "lease_until", "status")
    rows = Task.objects.filter(task_id__in={word.task_id for word in words})
    return {row.task_id: row for row in rows.only(*columns)}


def _key(rows: dict[str, Task], word: Word) -> int:
    row = rows.get(word.task_id)
    return row.pk if row else 0


def _settle(row: Task | None, word: Word) -> str | None | FrameError:
    task = _held(row, word)
    if isinstance(task, FrameError):
        return task
    try:
        if word.is_success:
            holding.finish(task, result=word.result)
        else:
            holding.fail(task, error=word.error)
    except Conflict:
        return _late(task, word)
    return _ack(word)


def _held(row: Task | None, word: Word) -> Task | FrameError:
    """Return the task under the lease the word is about; one never given to this orchestrator is `unknown_ref`."""
    if row is None or row.organization_id != word.organization_id:
        return _unknown(word)
    if row.orchestrator_id != word.orchestrator_id:
        return _lost(word) if word.lease is not None and word.lease < row.lease else _unknown(word)
    if row.status == Status.IN_PROGRESS and row.lease_until is None:
        return Task(pk=row.pk, lease=NO_LEASE)  # somebody took it by hand
    is_leased = row.lease_until is not None or row.is_over
    lease = word.lease if word.lease is not None else row.lease if is_leased else NO_LEASE
    return Task(pk=row.pk, lease=lease)


def _unknown(word: Word) -> FrameError:
    return FrameError("unknown_ref", "No task of this id was given to this orchestrator.", task_id=word.task_id)


def _ack(word: Word, *, duplicate: bool = False) -> str | None:
    return protocol.ack(word.message_id, duplicate=duplicate) if word.message_id else None


def _late(task: Task, word: Word) -> str | None | FrameError:
    """Answer a result that changes nothing: a repeat, a last word on what was stopped, or one without a lease."""
    row = Task.objects.only("lease", "status").get(pk=task.pk)
    is_repeat = word.is_success == (row.status == Status.COMPLETED)
    is_stopped = not word.is_success and row.status != Status.COMPLETED
    if row.lease == task.lease and row.status != Status.IN_PROGRESS and (is_repeat or is_stopped):
        return _ack(word, duplicate=True)
    return _lost(word)


def _lost(word: Word) -> FrameError:
    detail = "The task is over, or was given to somebody else; what is sent for it does not count. Stop working on it."
    return FrameError("lease_lost", detail, task_id=word.task_id)


def settled(session: Any, word: Word) -> None:
    """Take the task off the session's hands, whose result is stored or whose lease is lost."""
    session.hub.dispatch.settled(session, word.task_id, word.lease)


def renew(words: Sequence[Word]) -> list[None | FrameError]:
    """Renew leases, and note how far the tasks are."""
    rows = _known(words)
    answers: list[None | FrameError] = []
    for word in words:
        task = _held(rows.get(word.task_id), word)
        answers.append(task if isinstance(task, FrameError) else _renew(task, word))
    return answers


def _renew(task: Task, word: Word) -> None | FrameError:
    try:
        holding.progress(task, percent=word.percent)
    except Conflict:
        return _lost(word)
    return None
