"""Answers read along, what is noted of them, and what is new of a run to somebody who follows it."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web
from django.db import OperationalError, connection
from django.test import Client
from django.urls import resolve
from django.utils import timezone

from llm_gateway import following, guarding, policies
from llm_gateway.models import WorkflowCall, WorkflowContent, WorkflowRun, WorkflowStep
from llm_gateway.plane.hearing import Hearing
from llm_gateway.sse import frame
from llm_gateway.tests import flowing
from llm_gateway.tests.flowing import ROOT, Flow, work_off
from llm_gateway.workflows import contents, endpoint, frames, noting, runs, watching
from llm_gateway.workflows.endpoint import Follower
from llm_gateway.workflows.noting import Notes
from llm_gateway.workflows.watching import Answer, Plan, State, Watch
from moolai.errors import AppError
from moolai.testing.world import World
from orchestrators import work
from orchestrators.models import Task
from orgs import users
from orgs.models import Organization

SAY = {"name": "say", "type": "prompt", "prompt": "{{text}}", "system": "[echo]"}


@pytest.fixture(scope="module")
def flow(world: World, django_db_setup: None, django_db_blocker: Any) -> Iterator[Flow]:
    with flowing.playing(world, django_db_blocker) as found:
        yield found


def events(content: bytes) -> list[tuple[str, Any]]:
    """Return the events of a stream by name."""
    found = []
    for block in content.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if line)
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def chunk(**delta: Any) -> bytes:
    return frame({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})


def test_a_stream_is_heard_however_its_bytes_arrive() -> None:
    told = chunk(role="assistant", content="") + chunk(reasoning_content="hm") + chunk(content="Hel") + b": x\n\n"
    told += chunk(content="lo") + frame({"choices": [], "usage": {}}) + frame([1]) + b"data: [DONE]\n\n"
    for size in (1, 7, len(told)):
        hearing, pieces = Hearing(), []
        for start in range(0, len(told), size):
            pieces += hearing.feed(told[start : start + size])
        assert (pieces, hearing.text, hearing.characters) == (["Hel", "lo"], "Hello", 7)
    half = b'data: {"choices": [{"delta": {"content": " \\ud83d!"}}]}\n\n'
    assert hearing.feed(half + b"data: {not json\n\n") == [" ?!"]
    hearing.feed(frame({"error": {"message": "no more", "code": "server_error"}}))
    assert hearing.problem is not None
    assert (hearing.problem.code, hearing.text) == ("server_error", "Hello ?!")


def state(*, answers: dict[str, Answer], status: str = "running") -> dict[int, State]:
    run = {"workflow_id": "wf_1", "status": status}
    step = {"name": "say", "status": "running", "completed_at": None}
    return {1: State(status != "running", run, [step], answers)}


def test_only_what_is_new_is_told_and_a_new_call_begins_its_text_anew() -> None:
    watch = Watch()
    first = watch.news(state(answers={}))
    assert [name for name, _ in events(first)] == ["status", "step"]
    assert first.count(b"\nid: ") == 1
    assert watch.news(state(answers={"say": Answer(1, 0)})) == b""
    told = events(watch.news(state(answers={"say": Answer(1, 5, "Hello")})))
    about = {"workflow_id": "wf_1", "step": "say", "call": 1}
    assert told == [("progress", {**about, "characters": 5}), ("token", {**about, "at": 0, "text": "Hello"})]
    told = events(watch.news(state(answers={"say": Answer(1, 9, "Hello you")})))
    assert told[1] == ("token", {**about, "at": 5, "text": " you"})
    newest = state(answers={"say": Answer(2, 2, "No")})
    last = watch.news(newest)
    assert events(last)[1] == ("token", {**about, "call": 2, "at": 0, "text": "No"})
    event_id = last.rpartition(b"id: ")[2].decode().strip()
    assert Watch(event_id).news(newest) == b"id: %b\n\n" % event_id.encode()
    assert len(events(Watch("0-0-0-0123456789abcdef").news(newest))) == 4


def test_the_last_event_names_the_code() -> None:
    one = {
        "status": "failed",
        "error": "x",
        "errors": [{"error": "malformed_output: it is not JSON"}],
        "workflows": None,
    }
    for document, code in (
        (one, "malformed_output"),
        ({**one, "errors": []}, "provider_error"),
        ({**one, "status": "cancelled"}, "cancelled"),
        ({**one, "workflows": [], "errors": [{"error": "kinds: provider_timeout: late"}]}, "provider_timeout"),
    ):
        assert [(name, data["error"]) for name, data in events(frames.over(document, request_id="r"))] == [
            ("error", code)
        ]
    assert events(frames.over({**one, "status": "partial"}, request_id="r"))[0][0] == "done"


def test_a_provider_that_does_not_stream_is_asked_for_a_whole(flow: Flow) -> None:
    def script(body: dict[str, Any]) -> str | None:
        if body.get("stream"):
            raise (
                web.HTTPBadRequest
                if "refuses" in json.dumps(body)
                else web.HTTPOk(text="{}", content_type="application/json")
            )
        return flowing.script(body)

    flow.behind.script = script
    try:
        for word, asked in (("refuses", 3), ("answers whole", 2)):
            told = flow.run("classification", {"text": f"{word}: crash", "categories": ["bug", "other"]})
            assert (told["status"], told["result"]["label"], told["steps"][0]["calls"]) == ("completed", "bug", asked)
            assert flow.asked(f"{word}: crash") == asked
    finally:
        flow.behind.script = flowing.script


def test_what_a_guardrail_keeps_back_is_neither_kept_nor_told(flow: Flow) -> None:
    acme = Organization.objects.get(pk="acme")
    deny = {"name": "words", "kind": "deny", "words": ["unspeakable"], "on": ["answer"]}
    guarding.put(acme, rules=[deny], acting_user=None)
    try:
        for number in range(20):  # until the plane has read it
            told = flow.run("hybrid", {"text": f"{number} {'so ' * 20} unspeakable, it is said", "steps": [SAY]})
            if told["status"] == "failed":
                break
            time.sleep(0.3)
        assert told["errors"][0]["error"].startswith("content_blocked: ")
        assert told["cost_usd"] > 0
        assert not WorkflowContent.objects.filter(run__workflow_id=told["workflow_id"]).exists()
    finally:
        guarding.put(acme, rules=[], acting_user=None)


def test_a_server_without_streams_tells_a_run_as_it_is(flow: Flow) -> None:
    workflow_id = flow.queue("hybrid", {"text": "as it is", "steps": [SAY]})
    sent = {"HTTP_AUTHORIZATION": f"Bearer {flow.key}"}
    path = f"{ROOT}/workflows/{workflow_id}"
    answer = Client().get(f"{path}/stream", **sent)  # type: ignore[arg-type]
    assert (answer["Content-Type"], answer["X-Accel-Buffering"]) == ("text/event-stream", "no")
    assert [name for name, _ in events(answer.content)] == ["status", "step"]
    work.cancel(Task.objects.get(workflow_run__workflow_id=workflow_id), acting_user=None)  # by the task's own door
    found = events(Client().get(f"{path}/stream", **sent).content)  # type: ignore[arg-type]
    assert [name for name, _ in found] == ["status", "step", "error"]
    assert (found[0][1]["status"], found[1][1]["status"], found[2][1]["error"]) == ("cancelled", "skipped", "cancelled")
    assert Client().get(f"{path}/stream").status_code == 401
    assert flow.call("POST", f"/workflows/{workflow_id}/stream")[0] == 405


def running_step(flow: Flow) -> WorkflowStep:
    """Return a step that looks as if a worker were at it."""
    row = WorkflowRun.objects.get(workflow_id=flow.queue("hybrid", {"text": "noted", "steps": [SAY]}))
    WorkflowRun.objects.filter(pk=row.pk).update(status="running")
    row.steps.update(status="running")
    return row.steps.select_related("run").get()


def test_what_is_noted_is_read_and_no_text_of_a_run_that_became_private(flow: Flow) -> None:
    step = running_step(flow)
    call = WorkflowCall.objects.create(call_id="noted-1", step=step, started_at=timezone.now())
    notes = Notes(call, is_shown=True)
    notes.hearing.feed(chunk(content="half of it"))

    def away(execute: Any, sql: str, *rest: Any) -> Any:
        raise OperationalError("away")

    with connection.execute_wrapper(away):
        notes.write()
        notes.keep_text()
    assert watching.read([step.run_id], now=timezone.now())[step.run_id].answers["say"] == Answer(1, 0)
    notes.write()
    assert watching.read([step.run_id], now=timezone.now())[step.run_id].answers["say"] == Answer(1, 10, "half of it")
    row = WorkflowContent.objects.get(name="text:say")
    assert "half" not in repr(row.document)
    notes.hearing.feed(chunk(content="x" * noting.MAX_CHARACTERS))
    notes.write()
    assert watching.read([step.run_id], now=timezone.now())[step.run_id].answers["say"].text == "half of it"
    acme = Organization.objects.get(pk="acme")
    policies.put(acme, acting_user=None, is_private=True)
    try:
        assert not WorkflowContent.objects.filter(name="text:say").exists()
        late = Notes(call, is_shown=True)
        late.hearing.feed(chunk(content="late"))
        late.write()
        late.keep_text()
        assert not WorkflowContent.objects.filter(name="text:say").exists()
        assert watching.read([step.run_id], now=timezone.now())[step.run_id].answers["say"] == Answer(1, 4)
    finally:
        policies.put(acme, acting_user=None)
    assert runs.end(step.run, "failed", now=timezone.now())
    contents.keep_text(step.run, "say", call.pk, "after the end", now=timezone.now())
    assert not step.run.contents.exists()


def test_the_consoles_session_follows_until_it_ends(flow: Flow) -> None:
    acme = Organization.objects.get(pk="acme")
    password = "a-long-enough-secret"
    person = users.create(acme, username="sam", role="viewer", acting_user=None, password=password).user
    client = Client()
    client.force_login(person)
    workflow_id = flow.queue("hybrid", {"text": "by cookie", "steps": [SAY]})
    plans: list[Plan] = []

    request = client.get(f"{ROOT}/workflows/{workflow_id}/stream").wsgi_request
    request.scope, request.user = {"moolai.workflow": plans}, person  # type: ignore[attr-defined]
    match = resolve(f"{ROOT}/workflows/{workflow_id}/stream")
    assert match.func(request, **match.kwargs).status_code == 200
    plans[0].check()
    client.logout()
    with pytest.raises(AppError, match="credential"):
        plans[0].check()
    with pytest.raises(AppError):
        plans[0].finish()


async def _quiet() -> dict[str, Any]:
    await asyncio.sleep(60)
    return {}


def test_there_are_only_so_many_places_and_a_stream_lasts_an_hour(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    def plan() -> Plan:
        return Plan(frozenset({0}), "acme", Watch(), check=lambda: None, finish=lambda: b"")

    async def send(message: Any) -> None:
        pass

    async def follow() -> bytes:
        return await endpoint._follow(plan(), following.Writer(send), _quiet)

    monkeypatch.setattr(following, "MAX_FOLLOWING_OF_ONE", 1)
    with following.place("acme"):
        assert events(asyncio.run(follow()))[0][1]["error"] == "overloaded"
    monkeypatch.setattr(endpoint, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(endpoint, "MAX_AGE_SECONDS", 0.0)
    assert events(asyncio.run(follow()))[0] == (
        "end",
        {"error": "expired", "detail": "A stream lasts an hour; connect again."},
    )

    async def closing() -> bytes:
        follower = Follower(plan())
        endpoint.LOOKOUT.add(follower)
        told = asyncio.get_running_loop().create_task(follower.run(following.Writer(send)))
        told.add_done_callback(lambda _: endpoint.LOOKOUT.remove(follower))
        await endpoint.LOOKOUT.shut_down()
        return await told

    assert events(asyncio.run(closing()))[0][1]["error"] == "server_shutdown"
    work_off()
