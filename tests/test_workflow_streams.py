"""Runs followed as streams: a web process that tells, a worker process that does them, and a provider-shaped server."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from llm_gateway import policies, prices
from llm_gateway.models import Call, WorkflowCall, WorkflowContent, WorkflowRun
from llm_gateway.tests import flowing
from llm_gateway.tests.flowing import CHAT, CLAUDE
from llm_gateway.tests.stage import Stage, staged
from monitoring.tests.event_stream import EventStream
from moolai.testing.product import ServerProcess
from moolai.testing.world import World
from orchestrators.models import Task
from orchestrators.tests.live import eventually
from orgs import keys

pytestmark = [pytest.mark.once("postgres"), pytest.mark.timeout(240)]
ROOT = "/v1/ai-orchestration/workflows"
WAIT = 30.0
TALK = "[drip] Ann: we ship on Monday.\nBob Baker: I write the notes by December 1st, 2026.\n"
LABELS = ["bug", "other"]
opened: list[EventStream] = []
SAY = {"name": "say", "type": "prompt", "prompt": "{{text}}", "system": "[echo]"}


@pytest.fixture(scope="module")
def place(world: World, django_db_blocker: Any) -> Iterator[tuple[Stage, ServerProcess]]:
    env = {"LLM_RETRIES": "0", "TASK_LEASE_SEC": "10", "TASK_MAX_ATTEMPTS": "2"}
    with staged(world, django_db_blocker, env) as found:
        found.provider.script = flowing.script
        acme = found.live.organization()
        for model in ("gpt-4o-mini", "claude-3-5-haiku-latest"):
            price = {"input_usd_per_million": 1000, "output_usd_per_million": 2000}
            prices.create(acme, acting_user=None, model=model, **price)
        worker = found.live.installation.worker()
        found.live.installation.beat()
        yield found, worker


@pytest.fixture(autouse=True)
def hang_up() -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()


@pytest.fixture
def stage(place: tuple[Stage, ServerProcess]) -> Stage:
    return place[0]


def queue(stage: Stage, kind: str, data: dict[str, Any], *, key: str = "", **more: Any) -> str:
    """Ask for a run; return its id."""
    body = {"workflow_type": kind, "input_data": {"model": CHAT, **data}, **more}
    status, told, _ = stage.call(ROOT, body, key=key)
    assert status == 202, told
    return str(told["data"]["workflow_id"])


def status_of(stage: Stage, workflow_id: str, *, key: str = "") -> Any:
    return stage.call(f"{ROOT}/{workflow_id}/status", key=key)[1]["data"]


def follow(stage: Stage, workflow_id: str, *, key: str = "", **headers: str) -> EventStream:
    """Open the stream of a run."""
    sent = {"Authorization": f"Bearer {key or stage.key}", **{k.replace("_", "-"): v for k, v in headers.items()}}
    stream = EventStream(stage.live.server.port, f"{ROOT}/{workflow_id}/stream", sent)
    opened.append(stream)
    return stream


def whole(stream: EventStream) -> list[tuple[str, Any]]:
    """Read a stream to its end; return its events."""
    stream.ending(timeout=WAIT)
    return [(block.event, block.data) for block in stream.seen if block.event]


def of(events: list[tuple[str, Any]], name: str) -> list[Any]:
    return [data for event, data in events if event == name]


def calls(workflow_id: str) -> list[Call]:
    """Return a run's calls in the ledger, once all of them have ended there."""
    ids = WorkflowCall.objects.filter(step__run__workflow_id=workflow_id).values_list("pk", flat=True)
    rows = Call.objects.filter(pk__in=list(ids)).order_by("started_at")
    assert eventually(lambda: rows.count() == len(ids) and not rows.filter(status="running").exists(), WAIT)
    return list(rows)


def usd(found: list[Call]) -> float:
    return sum(call.cost_usd_micros for call in found) / 1_000_000


def test_a_transcript_is_followed_from_the_queue_to_its_result(stage: Stage) -> None:
    workflow_id = queue(stage, "meeting_intelligence", {"transcript": TALK})
    stream = follow(stage, workflow_id)
    assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
    events = whole(stream)
    assert stream.seen[0].retry == 3000
    names = [name for name, _ in events]
    assert (names[0], names[-1], set(names)) == ("status", "done", {"status", "step", "progress", "done"})
    statuses = [data["status"] for data in of(events, "status")]
    assert statuses[-1] == "completed"
    assert "running" in statuses
    received = [(data["step"], data["call"], data["characters"]) for data in of(events, "progress")]
    assert received == sorted(received)
    assert len(received) >= 1
    assert received[0][:2] == ("meeting_intelligence", 1)
    last = of(events, "step")[-1]
    assert (last["status"], last["workflow_id"], last["error"]) == ("completed", workflow_id, "")
    assert last["duration_ms"] > 1000
    done = of(events, "done")[0]
    assert done == status_of(stage, workflow_id)
    assert done["result"]["action_items"][0]["owner"] == "Bob Baker"
    assert last["cost_usd"] == done["cost_usd"] > 0
    (call,) = calls(workflow_id)
    assert (call.is_stream, call.status, call.is_estimated, call.input_tokens, call.output_tokens) == (
        True, "completed", False, 11, 7,
    )  # fmt: skip
    assert call.first_token_ms is not None
    assert call.latency_ms is not None
    assert call.first_token_ms < call.latency_ms / 2
    assert usd([call]) == done["cost_usd"]
    assert stage.provider.of("December 1st")[0].body["stream_options"] == {"include_usage": True}
    again = follow(stage, workflow_id)
    assert [name for name, _ in whole(again)] == ["status", "step", "done"]
    known = follow(stage, workflow_id, Last_Event_ID=again.last_event_id)
    assert [name for name, _ in whole(known)] == ["done"]
    assert known.last_event_id == again.last_event_id
    assert len(whole(follow(stage, workflow_id, Last_Event_ID="0-0-0-0123456789abcdef"))) == 3


def test_documents_in_a_batch_are_followed_one_by_one_and_together(stage: Stage) -> None:
    documents = [[{"id": f"{run}.{n}", "text": f"[drip] {run}.{n} crash"} for n in range(25)] for run in range(3)]
    wishes = [
        {"workflow_type": "classification", "input_data": {"documents": one, "categories": LABELS, "model": model}}
        for one, model in zip(documents, (CHAT, CLAUDE, CHAT), strict=True)
    ]
    status, told, _ = stage.call(f"{ROOT}/batch", {"workflows": wishes})
    assert status == 202
    batch, ids = told["data"]["batch_id"], [row["workflow_id"] for row in told["data"]["workflows"]]
    together, streams = follow(stage, batch), [follow(stage, workflow_id) for workflow_id in ids]
    for number, stream in enumerate(streams):
        events = whole(stream)
        assert {data["workflow_id"] for _, data in events} == {ids[number]}
        assert of(events, "progress")
        done = of(events, "done")[0]
        assert [item["id"] for item in done["result"]["items"]] == [item["id"] for item in documents[number]]
        assert done["cost_usd"] == usd(calls(ids[number])) > 0
        assert of(events, "step")[-1]["calls"] == 2
    events = whole(together)
    assert {data["workflow_id"] for data in of(events, "status")} == set(ids)
    assert of(events, "done") == [status_of(stage, batch)]
    assert events[-1][1]["status"] == "completed"


def test_the_text_of_a_step_without_a_schema_is_told_as_it_comes(stage: Stage) -> None:
    said = "[drip] " + " ".join(f"word{number}" for number in range(60))
    workflow_id = queue(stage, "hybrid", {"text": said, "steps": [SAY]})
    stream = follow(stage, workflow_id)
    first = stream.take("token", WAIT)
    late = follow(stage, workflow_id)  # tells what is there already
    assert late.take("token").data["at"] == 0
    events, others = whole(stream), whole(late)
    result = of(events, "done")[0]["result"]["say"]["text"]
    assert result == f"You said: {said}"
    for told in (of(events, "token"), of(others, "token")):
        text = ""
        for piece in told:
            assert (piece["step"], piece["call"], piece["at"]) == ("say", 1, len(text))
            text += piece["text"]
        assert text
        assert result.startswith(text)
    assert len(of(events, "token")) > 1
    assert len(first.data["text"]) < len(result)
    assert list(WorkflowContent.objects.filter(run__workflow_id=workflow_id).values_list("name", flat=True)) == [
        "result"
    ]


def test_malformed_answers_are_seen_repaired_and_reported(stage: Stage) -> None:
    repaired = queue(stage, "classification", {"text": "[drip] [invent] it crashes", "categories": LABELS})
    events = whole(follow(stage, repaired))
    assert [(data["calls"], data["repairs"]) for data in of(events, "step")][-1] == (2, 1)
    assert of(events, "done")[0]["result"]["label"] == "bug"
    steps = ["classification", SAY]
    reported = queue(stage, "hybrid", {"text": "[poem]", "categories": LABELS, "steps": steps[:1]})
    events = whole(follow(stage, reported))
    assert events[-1][0] == "error"
    told = events[-1][1]
    assert (told["error"], told["workflow"]["status"]) == ("malformed_output", "failed")
    assert told["workflow"] == status_of(stage, reported)
    assert of(events, "step")[-1]["error"].startswith("malformed_output: ")
    assert "poem" not in json.dumps(events)
    part = queue(stage, "hybrid", {"text": "[poem]", "steps": ["classification", "embedding"], "model": None})
    done = whole(follow(stage, part))[-1]
    assert (done[0], done[1]["status"], done[1]["errors"][0]["step"]) == ("done", "partial", "classification")


def test_a_cancelled_run_cuts_its_answer_off_and_pays_what_came(stage: Stage) -> None:
    said = "[drip] cut " + "x" * 4000  # 25 seconds
    workflow_id = queue(stage, "hybrid", {"text": said, "steps": [SAY]})
    stream = follow(stage, workflow_id)
    stream.take("token", WAIT)
    assert stage.call(f"{ROOT}/{workflow_id}", method="DELETE")[0] == 204
    last = whole(stream)[-1]
    assert (last[0], last[1]["error"], last[1]["workflow"]["steps"][0]["status"]) == ("error", "cancelled", "cancelled")
    (call,) = calls(workflow_id)
    assert (call.status, call.is_estimated, call.is_stream) == ("cancelled", True, True)
    assert 0 < call.output_tokens < 500
    assert eventually(lambda: stage.provider.of("[drip] cut")[0].was_cut)
    assert status_of(stage, workflow_id)["cost_usd"] == usd([call]) > 0


def test_a_provider_that_breaks_off_is_asked_again_by_the_rules(stage: Stage) -> None:
    once = queue(stage, "hybrid", {"text": "[early once] broken", "steps": [SAY]})
    stream = follow(stage, once)
    assert stream.take("step", WAIT, status="pending", calls=1)
    assert eventually(lambda: Task.objects.get(workflow_run__workflow_id=once).status == "assigned", WAIT)
    Task.objects.filter(workflow_run__workflow_id=once).update(run_after=timezone.now())
    events = whole(stream)
    assert of(events, "done")[0]["result"]["say"]["text"] == "You said: [early once] broken"
    assert [(call.status, call.error) for call in calls(once)] == [("failed", "stream_interrupted"), ("completed", "")]
    always = queue(stage, "hybrid", {"text": "[early] broken", "steps": [SAY]})
    stream = follow(stage, always)
    assert stream.take("step", WAIT, status="pending", calls=1)
    Task.objects.filter(workflow_run__workflow_id=always).update(run_after=timezone.now())
    last = whole(stream)[-1]
    assert (last[0], last[1]["error"]) == ("error", "stream_interrupted")
    assert len(calls(always)) == 2


def test_who_may_not_see_a_run_is_told_nothing_and_who_leaves_changes_nothing(stage: Stage) -> None:
    said = "[drip] watched " + "y" * 900
    workflow_id = queue(stage, "hybrid", {"text": said, "steps": [SAY]})
    stage.live.organization("beta")
    stranger = stage.live.key("beta", role="admin")
    foreign, missing = follow(stage, workflow_id, key=stranger), follow(stage, "wf_nobody")
    assert (foreign.status, foreign.body["error"]) == (missing.status, missing.body["error"]) == (404, "not_found")
    assert follow(stage, workflow_id, key="nonsense").status == 401
    row, secret = stage.live.key_row("acme", role="viewer")
    watching, leaving = follow(stage, workflow_id, key=secret), follow(stage, workflow_id)
    assert watching.take("token", WAIT)
    leaving.take("token", WAIT)
    leaving.close()
    keys.revoke(row, acting_user=None)
    began = time.monotonic()
    last = whole(watching)[-1]
    assert (last[0], last[1]["error"]) == ("end", "unauthenticated")
    assert time.monotonic() - began < WAIT
    assert not WorkflowRun.objects.get(workflow_id=workflow_id).is_over
    assert whole(follow(stage, workflow_id))[-1][0] == "done"


def test_of_a_private_organization_no_text_is_kept_or_told_but_the_result_once(
    place: tuple[Stage, ServerProcess],
) -> None:
    stage, worker = place
    home = stage.live.organization("private")
    policies.put(home, acting_user=None, is_private=True)
    key, viewer = stage.live.key("private", role="operator"), stage.live.key("private", role="viewer")
    secret = "sEnTiNeL-followed"
    said = f"[drip] {secret} " + "z" * 400
    workflow_id = queue(stage, "hybrid", {"text": said, "steps": [SAY]}, key=key)
    watching, stream = follow(stage, workflow_id, key=viewer), follow(stage, workflow_id, key=key)
    stream.take("progress", WAIT)
    names = set(WorkflowContent.objects.filter(run__workflow_id=workflow_id).values_list("name", flat=True))
    assert names == {"input"}
    told, events = whole(watching)[-1], whole(stream)
    assert (told[0], told[1]["result"], "only who may run" in told[1]["result_note"]) == ("done", None, True)
    assert {name for name, _ in events} == {"status", "step", "progress", "done"}
    assert secret in events[-1][1]["result"]["say"]["text"]
    assert secret not in json.dumps([event for event in events if event[0] != "done"])
    assert not WorkflowContent.objects.filter(run__workflow_id=workflow_id).exists()
    assert whole(follow(stage, workflow_id, key=key))[-1][1]["result"] is None
    for process in (worker, stage.live.server):
        assert secret not in process.output()
