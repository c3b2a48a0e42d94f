"""Tasks on the sessions of orchestrators: given by capability and room, settled under their lease, given back."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from operator import attrgetter
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from orchestrators import acks, notices, protocol, work
from orchestrators.hub import FrameHandler
from orchestrators.models import Instance, Task
from orchestrators.session import Session
from orchestrators.tests.held import Held, holding
from orchestrators.work import handlers, handout, reports
from orgs import events
from orgs.models import Organization

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]
FRAMES = {
    "ack": FrameHandler(acks.check, acks.store, stored=acks.stored),
    "task_result": FrameHandler(
        reports.check_result, reports.settle, attrgetter("weight"), stored=reports.settled, lost=reports.settled
    ),
    "task_progress": FrameHandler(reports.check_progress, reports.renew, lost=reports.settled),
}
in_thread = sync_to_async


@pytest.fixture
async def held() -> AsyncIterator[Held]:
    async with holding(FRAMES) as found:
        yield found


@pytest.fixture(autouse=True)
def one_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "_handlers", dict.fromkeys(("ours", "calls"), lambda task, report: None))
    monkeypatch.setattr(handlers, "_workers_only", frozenset({"calls"}))


def make(kind: str = "bugfix", priority: Any = 5, organization_id: str = "acme", **more: Any) -> Task:
    home = Organization.objects.get(pk=organization_id)
    return work.create(home, task_type=kind, payload={"n": 1}, priority=priority, acting_user=None, **more)


async def made(*arguments: Any, **more: Any) -> Task:
    return await in_thread(make)(*arguments, **more)


async def row(task: Task) -> Task:
    return await in_thread(Task.objects.get)(pk=task.pk)


async def idle(held: Held) -> None:
    """Wait until the hub has nothing to do with tasks."""
    dispatch, quiet = held.hub.dispatch, 0
    async with asyncio.timeout(10):
        while quiet < 3:
            await asyncio.sleep(0.003)
            batchers = (dispatch._asks, dispatch._returns, dispatch._comebacks, held.hub._endings)
            is_busy = dispatch._looking or any(batcher._task for batcher in batchers)
            quiet = 0 if is_busy else quiet + 1


async def open_session(held: Held, name: str, *types: str, **more: Any) -> Session:
    session = await held.open(name, is_current=False, capabilities=["config", *types], **more)
    await idle(held)
    return session


async def look(held: Held) -> None:
    held.hub.dispatch.look_soon("acme")
    await idle(held)


def given(held: Held, name: str) -> list[str]:
    return [frame["task_id"] for frame in held.frames[name] if frame["type"] == "task"]


def ack(held: Held, name: str, task: Task, **more: Any) -> dict[str, Any]:
    [frame] = [frame for frame in held.frames[name] if frame.get("task_id") == task.task_id and frame["type"] == "task"]
    return {"type": "ack", "message_id": frame["message_id"], "success": True, **more}


def result(task: Task, **more: Any) -> dict[str, Any]:
    return {"type": "task_result", "task_id": task.task_id, "success": True, "result": {"n": 2}, **more}


async def test_a_task_goes_to_who_names_its_type_or_takes_what_no_worker_does(held: Held) -> None:
    await open_session(held, "names", "review", "ours", "calls")
    await open_session(held, "any", "tasks", "calls")
    await open_session(held, "none")
    await held.open("old", is_legacy=True)
    review, other, ours = await made("review"), await made("bugfix"), await made("ours")
    await made("config")  # no capability for it: "config" is a feature
    await made("calls")  # nor is there any for what only workers do
    for _ in range(2):
        await look(held)
        for name in ("names", "any"):
            await held.say(held.hub.sessions[name], *(ack(held, name, Task(task_id=one)) for one in given(held, name)))
        await idle(held)
    assert set(given(held, "names")) <= {review.task_id, ours.task_id}
    assert ours.task_id in given(held, "names")
    assert other.task_id in given(held, "any")
    assert given(held, "none") == given(held, "old") == []
    assert len(given(held, "names")) + len(given(held, "any")) == 4


async def test_a_result_completes_a_task_and_is_acknowledged_when_it_names_its_message(held: Held) -> None:
    task = await made()
    session = await open_session(held, "one", "tasks")
    [frame] = held.frames["one"]
    assert frame == {
        "type": "task", "message_id": f"{task.task_id}.1", "task_id": task.task_id, "task_type": "bugfix",
        "payload": {"n": 1}, "lease_seconds": 60, "attempt": 1,
    }  # fmt: skip
    await held.say(session, ack(held, "one", task), {"type": "task_progress", "task_id": task.task_id, "progress": 40})
    assert (await row(task)).progress == 40
    reference = {"message_id": frame["message_id"]}
    await held.say(session, result(task, **reference), result(task, **reference))
    answers = [frame for frame in held.frames["one"] if frame["type"] != "task"]
    assert [(one["type"], one["success"]) for one in answers] == [("ack", True)] * 2
    assert {one["duplicate"] for one in answers} == {False, True}
    done = await row(task)
    assert (done.status, done.result, done.orchestrator_id, done.attempts) == ("completed", {"n": 2}, "one", 1)


async def test_the_highest_priority_goes_first_and_only_as_many_as_there_is_room_for(held: Held, settings: Any) -> None:
    settings.TASK_WINDOW = 3
    tasks = [await made(priority=priority) for priority in (2, 9, 5, 7, 1)]
    session = await open_session(held, "one", "tasks")
    assert given(held, "one") == [tasks[1].task_id]  # one, until it has shown that it acknowledges
    await held.say(session, ack(held, "one", tasks[1]))
    await idle(held)
    assert given(held, "one") == [tasks[index].task_id for index in (1, 3, 2)]
    await held.say(session, result(tasks[3]))
    await idle(held)
    assert given(held, "one")[3:] == [tasks[0].task_id]


async def test_what_comes_too_late_or_is_not_theirs_is_refused_and_costs_nothing(held: Held) -> None:
    task, foreign = await made(), await made("review")
    session, other = await open_session(held, "one", "bugfix"), await open_session(held, "two", "review")
    await in_thread(work.sweep)(now=timezone.now() + timedelta(seconds=61))
    for _ in range(12):
        await held.say(session, result(task, message_id=f"{task.task_id}.1"))
    errors = [frame for frame in held.frames["one"] if frame["type"] == "error"]
    assert [(one["error"], one["fatal"], one["task_id"]) for one in errors] == [
        ("lease_lost", False, task.task_id)
    ] * 12
    assert not session.is_closing
    assert (await row(task)).status == "assigned"
    await held.say(session, result(foreign), result(foreign, message_id=f"{foreign.task_id}.1"))
    await held.say(session, {"type": "task_progress", "task_id": "tsk_nobody"})
    codes = [frame["error"] for frame in held.frames["one"] if frame["type"] == "error"][12:]
    assert codes == ["unknown_ref"] * 3
    assert (await row(foreign)).status == "assigned"
    assert not other.is_closing


@pytest.mark.parametrize(
    "frame",
    [{"success": "yes"}, {"task_id": 5}, {"task_id": ""}, {"message_id": f"tsk_{'0' * 24}.1"}, {"error": 7},
     {"type": "task_progress", "progress": 101}, {"type": "task_progress", "progress": True}],
)  # fmt: skip
@pytest.mark.once
async def test_a_malformed_word_is_refused(held: Held, frame: dict[str, Any]) -> None:
    session = await open_session(held, "one", "tasks")
    await held.say(session, {"type": "task_result", "task_id": "tsk_x", "success": True, **frame})
    assert [one["error"] for one in held.frames["one"]] == ["invalid_field"]


async def test_a_cancelled_task_is_stopped_and_its_last_word_is_no_error(held: Held) -> None:
    task = await made()
    cursor = await in_thread(events.Cursor)()
    session = await open_session(held, "one", "tasks")
    await held.say(session, ack(held, "one", task))
    await in_thread(work.cancel)(task, acting_user=None)
    found = await in_thread(notices.read)(cursor, held=held.hub.held, node_id=held.hub.node_id)
    held.hub.apply(found)
    await asyncio.sleep(0.02)
    assert held.frames["one"][-1] == {"type": "task_cancel", "task_id": task.task_id}
    await held.say(session, {"type": "task_result", "task_id": task.task_id, "success": False, "error": "cancelled"})
    assert held.frames["one"][-1]["type"] == "task_cancel"
    await held.say(session, result(task))
    assert held.frames["one"][-1]["error"] == "lease_lost"
    assert (await row(task)).status == "cancelled"


async def test_what_is_refused_or_not_acknowledged_goes_to_others_and_silence_counts(held: Held) -> None:
    refused = await made("bugfix", 9)
    session = await open_session(held, "one", "tasks")
    await held.say(session, ack(held, "one", refused, success=False, error="not me"))
    await idle(held)
    assert ((await row(refused)).status, (await row(refused)).attempts) == ("assigned", 0)
    silent = await made("review", 1)
    await look(held)
    assert given(held, "one") == [refused.task_id, silent.task_id]  # no `bugfix` any more, though it is more urgent
    session.work._due[silent.task_id] = time.monotonic()
    held.hub.dispatch.give_up()
    await idle(held)
    assert ((await row(silent)).status, (await row(silent)).attempts) == ("assigned", 1)
    other = await made("docs", 1)
    await look(held)
    assert len(given(held, "one")) == 2  # it rests
    session.work.rests_until = 0.0
    await look(held)
    assert given(held, "one")[2:] == [other.task_id]  # not what it was silent about, which is older
    await open_session(held, "two", "tasks")
    assert given(held, "two") == [refused.task_id]
    await held.say(session, ack(held, "one", other))
    session.work._resting = {"review": (0.0, 1)}  # that rest is over, too
    await look(held)
    assert given(held, "one")[3:] == [silent.task_id]  # and what it refused it is not offered again


async def test_a_goodbye_gives_back_and_a_lost_connection_is_waited_for(held: Held) -> None:
    task = await made()
    session = await open_session(held, "one", "tasks")
    held.hub.remove(session)
    await idle(held)
    assert (await row(task)).status == "in_progress"
    again = await open_session(held, "one", "tasks", running_tasks=[task.task_id])
    assert given(held, "one") == []
    await held.say(again, {"type": "goodbye"})
    held.hub.remove(again)
    await idle(held)
    assert ((await row(task)).status, (await row(task)).attempts) == ("assigned", 0)
    third = await open_session(held, "one", "tasks")
    held.hub.remove(third)
    await idle(held)
    await open_session(held, "one", "tasks", running_tasks=[])  # a new process, which knows nothing of it
    now = await row(task)
    assert (now.status, now.attempts, given(held, "one")) == ("in_progress", 2, [task.task_id])


async def test_a_result_after_a_new_connection_counts_while_the_lease_lasts(held: Held) -> None:
    task = await made()
    held.hub.remove(await open_session(held, "one", "tasks"))
    again = await open_session(held, "one", "tasks")
    await held.say(again, result(task))
    assert (await row(task)).status == "completed"


async def test_neither_a_closed_organization_nor_an_anonymous_session_is_given_tasks(held: Held) -> None:
    session = await open_session(held, "one", "tasks")
    await made()
    await in_thread(Organization.objects.update)(is_active=False)
    await look(held)
    assert given(held, "one") == []
    await in_thread(Organization.objects.update)(is_active=True)
    held.hub.dispatch.remove(session, is_goodbye=False)
    session.credential_id = ""
    held.hub.dispatch.add(session)
    await look(held)
    assert given(held, "one") == []


async def test_an_independent_orchestrator_works_and_nothing_else_of_it_moves(held: Held) -> None:
    session = await open_session(held, "one", "tasks")
    session.is_own_independent = True
    before = (await in_thread(Instance.objects.get)(orchestrator_id="one")).last_seen
    task = await made()
    await look(held)
    held.hub.dirty.clear()
    await held.say(session, ack(held, "one", task), result(task))
    assert (await row(task)).status == "completed"
    assert held.hub.dirty == {}
    assert (await in_thread(Instance.objects.get)(orchestrator_id="one")).last_seen == before


async def test_results_of_what_it_was_given_are_free_of_the_flood_limit(held: Held, settings: Any) -> None:
    settings.TASK_WINDOW = 6
    tasks = [await made() for _ in range(6)]
    session = await open_session(held, "one", "tasks")
    await held.say(session, ack(held, "one", tasks[0]))
    await idle(held)
    session.limiter._rate = session.limiter._tokens = 0.0
    other = {"message_id": f"{tasks[1].task_id}.9"}  # a lease that it never had
    await held.say(session, result(tasks[1], **other), {"type": "ack", **other})
    assert [frame["error"] for frame in held.frames["one"] if frame["type"] == "error"] == ["rate_limited"] * 2
    held.frames["one"].clear()
    await held.say(session, *(result(task) for task in tasks))
    assert [frame for frame in held.frames["one"] if frame["type"] == "error"] == []
    assert {(await row(task)).status for task in tasks} == {"completed"}


async def test_a_result_that_could_not_be_taken_comes_again_for_free(held: Held) -> None:
    task = await made()
    session = await open_session(held, "one", "tasks")
    queue = held.hub._frames[id(held.hub.handlers["task_result"])]
    queue._capacity_bytes, capacity = 8000, queue._capacity_bytes
    session.limiter._rate = session.limiter._tokens = 0.0
    for size in (1000, 1000, 10):
        await held.say(session, result(task, result="x" * size))
        assert not session.work.is_settling(task.task_id)
    assert [frame["error"] for frame in held.frames["one"] if frame["type"] == "error"] == ["overloaded"] * 2
    assert (await row(task)).result == "x" * 10
    assert capacity >= protocol.weight("x" * 1000) > 8000
    receipt = acks.check(session, {"type": "ack", "message_id": "m", "result": "x" * 1000})
    assert acks.weigh(receipt) == protocol.weight("x" * 1000)


async def test_a_take_that_stops_early_goes_on(held: Held, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.TASK_WINDOW = 6
    tasks = [await made(priority=9 - number) for number in range(6)]
    session = await open_session(held, "one", "tasks")
    monkeypatch.setattr(handout, "AT_ONCE", 2)
    monkeypatch.setattr(handout, "SLICE", 1)
    await held.say(session, ack(held, "one", tasks[0]))
    await idle(held)
    assert given(held, "one") == [task.task_id for task in tasks]
    asker = handout.Asker("two", "s-two", 6, frozenset({"bugfix"}))
    for _ in range(3):
        await made()
    asks = [handout.Ask("acme", (asker,)), handout.Ask("acme", (asker,))]
    first = await in_thread(handout.take)(asks)
    assert [(len(one.orders), one.is_cut) for one in first] == [(2, True), (0, True)]
    second = await in_thread(handout.take)(asks)
    assert [(len(one.orders), one.is_cut) for one in second] == [(1, False), (0, False)]


@pytest.mark.once
async def test_the_session_with_the_most_room_is_first() -> None:
    one, two = (handout.Asker(name, name, room, frozenset()) for name, room in (("one", 1), ("two", 3)))
    assert [place.session_id for place in handout._places([one, two])] == ["two", "two", "one", "two"]


async def test_what_an_orchestrator_has_in_another_organization_is_not_its_own_here(held: Held) -> None:
    task = await made()
    session = await open_session(held, "one", "tasks")
    [orders] = await in_thread(handout.resume)([handout.Comeback("one", "s", frozenset(), "other")])
    assert (orders, (await row(task)).status) == ((), "in_progress")
    notices.Withdrawal("other", "one", task.task_id, 1, is_over=True).apply(held.hub)
    assert list(session.work.orders) == [task.task_id]
    notices.Withdrawal("acme", "one", task.task_id, 1, is_over=True).apply(held.hub)
    assert not session.work.orders


async def test_what_was_taken_by_hand_is_not_settled_under_a_lease(held: Held) -> None:
    task = await made("by hand")
    session = await open_session(held, "one", "review")
    await in_thread(work.set_status)(task, "in_progress", acting_user=None, orchestrator_id="one")
    await held.say(session, result(task, message_id=f"{task.task_id}.1"))
    assert [frame["error"] for frame in held.frames["one"]] == ["lease_lost"]
    assert (await row(task)).status == "in_progress"
