"""Tasks that a worker does: by priority, under a lease that is renewed, settled as their handler ends."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.db.backends.signals import connection_created
from django.utils import timezone

from moolai.errors import AppError
from orchestrators import work
from orchestrators.models import Instance, Task
from orchestrators.work import handlers, handout, holding, lines, running
from orchestrators.work.handlers import Again, Lost, Refused, Report
from orgs import organizations
from orgs.models import Organization

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def acme(db: None) -> Organization:
    return organizations.create("acme", name="Acme", acting_user=None)


@pytest.fixture(autouse=True)
def no_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "_handlers", {})
    monkeypatch.setattr(running, "_stopping", threading.Event())


def can(monkeypatch: pytest.MonkeyPatch, **found: Any) -> None:
    monkeypatch.setattr(handlers, "_handlers", found)


def make(organization: Organization, kind: str = "job", priority: Any = 5, **payload: Any) -> Task:
    return work.create(organization, task_type=kind, payload=payload, priority=priority, acting_user=None)


def rise(error: Exception) -> Any:
    raise error


@pytest.mark.parametrize(
    ("handler", "status", "said"),
    [
        (lambda task, report: {"seen": task.payload}, "completed", ""),
        (lambda task, report: rise(Refused("the payload is empty")), "failed", "the payload is empty"),
        (lambda task, report: rise(AppError("conflict", "The file is gone.")), "assigned", "The file is gone."),
        (lambda task, report: rise(Again("provider_unavailable: 503")), "assigned", "provider_unavailable: 503"),
        (lambda task, report: rise(KeyError("secret")), "assigned", "The handler broke off (KeyError)."),
        (lambda task, report: {1, 2}, "assigned", "The handler broke off (TypeError)."),
        (lambda task, report: "x" * 2**22, "failed", "The result has more than 4 MiB of JSON."),
        (lambda task, report: float("nan"), "assigned", "The handler broke off (ValueError)."),
    ],
)
def test_a_task_ends_as_its_handler_does(
    acme: Organization, monkeypatch: pytest.MonkeyPatch, handler: Any, status: str, said: str
) -> None:
    can(monkeypatch, job=handler)
    make(acme, n=1)
    make(acme, "other")
    assert running.drain() == 1
    row = Task.objects.get(task_type="job")
    assert (row.status, row.error, row.attempts) == (status, said, 1)
    assert row.result == ({"seen": {"n": 1}} if status == "completed" else None)
    assert row.holder.startswith("worker ")
    assert Task.objects.get(task_type="other").status == "assigned"  # no handler: for orchestrators and agents outside


def test_progress_is_stored_and_a_cancelled_task_stops_its_handler(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def handler(task: Task, report: Report) -> None:
        for percent in (10, 55):
            report(percent)
            seen.append(Task.objects.get().progress)
        work.cancel(task, acting_user=None)
        try:
            report(90)
        except Lost:
            seen.append("lost")
            raise

    can(monkeypatch, job=handler)
    make(acme)
    running.drain()
    assert seen == [10, 55, "lost"]
    assert Task.objects.get().status == "cancelled"


def test_a_silent_handler_keeps_its_lease(acme: Organization, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.TASK_LEASE_SEC = 0.3

    def handler(task: Task, report: Report) -> int:
        time.sleep(0.7)
        return work.sweep(now=timezone.now())["given_back"]

    can(monkeypatch, job=handler)
    make(acme)
    running.drain()
    assert (Task.objects.get().status, Task.objects.get().result) == ("completed", 0)


@pytest.mark.once
def test_a_lease_is_renewed_again_after_a_renewal_that_broke(
    acme: Organization, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.TASK_LEASE_SEC, broken = 0.3, list[str]()

    def fail(**_: Any) -> None:
        if threading.current_thread().name == "task-lease" and not broken:
            broken.append("once")
            raise RuntimeError("unheard of")

    def handler(task: Task, report: Report) -> int:
        time.sleep(0.5)
        return work.sweep(now=timezone.now())["given_back"]

    can(monkeypatch, job=handler)
    make(acme)
    connection_created.connect(fail)
    try:
        running.drain()
    finally:
        connection_created.disconnect(fail)
    assert (broken, Task.objects.get().status, Task.objects.get().result) == (["once"], "completed", 0)


def test_a_result_outlives_a_database_that_fails_for_a_moment(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter((OperationalError("the server closed the connection"), OperationalError("no server")))
    runs: list[int] = []

    def fail(execute: Any, sql: str, *rest: Any) -> Any:
        if runs and sql.startswith("UPDATE") and (error := next(failures, None)) is not None:
            raise error
        return execute(sql, *rest)

    monkeypatch.setattr(running, "RETRY_SECONDS", 0.01)
    can(monkeypatch, job=lambda task, report: runs.append(task.pk))
    make(acme)
    with connection.execute_wrapper(fail):
        running.drain()
    assert next(failures, None) is None
    assert (Task.objects.get().status, len(runs)) == ("completed", 1)


def test_the_thread_of_a_lease_keeps_no_connection_between_renewals(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    can(monkeypatch, job=lambda task, report: None)
    make(acme)
    task, left = running.take(), []
    assert task is not None

    def renew() -> None:
        running.Lease(task)._renew()
        left.append(connection.connection)

    thread = threading.Thread(target=renew)
    thread.start()
    thread.join()
    assert left == [None]


def test_what_a_connected_orchestrator_can_do_is_left_to_it_for_a_while(
    acme: Organization, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    done: list[str] = []
    can(monkeypatch, job=lambda task, report: done.append(task.organization_id), jobs=lambda task, report: None)
    other = organizations.create("other", name="Other", acting_user=None)
    able = Instance.objects.create(
        orchestrator_id="able", organization=acme, capabilities=["tasks", "job"], is_connected=True,
        is_acknowledging=True, credential_id="key",
    )  # fmt: skip
    for home in (acme, other):
        make(home)
    assert (running.drain(), done) == (1, ["other"])
    make(acme, "jobs")  # not a word that it says
    assert (running.drain(), done) == (1, ["other"])
    late = timezone.now() - timedelta(seconds=settings.TASK_LEASE_SEC + 1)
    Task.objects.filter(task_type="job").update(run_after=late)
    assert (running.drain(), done) == (1, ["other", "acme"])
    for gone in ({"is_connected": False}, {"credential_id": ""}, {"is_acknowledging": False}):
        Instance.objects.filter(pk=able.pk).update(**{"is_connected": True, "credential_id": "k"} | gone)
        make(acme)
        assert running.drain() == 1
    Instance.objects.filter(pk=able.pk).update(is_connected=True, credential_id="k", is_acknowledging=True)
    make(acme)
    assert running.drain() == 0
    monkeypatch.setattr(handlers, "_workers_only", frozenset({"job"}))  # whatever it says that it can do
    assert running.drain() == 1


def test_a_closed_organization_waits(acme: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    can(monkeypatch, job=lambda task, report: None)
    make(acme)
    Organization.objects.update(status=Organization.Status.SUSPENDED)
    assert running.drain() == 0
    Organization.objects.update(status=Organization.Status.ACTIVE)
    assert running.drain() == 1


def test_threads_of_a_worker_do_the_most_urgent_first_and_give_back_at_the_end(
    acme: Organization, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.TASK_THREADS = 2
    order: list[int] = []
    gate, entered, both = threading.Event(), threading.Semaphore(0), threading.Barrier(2)

    def handler(task: Task, report: Report) -> None:
        order.append(task.priority)
        entered.release()
        if task.priority in (8, 4):
            both.wait(10)
        if task.payload.get("waits"):
            gate.wait(10)

    can(monkeypatch, job=handler)
    for priority in (1, 8, 4):
        make(acme, priority=priority)
    try:
        running.start()
        assert all(entered.acquire(timeout=10) for _ in range(3))
        assert order[:2] in ([8, 4], [4, 8])  # two began at once
        assert order[2] == 1
        for _ in range(3):
            make(acme, waits=True)
        running.start()
        assert all(entered.acquire(timeout=10) for _ in range(2))
        running.stop()
        rows = Task.objects.filter(payload__waits=True)
        assert set(rows.values_list("status", "attempts")) == {("assigned", 0)}
    finally:
        gate.set()
        until = time.monotonic() + 10
        while running._threads and time.monotonic() < until:
            time.sleep(0.01)
        connections.close_all()
    assert Task.objects.filter(status="completed").count() == 3


# --- whose turn it is ------------------------------------------------------------------------------------------------


def test_among_equally_urgent_tasks_an_organization_that_holds_more_places_yields(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    can(monkeypatch, job=lambda task, report: None, jobs=lambda task, report: None)
    other = organizations.create("other", name="Other", acting_user=None)
    for number in range(6):
        make(acme, "jobs" if number % 2 else "job", priority=5)
    for _ in range(2):
        make(other, priority=5)

    def takes(count: int) -> list[tuple[str, int]]:
        found = [running.take() for _ in range(count)]
        return [(task.organization_id, task.priority) for task in found if task is not None]

    assert takes(4) == [("acme", 5), ("other", 5), ("acme", 5), ("other", 5)]
    assert takes(2) == [("acme", 5), ("acme", 5)]  # nobody else waits
    make(other, priority=5)
    make(acme, priority=6)
    assert takes(4) == [("acme", 6), ("other", 5), ("acme", 5), ("acme", 5)]  # the more urgent waits behind nobody
    assert running.take() is None
    Task.objects.update(status="completed", completed_at=timezone.now())
    for home, priority in ((acme, 5), (acme, 5), (other, 5)):
        make(home, priority=priority)
    orchestrator = work.Holder("o", organization_id="acme", orchestrator_id="o")
    assert len(work.take(orchestrator, now=timezone.now())) == 1
    assert takes(2) == [("acme", 5), ("other", 5)]  # what orchestrators do takes no worker's place


@pytest.mark.once("postgres")
def test_where_others_are_at_the_first_task_the_next_most_urgent_of_all_is_taken(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    can(monkeypatch, job=lambda task, report: None)
    other = organizations.create("other", name="Other", acting_user=None)
    first = make(acme, priority=7)
    for home, priority in ((acme, 5), (other, 6), (acme, 7)):
        make(home, priority=priority)
    gate, locked = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Task.objects.select_for_update(no_key=True).get(pk=first.pk)
            locked.set()
            gate.wait(10)
        connections.close_all()

    taker = threading.Thread(target=hold)
    taker.start()
    try:
        assert locked.wait(10)
        found = [running.take() for _ in range(4)]
    finally:
        gate.set()
        taker.join()
    assert [task.priority if task else None for task in found] == [7, 6, 5, None]


def effort(action: Callable[[], Any]) -> int:
    """Return how many rows of tasks an action reads on PostgreSQL, how many hundred steps it takes SQLite."""
    steps: list[int] = []
    read = "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE relname = 'tasks'"
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            connection.connection.set_progress_handler(lambda: steps.append(1), 100)
        before = cursor.execute(read).fetchone()[0] if connection.vendor == "postgresql" else 0
        action()
        after = cursor.execute(read).fetchone()[0] if connection.vendor == "postgresql" else len(steps)
        if connection.vendor == "sqlite":
            connection.connection.set_progress_handler(None, 100)
        transaction.set_rollback(True)
    return int(after - before)


def test_what_nobody_can_do_is_not_read_again_and_again(acme: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    can(monkeypatch, job=lambda task, report: None)
    asker = handout.Asker("one", "s", 4, frozenset({"field", "yard"}))
    done: list[Any] = []
    looks: list[Callable[[], Any]] = [
        lambda: done.append(running.take()),
        lambda: done.append(handout.take([handout.Ask("acme", (asker,))])[0].orders),
        lambda: done.append(handout.waited_for(["acme"], now=timezone.now())),
    ]
    make(acme, "job", 1)
    before = make(acme, "field", 1)
    idle = [effort(look) for look in looks]
    fields = {name: getattr(before, name) for name in ("organization", "run_after", "created_at", "created_by")}
    Task.objects.bulk_create(
        Task(task_id=f"t-{number}", task_type=f"nobody-{number % 5}", priority=9, **fields) for number in range(3000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    busy = [effort(look) for look in looks]
    assert all(now <= 2 * then + 20 for now, then in zip(busy, idle, strict=True)), (idle, busy)
    assert [done[3].task_type, [order.task_type for order in done[4]], done[5]] == ["job", ["field"], ["acme"]]
    assert (lines.types("acme"), lines.types("other")) == (["field", "job", *(f"nobody-{n}" for n in range(5))], [])
    rows, few = holding.due(now=timezone.now()), ["field", "job", "nobody-4"]
    many = few + [f"other-{number}" for number in range(lines.MANY)]
    assert lines.first(rows, few, 3001) == lines.first(rows, many, 3001)
    assert len(lines.first(rows, few, 3001)) == 602
    assert effort(lambda: list(Task.objects.filter(progress=1))) > 20 + 2 * max(idle)  # what reads them all is seen
