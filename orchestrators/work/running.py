"""Doing tasks in a worker: taken from the rows one by one, highest priority first, each under a lease that is renewed.

The broker only says "look now", so its order decides nothing. A worker that is killed renews no lease any more, and the
sweep gives its tasks back. Tasks run in threads of their own: Celery's have the clock's work to do.
"""

import json
import logging
import secrets
import threading
import time
from datetime import datetime, timedelta
from itertools import product
from typing import Any, Final

from django.conf import settings
from django.db import DatabaseError, DataError, InterfaceError, OperationalError, connections, models, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Cast, Concat
from django.utils import timezone

from moolai.errors import AppError, Conflict
from orchestrators import nodes
from orchestrators.models import Instance, Task
from orchestrators.work import handlers, holding, lines
from orchestrators.work.handlers import Again, Lost, Refused

logger = logging.getLogger(__name__)
LONGEST_SECONDS: Final = 3600  # a handler without a `timeout_seconds` that hangs keeps its task no longer than that
RELAY_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 0.5  # at first, then up to eight times as long
TAKERS: Final = 32  # that may be at one line at the same moment
MAX_RESULT_BYTES: Final = 4 * 1024 * 1024
_lock = threading.Lock()
_stopping = threading.Event()
_running: dict[int, "Lease"] = {}
_threads = 0
_wakes = 0
_relayed_at = 0.0


class Lease:
    """The lease of a task that runs here, renewed in a thread of its own until the task is done, or lost."""

    def __init__(self, task: Task) -> None:
        self.task, self._done, self._is_lost = task, threading.Event(), False
        self._until = time.monotonic() + (task.timeout_seconds or LONGEST_SECONDS)
        self._reported: tuple[int, float] = (-1, 0.0)

    def report(self, percent: int) -> None:
        """Store how far the task is, and renew the lease; raises Lost."""
        now = time.monotonic()
        if self._is_lost:
            raise Lost
        if percent == self._reported[0] and now - self._reported[1] < 1:
            return
        try:
            holding.progress(self.task, percent=percent)
        except Conflict:
            self._is_lost = True
            raise Lost from None
        self._reported = percent, now

    def __enter__(self) -> "Lease":
        threading.Thread(target=self._keep, name="task-lease", daemon=True).start()
        _running[self.task.pk] = self
        return self

    def __exit__(self, *_: object) -> None:
        _running.pop(self.task.pk, None)
        self._done.set()

    def leave(self) -> None:
        """Give the task back, whose handler finds its lease lost with the next report."""
        self._is_lost = True
        holding.give_back(self.task, reason="the worker ended", counts=False)

    def _keep(self) -> None:
        try:
            while not self._done.wait(settings.TASK_LEASE_SEC / 3) and time.monotonic() < self._until:
                self._renew()
        except Conflict:
            self._is_lost = True
        finally:
            connections.close_all()

    def _renew(self) -> None:
        try:
            holding.progress(self.task)
        except Conflict:
            raise
        except (DatabaseError, InterfaceError) as error:
            logger.warning("the lease of task %s could not be renewed: %s", self.task.task_id, error)
        except Exception:
            logger.exception("the lease of task %s could not be renewed", self.task.task_id)
        finally:
            connections.close_all()  # it is not needed for a third of the lease, and the pool is small


def start() -> None:
    """See to it that waiting tasks are done, by up to TASK_THREADS threads of this process; does not wait for them."""
    global _wakes
    with _lock:
        _wakes += 1
    _grow()


def stop() -> None:
    """Take nothing more, and give back what runs here: for a worker that ends in order."""
    _stopping.set()
    for lease in list(_running.values()):
        try:
            lease.leave()
        except (AppError, DatabaseError, InterfaceError) as error:
            logger.info("task %s could not be given back: %s", lease.task.task_id, error)


def drain() -> int:
    """Do every task that a worker may do and nobody holds, in the calling thread; return how many were taken."""
    count = 0
    while not _stopping.is_set() and (task := take()) is not None:
        count += 1
        run(task)
    return count


def take() -> Task | None:
    """Take the most urgent task for a worker, of equals one of who holds the fewest; None when there is none."""
    holder = holding.Holder(f"worker {nodes.process()}:{secrets.token_hex(3)}")
    with transaction.atomic():
        now = timezone.now()  # of the transaction: it may have had to wait
        ours, types = _ours(now), handlers.types()
        rows = holding.waiting(now=now).filter(ours, task_type__in=types)
        heads = list(lines.heads(holding.due(now=now).filter(ours), types))
        for is_equal, line in product((True, False), heads):
            if found := _reserve(rows, line, is_equal=is_equal):
                return holding.hold(found[0], holder, now=now)
    return None


def _reserve(rows: QuerySet[Task], line: lines.Line, *, is_equal: bool) -> list[Task]:
    """Reserve the first task of a line; where others are at it, the first that they leave.

    At first that has to be as urgent (`is_equal`), for the next line may begin with one that is more so than the rest.
    """
    if is_equal and (found := holding.reserve(rows.filter(pk=line.pk), 1)):
        return found
    own = rows.filter(organization=line.organization_id, **({"priority": line.priority} if is_equal else {}))
    return holding.reserve(rows.filter(pk__in=lines.first(own, handlers.types(), TAKERS)), 1)


def _ours(now: datetime) -> Q:
    """Return what workers may take of the types they have handlers for: what no connected orchestrator does, too.

    What orchestrators leave lying for as long as a lease is done by a worker all the same.
    """
    word = Concat(Value('"'), OuterRef("task_type"), Value('"'), output_field=models.TextField())
    able = (
        Instance.objects.connected()
        .exclude(credential_id="")
        .annotate(words=Cast("capabilities", models.TextField()))
        .filter(is_acknowledging=True, organization_id=OuterRef("organization_id"), words__contains=word)
    )
    is_left = Q(run_after__lte=now - timedelta(seconds=settings.TASK_LEASE_SEC))
    is_ours = Q(task_type__in=sorted(handlers.workers_only()))
    return is_ours | is_left | Q(~Exists(able))


def run(task: Task) -> None:
    """Do a task that was taken, and settle it; whatever breaks in its handler fails the attempt."""
    handler = handlers.find(task.task_type)
    if handler is None:
        return
    with Lease(task) as lease:
        try:
            text = json.dumps(handler(task, lease.report), allow_nan=False)
            if len(text) > MAX_RESULT_BYTES:
                raise Refused(f"The result has more than {MAX_RESULT_BYTES // 1024**2} MiB of JSON.")
            result = json.loads(text)
        except Lost:
            logger.info("task %s is not ours any more", task.task_id)
        except Refused as problem:
            _settle(task, error=problem.reason or "refused", is_final=True)
        except Again as problem:
            _settle(task, error=problem.reason or "to be tried again")
        except AppError as problem:
            _settle(task, error=problem.detail or problem.code)
        except (OperationalError, InterfaceError) as error:
            logger.warning("task %s waits: %s", task.task_id, error)  # its lease runs out
            connections.close_all()
        except Exception as error:
            logger.exception("task %s broke off", task.task_id)
            _settle(task, error=f"The handler broke off ({type(error).__name__}).")
        else:
            _settle(task, result=result)


def _settle(task: Task, *, result: Any = None, error: str = "", is_final: bool = False) -> None:
    """Store what came of a task; while the database does not answer, again for as long as its lease may last."""
    until, pause = time.monotonic() + settings.TASK_LEASE_SEC, RETRY_SECONDS
    while True:
        try:
            return _end(task, result=result, error=error, is_final=is_final)
        except (DatabaseError, InterfaceError) as broken:
            logger.warning("task %s could not be settled: %s", task.task_id, broken)
            connections.close_all()
            is_blip = isinstance(broken, OperationalError | InterfaceError)
            if not is_blip or time.monotonic() + pause > until or _stopping.wait(pause):
                return None  # its lease runs out
        pause = min(2 * pause, 8 * RETRY_SECONDS)


def _end(task: Task, *, result: Any, error: str, is_final: bool) -> None:
    try:
        if error:
            holding.fail(task, error=error, is_final=is_final)
        else:
            holding.finish(task, result=result)
    except Conflict:
        logger.info("what came of task %s does not count: it is over, or in other hands", task.task_id)
    except DataError:
        holding.fail(task, error="The result cannot be stored.", is_final=True)


# --- threads --------------------------------------------------------------------------------------------------------


def _grow() -> None:
    """Add a thread; where there are enough, let another worker know that there is work."""
    global _threads, _relayed_at
    with _lock:
        if _stopping.is_set():
            return
        is_full, now = _threads >= settings.TASK_THREADS, time.monotonic()
        if not is_full:
            _threads += 1
        is_due = is_full and now - _relayed_at >= RELAY_SECONDS
        _relayed_at = now if is_due else _relayed_at
    if is_due:
        handlers.wake()
    if is_full:
        return
    threading.Thread(target=_work, name="task", daemon=True).start()


def _work() -> None:
    seen = -1
    try:
        while not _is_done(seen):
            seen = _wakes
            while not _stopping.is_set() and (task := take()) is not None:
                _grow()  # where one waits there may be more
                run(task)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("tasks wait, the database does not answer: %s", error)
        _leave()
    except BaseException:
        _leave()
        raise
    finally:
        connections.close_all()


def _is_done(seen: int) -> bool:
    """Whether nobody woke us up since `seen`; then this thread counts no more."""
    global _threads
    with _lock:
        if seen != _wakes and not _stopping.is_set():
            return False
        _threads -= 1
        return True


def _leave() -> None:
    global _threads
    with _lock:
        _threads -= 1
