"""Many tasks, workers and orchestrators that vanish: each task is done once, or dead with its reason."""

import random
import threading
from collections import Counter, defaultdict
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from moolai import wiring
from orchestrators import acks, protocol, work
from orchestrators.models import Task
from orchestrators.protocol import FrameError
from orchestrators.work import board, handlers, handout, holding, reports, running
from orchestrators.work.handout import Ask, Asker
from orgs import organizations
from tests import task_ledger

COUNT = 100
HANDS = 4


class Vanished(BaseException):
    """The process is gone: nothing after it happens."""


class Hands:
    """Two threads that are workers, and two that are the process of two orchestrators each."""

    def __init__(self) -> None:
        self.tokens: dict[str, set[str]] = defaultdict(set)
        self.accepted: Counter[str] = Counter()
        self.refused = 0
        self.late: list[reports.Word] = []
        self.overdue: list[reports.Word] = []  # whose lease has run out, and may be somebody else's by now
        self.stale = 0
        self.faults: list[BaseException] = []
        self.lock = threading.Lock()

    def begin(self, number: str) -> str:
        token = f"{number}-{random.getrandbits(40):x}"
        with self.lock:
            self.tokens[number].add(token)
        return token

    def do(self, task: Task, report: handlers.Report) -> dict[str, str]:
        """Be the handler of a worker: one in eight is killed."""
        token = self.begin(task.payload["id"])
        if task.payload["poison"]:
            raise RuntimeError
        if random.random() < 0.12:
            raise Vanished
        report(50)
        return {"token": token}

    def work(self) -> None:
        for _ in range(3 * COUNT):
            try:
                if not running.drain():
                    return
            except Vanished:
                continue

    def orchestrate(self, name: str) -> None:
        """Be a hub: ask for two sessions, and settle what does not vanish; some words come after the lease."""
        askers = tuple(Asker(f"{name}-{one}", f"s-{name}-{one}", 2, frozenset({"field"})) for one in range(2))
        while orders := handout.take([Ask("acme", askers)])[0].orders:
            self.tell_overdue()
            words = [self._word(order, name) for order in orders if random.random() > 0.06]
            late = [word for word in words if word.is_success and random.random() < 0.25]
            with self.lock:
                self.late += late
            self.tell([word for word in words if word not in late])

    def _word(self, order: handout.Order, name: str) -> reports.Word:
        row = Task.objects.get(pk=order.pk)
        token = self.begin(row.payload["id"])
        more: dict[str, Any] = {"result": {"token": token}}
        if row.payload["poison"]:
            more = {"is_success": False, "error": "poison"}
        by = order.session_id.removeprefix("s-")
        return reports.Word(by, "acme", order.task_id, order.message_id, order.lease, **more)

    def tell(self, words: list[reports.Word]) -> int:
        """Settle, and return how many of the words were refused."""
        answers = reports.settle(words)
        refused = sum(isinstance(answer, FrameError) for answer in answers)
        with self.lock:
            self.refused += refused
            for word, answer in zip(words, answers, strict=True):
                self.accepted[word.task_id] += isinstance(answer, str) and word.is_success
        return refused

    def tell_overdue(self) -> None:
        with self.lock:
            words, self.overdue = self.overdue, []
        self.stale += len(words) - self.tell(words)

    def round(self) -> None:
        """Let everybody go on until nothing is left to take."""
        targets = [(self.work, ()), (self.work, ()), (self.orchestrate, ("a",)), (self.orchestrate, ("b",))]
        threads = [threading.Thread(target=self._guard, args=(target, *more)) for target, more in targets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _guard(self, target: Any, *more: Any) -> None:
        try:
            target(*more)
        except BaseException as error:
            self.faults.append(error)
        finally:
            connections.close_all()


@pytest.mark.once
@pytest.mark.parametrize("kind", ["ack", "task_result", "task_progress"])
def test_what_is_said_of_tasks_weighs_while_it_waits_for_the_database(kind: str) -> None:
    weigh = wiring.FRAME_HANDLERS[kind].weigh
    assert weigh is not None
    word = reports.Word("one", "acme", "tsk_1", "", 1, weight=protocol.weight("x"))
    assert weigh(acks.TaskReceipt("tsk_1", 1, True, "") if kind == "ack" else word) >= protocol.ITEM_BYTES


@pytest.mark.django_db(transaction=True)
def test_whoever_vanishes_each_task_is_done_once_and_the_urgent_ones_first(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    hands = Hands()
    settings.TASK_MAX_ATTEMPTS = 4
    monkeypatch.setattr(handlers, "_handlers", {"desk": hands.do})
    monkeypatch.setattr(running, "_stopping", threading.Event())
    monkeypatch.setattr(holding, "FIRST_PAUSE_SECONDS", 0)
    acme = organizations.create("acme", name="Acme", acting_user=None)
    for number in range(COUNT):
        payload = {"id": str(number), "poison": number % 30 == 7}
        kind, urgent = ("desk", "field")[number % 2], number % 10 + 1
        work.create(acme, task_type=kind, payload=payload, priority=urgent, acting_user=None, details=board.Details())
    for _ in range(20):
        hands.round()
        if not Task.objects.filter(completed_at__isnull=True).exists():
            break
        Task.objects.filter(status="in_progress").update(lease_until=timezone.now() - timedelta(seconds=1))
        work.sweep(now=timezone.now())
        hands.overdue, hands.late = hands.late, []
    assert hands.faults == []
    stories = task_ledger.read(Task.objects.all())
    assert len(stories) == COUNT
    task_ledger.check(stories, hands.tokens)
    assert (hands.refused > 0, hands.stale) == (True, 0)
    for story in stories:
        if story.row.task_type == "field":
            assert hands.accepted[story.row.task_id] == (story.row.status == "completed")
    assert {story.row.status for story in stories if story.row.payload["poison"]} == {"dead"}
    # Nothing urgent waits while less urgent work is taken: two take of each type, an orchestrator's hub four at once.
    assert task_ledger.passed_over(stories, ("desk",), takers=2) == []
    assert task_ledger.passed_over(stories, ("field",), takers=8) == []
