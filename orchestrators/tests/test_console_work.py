"""The task queue's pages of the console: the board, tasks, approvals, agents and routes, and what they leave behind."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from moolai.errors import Conflict
from orchestrators import work
from orchestrators.admin import task_steps, task_words
from orchestrators.models import Agent, Approval, Route, Task, TaskStep
from orchestrators.models.task import GIVEN
from orchestrators.work import agents, approvals, board, loads, routes, routing
from orchestrators.work.holding import Holder
from orgs import audit, events, organizations
from orgs.models import AuditEntry, Organization, User
from orgs.tests.desk import said

pytestmark = pytest.mark.django_db
BOARD, COLUMNS = reverse("admin:orchestrators_task_board"), reverse("admin:orchestrators_task_columns")
INBOX = reverse("admin:orchestrators_approval_changelist")
LIST = reverse("admin:orchestrators_task_changelist")
Status = Task.Status


def task(home: Organization, *, kind: str = "bugfix", priority: Any = "P2", **more: Any) -> Task:
    payload = {"title": "<b>no markup</b>"}
    return work.create(home, task_type=kind, payload=payload, priority=priority, acting_user=None, **more)


def page(row: Task) -> str:
    return reverse("admin:orchestrators_task_change", args=[row.pk])


def actions() -> list[str]:
    return list(AuditEntry.objects.filter(action__contains="task").order_by("pk").values_list("action", flat=True))


def text_of(answer: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.content.decode()))


def text_only(html: str) -> str:
    return re.sub(r"<[^>]*>", "", html)


def decide(console: Client, row: Approval, verdict: str, **more: str) -> Any:
    url = reverse("admin:orchestrators_approval_decide", args=[row.pk])
    return console.post(url, {"verdict": verdict, **more})


# --- the board -------------------------------------------------------------------------------------------------------


@pytest.mark.once
def test_the_empty_board_shows_the_call_that_creates_a_task(console: Client) -> None:
    text = console.get(BOARD).content.decode()
    assert "No task yet" in text
    assert "curl -X POST http://testserver/tasks" in text
    empty = console.get(LIST).content.decode()
    assert "No task yet" in empty
    assert "curl -X POST http://testserver/tasks" in empty
    instances = console.get(reverse("admin:orchestrators_instance_changelist")).content.decode()
    assert "--url ws://testserver/ws" in instances
    history = text_of(console.get(f"{INBOX}?state=history"))
    assert "Nothing was decided yet" in history
    assert "Nothing matches" in text_of(console.get(f"{INBOX}?state=history&q=tsk_1"))
    assert "Nothing matches" in text_of(console.get(f"{INBOX}?state=rejected"))
    unknown = console.get(reverse("admin:orchestrators_task_change", args=["tsk_0"]))
    assert (unknown["Location"], said(unknown)) == (LIST, "There is no task “tsk_0”. Perhaps it was deleted.")


def test_the_board_has_each_task_in_its_column_the_urgent_first_and_is_narrowed(
    console: Client, acme: Organization
) -> None:
    beta = organizations.create("beta", name="Beta", acting_user=None)
    low, high = task(acme, priority="P3"), task(acme, priority=9)
    waiting, foreign = task(acme, priority="P0", kind="deployment"), task(beta, kind="refactor")
    [held] = work.take(Holder("worker-1", types=["refactor"]), now=timezone.now())
    assert held == foreign
    work.progress(held, percent=40)
    dead, done, gone = task(acme), task(acme), task(acme)
    Task.objects.filter(pk=dead.pk).update(status="dead", completed_at=timezone.now(), error="it broke")
    work.set_status(done, "completed", acting_user=None)
    work.cancel(gone, acting_user=None)
    old = timezone.now() - timedelta(days=2)
    Task.objects.filter(pk=task(acme).pk).update(status="completed", completed_at=old)
    found = {column.plan.name: column for column in console.get(BOARD).context["columns"]}
    assert {name: [card.task for card in column.cards] for name, column in found.items()} == {
        "approval": [waiting], "assigned": [high, low], "processing": [held], "done": [done], "failed": [dead],
    }  # fmt: skip
    assert [column.count for column in found.values()] == [1, 2, 1, 1, 1]
    text = text_of(console.get(COLUMNS))
    shown = {card.task.pk: text_only(card.level) for column in found.values() for card in column.cards}
    assert (shown[waiting.pk], shown[high.pk], shown[low.pk]) == ("‼ P0", "▲ 9", "○ P3")  # a 9 needs no approval
    assert "worker-1" in text
    assert "it broke" in text
    assert "1 cancelled in the last 24 hours" in text
    narrowed = console.get(f"{COLUMNS}?organization=acme&type=bugfix&level=P3").context["columns"]
    assert [card.task for column in narrowed for card in column.cards] == [low]
    for column in found.values():  # each count leads to a list of that many
        rows = console.get(column.url).context["cl"].result_list
        assert len(rows) == (2 if column.plan.name == "done" else column.count), column.plan.name
    assert [row.pk for row in console.get(narrowed[1].url).context["cl"].result_list] == [low.pk]


@pytest.mark.once
def test_levels_are_ranges_of_numbers_and_each_filter_says_which(console: Client, acme: Organization) -> None:
    given = [*range(1, 11), *GIVEN]
    tasks = [task(acme, priority=priority) for priority in given]
    listed, drawn = console.get(LIST), console.get(BOARD)
    for level, numbers in (("P0", "10"), ("P1", "8–9"), ("P2", "5–7"), ("P3", "1–4")):
        assert f"{level} · {numbers}" in text_of(listed)
        assert f"{level} · {numbers}" in text_of(drawn)
        found = console.get(f"{LIST}?level={level}").context["cl"].result_list
        assert {row.pk for row in found} == {row.pk for row in tasks if row.level == level}, level
        lowest, _, highest = numbers.partition("–")
        assert all(int(lowest) <= row.priority <= int(highest or lowest) for row in found)
    assert [text_only(task_words.level(row)) for row in tasks if row.level == "P1"] == ["▲ 8", "▲ 9", "▲ P1", "▲ high"]
    assert len(console.get(f"{LIST}?level=9").context["cl"].result_list) == len(tasks)


@pytest.mark.once
def test_a_card_says_how_often_it_was_tried_and_which_one_is_dead(
    console: Client, acme: Organization, settings: Any
) -> None:
    settings.TASK_MAX_ATTEMPTS = 3
    now = timezone.now()
    back, resting, tried, dead = (task(acme, kind=name) for name in ("back", "resting", "tried", "dead"))
    rows = Task.objects.filter
    rows(pk=back.pk).update(attempts=1, error="orch-1 did not renew its lease", run_after=now)
    rows(pk=resting.pk).update(attempts=2, error="it broke", run_after=now + timedelta(seconds=90))
    rows(pk=tried.pk).update(status="in_progress", attempts=2, holder="orch-2", started_at=now)
    text = text_of(console.get(COLUMNS))
    assert "Dead" not in text
    rows(pk=dead.pk).update(status="dead", completed_at=now, error="used up")
    text = text_of(console.get(COLUMNS))
    for words in (
        "back attempt 1 of 3: orch-1 did not renew its lease",
        "resting tried again in 1 minute; attempt 2 of 3: it broke", "attempt 2 · orch-2", "Dead used up",
    ):  # fmt: skip
        assert words in text, words


@pytest.mark.once
def test_whoever_decides_reads_the_names_of_keys(console: Client, acme: Organization) -> None:
    with audit.origin("key key_a1afa215cc32598c (ci (of “ops”))"):
        row = task(acme, priority="P1")
    name = "API key “ci (of “ops”)”"
    for answer in (console.get(INBOX), console.get(page(row))):
        assert name in text_of(answer)
        assert "by key key_" not in text_of(answer)
    together = {"action": "approve_chosen", "_selected_action": [row.approval.pk]}
    assert name in text_of(console.post(INBOX, together))
    with audit.origin("key key_a1afa215cc32598c (ci)"):
        approvals.approve(row.approval, acting_user=None)
    assert "API key “ci”" in text_of(console.get(f"{INBOX}?state=history"))


@pytest.mark.once
def test_every_page_begins_with_the_way_to_its_content_and_no_form_leads_to_itself(
    console: Client, acme: Organization
) -> None:
    add = reverse("admin:orchestrators_task_add")
    for url in (BOARD, LIST, add, reverse("admin:index")):
        text = console.get(url).content.decode()
        assert text.index('<a class="mo-skip" href="#content">') < text.index('id="nav-sidebar"')
        assert 'id="content"' in text
    assert 'class="addlink' in console.get(LIST).content.decode()
    assert 'class="addlink' not in console.get(add).content.decode()
    agents_ = console.get(reverse("admin:orchestrators_agent_changelist")).content.decode()
    assert 'data-live-topics="events"' in agents_
    assert 'data-list-kinds="task."' in agents_


def test_the_board_and_the_pages_ask_as_often_for_many_tasks_as_for_few(console: Client, acme: Organization) -> None:
    now = timezone.now()
    rows = [
        Task(task_id=f"t{n}", organization=acme, task_type="x", priority=n % 10 + 1, status=status, run_after=now,
             created_by="a", created_at=now, assigned_agent="dev_agent", started_at=now,
             completed_at=None if status in board.OPEN else now)
        for n, status in enumerate(Status.values * 60)
    ]  # fmt: skip
    Task.objects.bulk_create(rows)
    for url, number in ((COLUMNS, 10), (BOARD, 14)):  # session, user, five columns, two counts, the badge …
        with CaptureQueriesContext(connection) as asked:
            found = console.get(url).context["columns"]
        assert len(asked) == number, "\n".join(query["sql"] for query in asked)
        assert [(column.count, len(column.cards), column.more) for column in found] == [
            (60, 20, 40), (60, 20, 40), (60, 20, 40), (60, 20, 40), (120, 20, 100),
        ]  # fmt: skip
        assert not any('"payload"' in query["sql"] for query in asked)


# --- one task --------------------------------------------------------------------------------------------------------


@pytest.mark.once
def test_a_task_is_created_waits_is_approved_and_its_page_tells_all(console: Client, acme: Organization) -> None:
    form = {"organization": "acme", "task_type": "bugfix", "urgency": "P1", "payload": '{"title": "<b>x</b>"}'}
    add = reverse("admin:orchestrators_task_add")
    wrong = console.post(add, {**form, "payload": "{", "target": "soon"})
    errors = wrong.context["adminform"].form.errors
    assert "This is not JSON" in errors["payload"][0]
    assert "Give a time in ISO 8601" in errors["target"][0]
    answer = console.post(add, {**form, "target": "4h", "timeout_seconds": "60"})
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    row = Task.objects.get()
    assert (answer["Location"], said(answer)) == (page(row), "The task waits for approval.")
    assert (row.status, row.payload, row.given_priority) == ("pending_approval", {"title": "<b>x</b>"}, "P1")
    assert (row.source, row.timeout_seconds, row.created_by) == ("console", 60, "root")
    assert row.sla_target is not None
    assert row.sla_target - row.created_at == pytest.approx(timedelta(hours=4), abs=timedelta(seconds=5))
    text = console.get(page(row)).content.decode()
    assert "Somebody has to decide" in text
    assert "<b>x</b>" not in text
    assert "&lt;b&gt;x&lt;/b&gt;" in text
    assert 'data-badge="1"' in text
    assert console.get(reverse("admin:orchestrators_approval_decide", args=[row.approval.pk])).status_code == 405
    assert decide(console, row.approval, "maybe").status_code == 400
    answer = decide(console, row.approval, "approve", reason="go on")
    assert (answer["Location"], said(answer)) == (page(row), "The task bugfix is approved.")
    assert "already" in said(decide(console, row.approval, "reject"))
    [held] = work.take(Holder("worker-1"), now=timezone.now())
    work.fail(held, error="no luck")
    Task.objects.update(run_after=timezone.now())
    [held] = work.take(Holder("worker-2"), now=timezone.now())
    panel = reverse("admin:orchestrators_task_panel", args=[row.pk])
    assert "data-unfinished" in console.get(panel).content.decode()
    work.finish(held, result={"answer": 42})
    answer = console.get(panel)
    assert [(bar.label, bar.note, bar.tone) for bar in answer.context["bars"]] == [
        ("Waits for approval", "", "amber"), ("Waits to be taken", "", "gray"), ("Attempt 1", "worker-1", "red"),
        ("Waits to be taken", "", "gray"), ("Attempt 2", "worker-2", "green"),
    ]  # fmt: skip
    text = text_of(answer)
    for words in (
        "Approved by root: go on",
        "The attempt failed by worker-1: no luck",
        "42",
        "(met)",
        "2 of at most",
    ):
        assert words in text, words
    assert "data-unfinished" not in answer.content.decode()
    assert AuditEntry.objects.filter(action__in=["task.create", "approval.approve"]).count() == 2


@pytest.mark.once
def test_a_failed_task_runs_again_as_a_new_one_and_a_running_one_is_cancelled(
    console: Client, root: User, acme: Organization
) -> None:
    target = timezone.now() + timedelta(hours=1)
    details = board.Details(source="ci", metadata={"build": 7}, sla_target=target, timeout_seconds=9)
    row = task(acme, priority="P1", details=details)
    again, stop = (reverse(f"admin:orchestrators_task_{name}", args=[row.pk]) for name in ("again", "cancel"))
    assert console.get(again).status_code == console.get(stop).status_code == 405
    answer = console.post(again)
    assert (said(answer), Task.objects.count()) == ("A task that is pending_approval is not run again.", 1)
    console.post(stop, {"reason": "too dear"})
    row.refresh_from_db()
    assert (row.status, row.error, row.approval.status) == ("cancelled", "too dear", "withdrawn")
    assert "cannot be cancelled" in said(console.post(stop))
    answer = console.post(again)
    made = Task.objects.exclude(pk=row.pk).get()
    assert answer["Location"] == page(made)
    assert (made.payload, made.metadata, made.source, made.timeout_seconds) == (row.payload, {"build": 7}, "ci", 9)
    assert (made.status, made.priority, made.given_priority) == ("pending_approval", 8, "P1")
    assert made.sla_target is not None
    assert made.created_at - row.created_at == pytest.approx(made.sla_target - target, abs=timedelta(seconds=1))
    assert made.creator == f"user:{root.pk}"
    assert f"Run again as {made.task_id}" in text_of(console.get(page(row)))
    assert actions() == ["task.cancel", "task.run_again"]
    with pytest.raises(Conflict):
        board.run_again(made, acting_user=root, creator="")


@pytest.mark.once
def test_a_large_payload_is_cut_and_what_agents_publish_stands_in_the_timeline(
    console: Client, acme: Organization
) -> None:
    row = work.create(acme, task_type="x", payload={"a": "z" * 50_000}, priority=5, acting_user=None)
    TaskStep.objects.create(task=row, kind="event", actor="dev_agent", note="half.done", at=timezone.now())
    text = text_of(console.get(page(row)))
    assert "characters more: ask the API for them" in text
    assert "Published “half.done” by dev_agent" in text
    assert text.count("z" * 1000) == 20 - 1


@pytest.mark.once
def test_phases_and_spans_are_told_in_words() -> None:
    now = timezone.now()
    steps = [
        TaskStep(kind=kind, actor="w", at=now + timedelta(seconds=at))
        for kind, at in (("created", 0), ("taken", 10), ("event", 12), ("given_back", 20), ("taken", 30), ("dead", 40))
    ]
    found = task_steps.phases(steps)
    assert [(one.label, one.tone, one.result) for one in found] == [
        ("Waits to be taken", "gray", ""), ("Attempt 1", "amber", "given back"), ("Waits to be taken", "gray", ""),
        ("Attempt 2", "red", "the last one"),
    ]  # fmt: skip
    bars = task_steps.draw(found, now=now)
    assert [(bar.left, bar.width) for bar in bars] == [
        ("0.00", "25.00"), ("25.00", "25.00"), ("50.00", "25.00"), ("75.00", "25.00"),
    ]  # fmt: skip
    assert bars[1].text == "10 s · given back"
    assert task_steps.draw(task_steps.phases(steps[:1]), now=now + timedelta(seconds=5))[0].text == "5.0 s so far"
    spans = [task_words.span(seconds) for seconds in (None, 0.04, 9.96, 59.6, 61, 3600, 7384, 90_000)]
    assert spans == ["–", "0.0 s", "10.0 s", "1 min", "1 min 1 s", "1 h", "2 h 3 min", "1 d 1 h"]


# --- approvals -------------------------------------------------------------------------------------------------------


def test_the_inbox_decides_one_by_one_and_together_and_keeps_its_history(
    console: Client, root: User, acme: Organization
) -> None:
    calm, urgent, third, fourth = (task(acme, priority=word) for word in ("P1", "P0", "P1", "P1"))
    answer = console.get(INBOX)
    assert [row.task_id for row in answer.context["cl"].result_list] == [urgent.pk, calm.pk, third.pk, fourth.pk]
    assert "&lt;b&gt;no markup&lt;/b&gt;" in answer.content.decode()
    assert "Approvals 4" in text_of(answer)
    assert 'data-badge="4"' in console.get(reverse("admin:orchestrators_approval_badge")).content.decode()
    answer = decide(console, urgent.approval, "reject", reason="not now", back="inbox")
    assert (answer["Location"], said(answer)) == (INBOX, "The task bugfix is rejected, and cancelled by that.")
    wish = {"action": "approve_chosen", "_selected_action": [calm.approval.pk, third.approval.pk, urgent.approval.pk]}
    asked = console.post(INBOX, wish)
    assert "Approve 2 tasks" in text_of(asked)
    assert Approval.objects.filter(status="pending").count() == 3
    work.cancel(third, acting_user=None)  # meanwhile
    answer = console.post(INBOX, {**wish, "apply": "yes", "reason": "all of them"})
    assert said(answer) == "1 approved."
    history = console.get(f"{INBOX}?state=history")
    assert [row.task_id for row in history.context["cl"].result_list] == [calm.pk, third.pk, urgent.pk]
    assert "all of them" in text_of(history)
    change = reverse("admin:orchestrators_approval_change", args=[fourth.approval.pk])
    assert console.get(change)["Location"] == page(fourth)
    assert console.get(reverse("admin:orchestrators_approval_change", args=[0])).status_code == 404
    rows = AuditEntry.objects.filter(action__startswith="approval.").values_list("action", "actor", "reason")
    assert list(rows.order_by("pk")) == [
        ("approval.reject", "root", "not now"), ("approval.approve", "root", "all of them"),
    ]  # fmt: skip


@pytest.mark.once
def test_ones_own_task_is_left_to_somebody_else_where_the_organization_says_so(
    console: Client, root: User, acme: Organization
) -> None:
    Organization.objects.filter(pk="acme").update(settings={"approvals": {"forbid_own": True}})
    acme.refresh_from_db()
    own, other = task(acme, priority="P1", creator=f"user:{root.pk}"), task(acme, priority="P1")
    text = text_of(console.get(INBOX))
    assert text.count("yours: somebody else approves it") == 1
    assert text.count("Approve Reject") == 1
    assert "wants somebody else to approve it" in text_of(console.get(page(own)))
    assert "Somebody else has to approve this" in said(decide(console, own.approval, "approve"))
    chosen = {"action": "approve_chosen", "_selected_action": [own.approval.pk, other.approval.pk], "apply": "yes"}
    told = said(console.post(INBOX, chosen))
    assert told.endswith("1 approved. 1 not decided: Somebody else has to approve this: the task is your own.")
    own.approval.refresh_from_db()
    assert own.approval.status == "pending"
    assert approvals.reject(own.approval, acting_user=root).status == "rejected"


# --- agents and routes -----------------------------------------------------------------------------------------------


def test_agents_are_made_changed_and_their_work_is_counted(console: Client, acme: Organization) -> None:
    now = timezone.now()
    add = reverse("admin:orchestrators_agent_add")
    form = {"agent_id": "fixer", "name": "Fixer", "capabilities": "fix, mend,fix", "status": "active"}
    console.post(add, {**form, "organization": "acme", "system_prompt": "You fix."})
    row = Agent.objects.get()
    assert (row.capabilities, row.system_prompt, row.parameters) == (["fix", "mend"], "You fix.", {})
    assert console.post(add, {**form, "organization": "acme"}).status_code == 200  # the form says that it is there
    change = reverse("admin:orchestrators_agent_change", args=[row.pk])
    changed = {**form, "name": "Mender", "system_prompt": "You mend.", "parameters": '{"temperature": 1}'}
    for _ in range(2):  # the second time nothing changes
        console.post(change, changed)
    entries = AuditEntry.objects.filter(action__startswith="agent.").order_by("pk")
    assert [entry.action for entry in entries] == ["agent.create", "agent.change"]
    entry = entries[1]
    assert (entry.before, entry.after) == (
        {"name": "Fixer"}, {"name": "Mender", "changed": ["name", "parameters", "system_prompt"]},
    )  # fmt: skip
    for seconds, status in ((1800, "completed"), (600, "completed"), (60, "failed")):
        made = task(acme, kind="fix")
        Task.objects.filter(pk=made.pk).update(
            status=status, started_at=now - timedelta(seconds=seconds), completed_at=now
        )
    running, waiting = task(acme, kind="fix"), task(acme, kind="mend", priority="P1")
    Task.objects.filter(pk=running.pk).update(status="in_progress", started_at=now - timedelta(hours=3))
    found = loads.of([row], now=now)["acme", "fixer"]
    assert (found.for_approval, found.waiting, found.running, found.completed, found.failed) == (1, 0, 1, 2, 1)
    assert found.mean_seconds == 1200
    assert found.busy == pytest.approx((1800 + 600 + 60 + 3600) / 3600)
    assert waiting.assigned_agent == "fixer"
    text = text_of(console.get(reverse("admin:orchestrators_agent_changelist")))
    assert "1 running 0 to be taken, 1 for approval" in text
    assert "2 completed 1 failed" in text
    assert "168 %" in text
    assert "a completed task took 20 min on average" in text_of(console.get(change))
    assert "168 %" in text_of(console.get(reverse("admin:orchestrators_agent_load", args=[row.pk])))


@pytest.mark.once
def test_routes_are_written_and_a_default_is_never_lost(console: Client, root: User, acme: Organization) -> None:
    add = reverse("admin:orchestrators_route_add")
    console.post(add, {"organization": "acme", "task_type": "bugfix", "agent_id": "ours", "needs_approval": "on"})
    own = Route.objects.get(organization=acme)
    assert task(acme).status == "pending_approval"
    wrong = console.post(add, {"task_type": "bugfix", "agent_id": "not an id"})
    assert set(wrong.context["adminform"].form.errors) >= {"agent_id"}
    assert console.post(add, {"task_type": "bugfix", "agent_id": "twice"}).status_code == 200
    change = reverse("admin:orchestrators_route_change", args=[own.pk])
    console.post(change, {"agent_id": "theirs"})
    assert (task(acme).assigned_agent, task(acme).status) == ("theirs", "assigned")
    console.post(reverse("admin:orchestrators_route_delete", args=[own.pk]), {"post": "yes"})
    assert routing.find(acme, "bugfix") == ("dev_agent", False)
    common = Route.objects.get(task_type="bugfix")
    routes.change(common, acting_user=root, agent_id="other")
    assert "changed default" in text_of(console.get(reverse("admin:orchestrators_route_changelist")))
    console.post(reverse("admin:orchestrators_route_delete", args=[common.pk]), {"post": "yes"})
    assert routing.find(acme, "bugfix") == ("dev_agent", False)
    kinds = AuditEntry.objects.filter(target_type="task_route").order_by("pk").values_list("action", "organization_id")
    assert list(kinds) == [
        ("task_route.create", "acme"), ("task_route.change", "acme"), ("task_route.delete", "acme"),
        ("task_route.change", ""), ("task_route.delete", ""),
    ]  # fmt: skip
    with pytest.raises(Conflict):
        routes.create(None, task_type="bugfix", agent_id="x", acting_user=root)


# --- who -------------------------------------------------------------------------------------------------------------


@pytest.mark.once
def test_nobody_but_a_superadmin_sees_any_of_it(client: Client, acme: Organization) -> None:
    row = task(acme, priority="P1")
    agent = agents.create(acme, name="A", acting_user=None)
    alice = User.objects.create_user("alice", is_staff=True)
    alice.memberships.create(organization=acme, role="admin")
    client.force_login(alice)
    events.record("task.created", organization_id="acme", data={})
    for url in (
        BOARD, COLUMNS, LIST, INBOX, page(row), reverse("admin:orchestrators_task_panel", args=[row.pk]),
        reverse("admin:orchestrators_agent_changelist"), reverse("admin:orchestrators_agent_load", args=[agent.pk]),
        reverse("admin:orchestrators_route_changelist"),
    ):  # fmt: skip
        assert client.get(url).status_code in (302, 403, 404), url
    for name in ("cancel", "again"):
        assert client.post(reverse(f"admin:orchestrators_task_{name}", args=[row.pk])).status_code in (302, 403, 404)
    assert decide(client, row.approval, "approve").status_code in (302, 403, 404)
    row.refresh_from_db()
    assert row.status == "pending_approval"
