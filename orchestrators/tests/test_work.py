"""The task queue: routed, approved, taken by priority under leases that fence, tried again, and swept."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from moolai.errors import Conflict, Forbidden, InvalidInput
from orchestrators import work
from orchestrators.models import Agent, Approval, Route, Task
from orchestrators.work import agents, approvals, board, counts, sweeping
from orgs import audit, organizations
from orgs.models import AuditEntry, Event, Organization, User

WORKER = work.Holder("worker-1")


@pytest.fixture
def acme(db: None) -> Organization:
    return organizations.create("acme", name="Acme", acting_user=None)


def make(organization: Organization, kind: str = "bugfix", priority: Any = "P2", **more: Any) -> Task:
    details = board.Details(**{name: more.pop(name) for name in ("sla_target", "timeout_seconds") if name in more})
    return work.create(
        organization, task_type=kind, payload={"n": 1}, priority=priority, acting_user=None, details=details, **more
    )


def take(holder: work.Holder = WORKER, **later: float) -> Task | None:
    found = work.take(holder, now=timezone.now() + timedelta(**later))
    return found[0] if found else None


def taken(holder: work.Holder = WORKER, **later: float) -> Task:
    task = take(holder, **later)
    assert task is not None
    return task


def timeline(task: Task) -> list[str]:
    return list(task.steps.values_list("kind", flat=True))


# --- creating and routing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "agent"),
    [("refactor", "dev_agent"), ("incident", "ops_agent"), ("knowledge_sync", "faq_agent"), ("else", "dev_agent")],
)
def test_a_task_goes_to_the_agent_its_type_is_routed_to(acme: Organization, kind: str, agent: str) -> None:
    task = make(acme, kind)
    assert (task.status, task.assigned_agent) == ("assigned", agent)
    assert acme.agents.get().agent_id == agent
    make(acme, kind)
    assert acme.agents.count() == 1


def test_creating_a_task_takes_as_many_statements_however_many_agents_there_are(acme: Organization) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as asked:
            make(acme, "unheard_of")
        return len(asked)

    make(acme, "unheard_of")
    before = statements()
    for number in range(30):
        Agent.objects.create(organization=acme, agent_id=f"a{number}", name="Agent", capabilities=["something"])
    assert statements() == before <= 12


def test_an_organizations_own_route_and_its_able_agents_come_before_the_rest(acme: Organization) -> None:
    other = organizations.create("other", name="Other", acting_user=None)
    Route.objects.create(organization=acme, task_type="bugfix", agent_id="fixer")
    agents.create(acme, name="Translator", agent_id="translator", capabilities=["translate"], acting_user=None)
    assert [make(acme, kind).assigned_agent for kind in ("bugfix", "translate")] == ["fixer", "translator"]
    assert [make(other, kind).assigned_agent for kind in ("bugfix", "translate")] == ["dev_agent", "dev_agent"]


@pytest.mark.parametrize(
    ("given", "number", "waits"),
    [("P0", 10, True), ("P1", 8, True), ("P2", 5, False), ("P3", 2, False), ("critical", 10, True),
     ("high", 8, False), ("normal", 5, False), ("low", 2, False), (10, 10, False), (1, 1, False)],
)  # fmt: skip
def test_only_p0_p1_and_critical_wait_for_a_person(acme: Organization, given: Any, number: int, waits: bool) -> None:
    task = make(acme, priority=given)
    assert (task.priority, task.status) == (number, "pending_approval" if waits else "assigned")
    assert Approval.objects.filter(task=task, status="pending").count() == waits


@pytest.mark.parametrize("given", [0, 11, "P4", "", None, True, 5.0, [5]])
def test_what_is_no_priority_is_refused(acme: Organization, given: Any) -> None:
    with pytest.raises(InvalidInput):
        make(acme, priority=given)
    assert not Task.objects.exists()


def test_a_step_of_a_workflow_never_waits_and_a_route_may_always(acme: Organization) -> None:
    Route.objects.create(organization=acme, task_type="payout", agent_id="cashier", needs_approval=True)
    for kind in ("bugfix", "payout"):
        step = work.create_steps(acme, task_type=kind, wanted=[({}, "P0")], acting_user=None)[0]
        assert Task.objects.get(pk=step.pk).status == "assigned"
    assert make(acme, "payout", 1).status == "pending_approval"


# --- approvals -------------------------------------------------------------------------------------------------------


def test_nobody_takes_a_task_before_it_is_approved(acme: Organization) -> None:
    task = make(acme, priority="P1")
    assert take() is None
    with audit.origin("alice"):
        approvals.approve(task.approval, acting_user=None, reason="fine")
    assert taken().task_id == task.task_id
    row = Approval.objects.get()
    assert (row.status, row.decided_by, row.decision_reason) == ("approved", "alice", "fine")
    assert timeline(task) == ["created", "approval_requested", "approved", "taken"]
    assert AuditEntry.objects.get(action="approval.approve").actor == "alice"


def test_a_decision_is_made_once(acme: Organization) -> None:
    task = make(acme, priority="P0")
    approvals.reject(task.approval, acting_user=None, reason="too risky")
    task.refresh_from_db()
    assert (task.status, task.error) == ("cancelled", "rejected: too risky")
    for decide in (approvals.approve, approvals.reject):
        with pytest.raises(Conflict):
            decide(task.approval, acting_user=None)
    assert take() is None


@pytest.mark.parametrize("is_forbidden", [True, False])
def test_an_organization_may_forbid_approving_ones_own(acme: Organization, is_forbidden: bool) -> None:
    acme.settings = {"approvals": {"forbid_own": is_forbidden}}
    acme.save()
    task = make(acme, priority="P0", creator="key:1")
    if is_forbidden:
        with pytest.raises(Forbidden):
            approvals.approve(task.approval, acting_user=None, caller_id="key:1")
        assert Approval.objects.get().status == "pending"
        assert approvals.approve(task.approval, acting_user=None, caller_id="key:2").status == "approved"
    else:
        assert approvals.approve(task.approval, acting_user=None, caller_id="key:1").status == "approved"


def test_an_approval_escalates_once_and_then_expires(acme: Organization) -> None:
    task, now = make(acme, priority="P0"), timezone.now()
    assert work.sweep(now=now + timedelta(minutes=14))["approvals_escalated"] == 0
    assert work.sweep(now=now + timedelta(minutes=16))["approvals_escalated"] == 1
    assert work.sweep(now=now + timedelta(minutes=17))["approvals_escalated"] == 0
    assert work.sweep(now=now + timedelta(hours=25))["approvals_expired"] == 1
    task.refresh_from_db()
    assert (task.status, Approval.objects.get().status) == ("cancelled", "expired")
    assert timeline(task)[-2:] == ["escalated", "expired"]


# --- taking and leases -----------------------------------------------------------------------------------------------


def test_the_highest_priority_is_taken_first_and_the_oldest_among_equals(acme: Organization) -> None:
    made = [make(acme, priority=priority) for priority in (2, 9, 5, 9)]
    order = [task.task_id for task in work.take(WORKER, now=timezone.now(), limit=10)]
    assert order == [made[index].task_id for index in (1, 3, 2, 0)]


def test_a_holder_takes_only_of_its_organization_and_types(acme: Organization) -> None:
    make(acme, "bugfix")
    make(organizations.create("other", name="Other", acting_user=None), "feature")
    assert take(work.Holder("w", organization_id="other", types=["bugfix"])) is None
    assert take(work.Holder("w", types=[])) is None
    assert taken(work.Holder("w", organization_id="other")).task_type == "feature"


def test_what_was_finished_does_not_change_again(acme: Organization) -> None:
    make(acme)
    held = taken()
    work.progress(held, percent=40)
    assert Task.objects.get().progress == 40
    done = work.finish(held, result={"ok": True})
    assert (done.status, done.progress, done.result) == ("completed", 100, {"ok": True})
    assert done.completed_at is not None
    assert done.started_at is not None
    for change in (
        lambda: work.finish(held),
        lambda: work.fail(held, error="x"),
        lambda: work.progress(held),
        lambda: work.give_back(held, reason="x"),
        lambda: work.cancel(held, acting_user=None),
        lambda: work.set_status(held, "failed", acting_user=None),
    ):
        with pytest.raises(Conflict):
            change()
    assert Task.objects.get().status == "completed"


def test_a_late_finisher_of_a_lost_lease_is_refused(acme: Organization, settings: Any) -> None:
    make(acme)
    late, now = taken(), timezone.now()
    assert work.sweep(now=now + timedelta(seconds=settings.TASK_LEASE_SEC - 5))["given_back"] == 0
    assert work.sweep(now=now + timedelta(seconds=settings.TASK_LEASE_SEC + 5))["given_back"] == 1
    with pytest.raises(Conflict):
        work.finish(late, result="nobody holds it")
    newer = taken(work.Holder("worker-2"), minutes=2)
    with pytest.raises(Conflict):
        work.finish(late, result="somebody else holds it")
    assert work.finish(newer, result="second").result == "second"
    assert timeline(newer) == ["created", "taken", "given_back", "taken", "completed"]


def test_progress_renews_the_lease(acme: Organization, settings: Any) -> None:
    make(acme)
    held = taken()
    Task.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    work.progress(held)
    assert work.sweep(now=timezone.now())["given_back"] == 0


def test_a_task_that_fails_is_tried_again_with_growing_pauses_and_is_dead_in_the_end(
    acme: Organization, settings: Any
) -> None:
    settings.TASK_MAX_ATTEMPTS = 3
    task = make(acme)
    pauses = []
    for _ in range(3):
        Task.objects.update(run_after=timezone.now())
        row = work.fail(taken(), error="no luck")
        pauses.append((row.run_after - timezone.now()).total_seconds())
        assert take() is None
    task.refresh_from_db()
    assert [round(pause) for pause in pauses[:2]] == [5, 10]
    assert (task.status, task.error) == ("dead", "no luck (attempt 3, the last)")
    assert timeline(task)[-2:] == ["taken", "dead"]


def test_a_task_that_kills_its_holders_is_dead_in_the_end(acme: Organization, settings: Any) -> None:
    settings.TASK_MAX_ATTEMPTS = 2
    make(acme)
    for hours in (1, 2):
        taken(hours=hours - 1)
        work.sweep(now=timezone.now() + timedelta(hours=hours))
    assert Task.objects.get().status == "dead"


def test_a_holder_that_leaves_gives_back_at_once(acme: Organization) -> None:
    make(acme)
    work.give_back(taken(), reason="shutting down")
    assert taken().attempts == 2


def test_what_takes_too_long_has_failed_however_often_it_says_it_lives(acme: Organization) -> None:
    make(acme, timeout_seconds=30)
    held, now = taken(), timezone.now()
    work.progress(held)
    assert work.sweep(now=now + timedelta(seconds=31))["timed_out"] == 1
    assert (Task.objects.get().status, Task.objects.get().error) == ("failed", "timed out after 30 s")


def test_a_missed_target_is_told_once(acme: Organization) -> None:
    task = make(acme, sla_target=timezone.now() + timedelta(minutes=5))
    now = timezone.now()
    counts_of = [work.sweep(now=now + timedelta(minutes=minutes))["targets_missed"] for minutes in (4, 6, 7)]
    assert counts_of == [0, 1, 0]
    assert timeline(task)[-1] == "sla_missed"
    assert Event.objects.filter(kind="task.sla_missed", organization_id="acme").count() == 1


def test_cancelling_takes_the_lease_away_and_withdraws_the_approval(acme: Organization) -> None:
    waiting, running = make(acme, priority="P0"), make(acme)
    held = taken()
    assert held.task_id == running.task_id
    for task in (waiting, running):
        assert work.cancel(task, acting_user=None, reason="not needed").status == "cancelled"
    with pytest.raises(Conflict):
        work.finish(held)
    assert Approval.objects.get().status == "withdrawn"
    assert AuditEntry.objects.filter(action="task.cancel").count() == 2


def test_an_agent_outside_takes_and_settles_a_task_without_a_lease(acme: Organization) -> None:
    task = make(acme)
    with audit.origin("outside"):
        first = work.set_status(task, "in_progress", acting_user=None)
        assert work.set_status(task, "in_progress", acting_user=None).attempts == first.attempts == 1
    with audit.origin("another"), pytest.raises(Conflict):
        work.set_status(task, "in_progress", acting_user=None)
    assert work.sweep(now=timezone.now() + timedelta(days=1))["given_back"] == 0
    with audit.origin("outside"):
        assert work.set_status(task, "failed", acting_user=None, error="no tests").error == "no tests"
    with pytest.raises(Conflict):
        work.set_status(make(acme, priority="P0"), "completed", acting_user=None)


def test_who_holds_a_task_settles_it_or_an_admin(acme: Organization) -> None:
    task = make(acme)
    work.give_back(taken(work.Holder("one", orchestrator_id="one")), reason="no")
    with audit.origin("outside"):
        assert work.set_status(task, "in_progress", acting_user=None).orchestrator_id == ""
    for status in ("completed", "failed"):
        with pytest.raises(Conflict):
            work.set_status(task, status, acting_user=None, orchestrator_id="one")
    assert work.set_status(task, "completed", acting_user=None, is_admin=True).status == "completed"
    make(acme)
    held = taken(work.Holder("one", orchestrator_id="one"))
    with pytest.raises(Conflict):
        work.set_status(held, "failed", acting_user=None, orchestrator_id="two")
    assert work.set_status(held, "failed", acting_user=None, orchestrator_id="one").status == "failed"


def test_a_task_run_again_waits_for_a_person_where_the_first_one_did(acme: Organization) -> None:
    route = Route.objects.create(organization=acme, task_type="payout", agent_id="cashier", needs_approval=True)
    waited, free = make(acme, "payout"), make(acme)
    route.delete()
    again = []
    for task in (waited, free):
        work.cancel(task, acting_user=None)
        again.append(board.run_again(task, acting_user=User(username="ann"), creator="user:1"))
    assert [row.status for row in again] == ["pending_approval", "assigned"]
    assert [row.task_id for row in Task.objects.filter(approval__status="pending")] == [again[0].task_id]


def test_one_fault_does_not_stop_the_sweep_which_goes_on_while_there_is_more(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "AT_ONCE", 1)
    now = timezone.now()
    for _ in range(3):
        make(acme, sla_target=now - timedelta(seconds=1))

    def fail(execute: Any, sql: str, *rest: Any) -> Any:
        if '"deadline_at" <=' in sql:
            raise OperationalError("canceling statement due to statement timeout")
        return execute(sql, *rest)

    with connection.execute_wrapper(fail), pytest.raises(ExceptionGroup) as raised:
        work.sweep(now=now)
    assert len(raised.value.exceptions) == 1
    assert Task.objects.filter(sla_missed_at=now).count() == 3


def test_the_counts_are_the_queues(acme: Organization) -> None:
    for priority in ("P0", "P2", "P2", "P2"):
        make(acme, priority=priority)
    work.finish(taken())
    taken()
    counts.forget()
    assert counts.queue() == {"pending_tasks": 2, "processing_tasks": 1, "total_tasks": 4}
    work.finish(taken())
    assert counts.queue() == {"pending_tasks": 1, "processing_tasks": 1, "total_tasks": 4}  # the total of a moment ago
    counts.forget()
    assert counts.queue() == {"pending_tasks": 1, "processing_tasks": 1, "total_tasks": 4}


@pytest.mark.django_db(transaction=True)
def test_of_many_takers_at_once_each_task_has_one(world: Any) -> None:
    acme = organizations.create("acme", name="Acme", acting_user=None)
    for number in range(40):
        make(acme, priority=number % 10 + 1)
    found: list[tuple[int, str]] = []

    def run(name: str) -> None:
        try:
            while held := work.take(work.Holder(name), now=timezone.now(), limit=3):
                found.extend((task.pk, name) for task in held)
                for task in held:
                    work.finish(task, result=name)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(f"worker-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len({pk for pk, _ in found}) == 40
    assert set(Task.objects.values_list("status", "attempts")) == {("completed", 1)}
    assert connection.vendor in ("sqlite", "postgresql")
