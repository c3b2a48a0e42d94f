"""What the workers can do by themselves: the types of tasks that apps have a function for.

An app names its functions in `<app>/task_handlers.py` (`TASK_HANDLERS`); `moolai/wiring.py` lists them all. A task of
such a type runs in a worker unless a connected orchestrator says that it is capable of it; `WORKERS_ONLY` names those
that no orchestrator can do, and `TASK_CHECKS` what is looked at before a task is made.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from orchestrators.models import Task
from orgs.models import Organization

Report = Callable[[int], None]
"""Renews the lease and stores how far the task is (0 to 100); raises Lost. To be called every few seconds."""
Handler = Callable[[Task, Report], Any]
"""Does a task, outside of a transaction, and returns its result as JSON; an exception fails the attempt."""
Handlers = Mapping[str, Handler]
Check = Callable[[Organization, Any], None]
"""Looks at a payload in the transaction that makes a task of it; raises an AppError where it must not be made."""
Checks = Mapping[str, Check]
_handlers: Handlers = {}
_checks: Checks = {}
_workers_only: frozenset[str] = frozenset()
_listeners: list[Callable[[], None]] = []


class Lost(Exception):
    """The task was cancelled, or is in other hands: whoever works on it stops, and nothing of it counts."""


class Again(Exception):
    """The attempt failed for a reason that may be over soon, and is known; `reason` is what the timeline says."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Refused(Exception):
    """The task has failed for good, and is not tried again; `reason` is what its creator reads."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def install(handlers: Handlers, *, checks: Checks | None = None, workers_only: Collection[str] = ()) -> None:
    """Name the handler of each type of task, and what holds for some; called once by `moolai/wiring.py`."""
    global _handlers, _checks, _workers_only
    _handlers, _checks, _workers_only = handlers, checks or {}, frozenset(workers_only)


def types() -> list[str]:
    """Return the types of tasks that workers do."""
    return list(_handlers)


def workers_only() -> frozenset[str]:
    """Return the types of tasks that nobody but a worker can do, whatever an orchestrator says it is capable of."""
    return _workers_only


def check(organization: Organization, task_type: str, payload: Any) -> None:
    """Raise an AppError where a task of this type must not be made of this payload; to be called in a transaction."""
    if (look := _checks.get(task_type)) is not None:
        look(organization, payload)


def find(task_type: str) -> Handler | None:
    """Return what does tasks of a type, None where no worker can."""
    return _handlers.get(task_type)


def on_wake(listener: Callable[[], None]) -> None:
    """Call `listener` after each transaction that left a task for the workers: a wake-up, which may get lost."""
    _listeners.append(listener)


def wake() -> None:
    """Tell the listeners that there is a task that a worker does."""
    for listener in _listeners:
        listener()
