"""Workflows from their doors to the ledger: calls of a provider-shaped server, made by a worker in this process."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web
from django.conf import settings
from django.db import OperationalError, connection, connections
from django.test import Client
from django.utils import timezone

from llm_gateway import guarding, policies
from llm_gateway.models import Call, WorkflowCall, WorkflowContent, WorkflowRun, WorkflowStep
from llm_gateway.plane import inside
from llm_gateway.plane.inside import Asker
from llm_gateway.tests import flowing
from llm_gateway.tests.flowing import CHAT, CLAUDE, Flow, ledger_usd, work_off
from llm_gateway.workflows import advice, contents, making, parts, running, runs, templates
from llm_gateway.workflows.asking import Desk, StepFailed
from llm_gateway.workflows.making import Asked, Planned, Wish
from moolai.testing.world import World
from orchestrators import work
from orchestrators.models import Task
from orchestrators.work.handlers import Again, Lost, Refused
from orgs import keys, spending, tokens, users
from orgs.models import Organization

TALK = "Ann: we ship on Monday.\nBob Baker: I write the notes by December 1st, 2026.\n"
DOCUMENTS = [{"id": f"d{number}", "text": f"The app {'crashes' if number % 3 else 'is fine'}."} for number in range(45)]
LABELS = ["bug", "other"]


@pytest.fixture(scope="module")
def flow(world: World, django_db_setup: None, django_db_blocker: Any) -> Iterator[Flow]:
    with flowing.playing(world, django_db_blocker) as found:
        yield found


def other_key(role: str, organization_id: str = "acme") -> str:
    home = Organization.objects.get(pk=organization_id)
    return keys.create(home, name=role, acting_user=None, role=role)[1]


def everything_stored() -> str:
    """Return every row of the tables of workflows and tasks as text."""
    found = []
    for table in ("workflow_runs", "workflow_steps", "workflow_calls", "workflow_contents", "tasks", "task_steps"):
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {table}")
            found += [repr(row) for row in cursor.fetchall()]
    return "\n".join(found)


def test_a_long_transcript_is_read_in_pieces_and_nobody_is_invented(flow: Flow) -> None:
    transcript = TALK + "\n".join(f"Cid: item {number} of the agenda is long." for number in range(1500))
    told = flow.run("meeting_intelligence", {"transcript": transcript, "model": CHAT, "title": "Weekly"}, priority="P1")
    assert (told["status"], told["progress"], told["error"]) == ("completed", 100, "")
    result, step = told["result"], told["steps"][0]
    assert result["summary"] == "All of it."
    assert result["action_items"] == [
        {"task": "Write the notes", "owner": "Bob Baker", "due": "by December 1st, 2026", "due_date": "2026-12-01"},
        {"task": "Call the lawyer", "owner": None, "due": "next Friday", "due_date": None},
    ]
    assert result["decisions"] == [{"decision": "Ship on Monday.", "by": "Ann"}]
    assert result["topics"] == ["Release", "Budget"]
    pieces = flow.asked("This is part")
    assert (step["calls"], step["model"], step["status"]) == (pieces + 1, CHAT, "completed")
    assert pieces == 3
    for _ in range(50):
        if ledger_usd(told["workflow_id"]) == told["cost_usd"]:
            break
        time.sleep(0.1)
    assert ledger_usd(told["workflow_id"]) == told["cost_usd"] == step["cost_usd"] > 0
    task = Task.objects.get(workflow_run__workflow_id=told["workflow_id"])
    assert (task.status, task.priority, hasattr(task, "approval")) == ("completed", 8, False)
    assert [row.name for row in WorkflowContent.objects.all()] == ["result"]
    assert "agenda" not in everything_stored()
    assert "Bob" not in everything_stored()
    only = flow.run("meeting_intelligence", {"transcript": TALK}, expected_outputs=["topics", "summary"])
    assert set(only["result"]) == {"topics", "summary"}
    assert only["steps"][0]["model"] == CHAT  # the first provider's


def test_documents_are_classified_and_embedded_in_batches(flow: Flow) -> None:
    told = flow.run("classification", {"documents": DOCUMENTS, "categories": LABELS, "model": CLAUDE})
    assert [item["id"] for item in told["result"]["items"]] == [item["id"] for item in DOCUMENTS]
    assert [item["label"] for item in told["result"]["items"]][:4] == ["other", "bug", "bug", "other"]
    assert (told["steps"][0]["calls"], told["steps"][0]["repairs"], told["steps"][0]["model"]) == (3, 0, CLAUDE)
    one = flow.run("classification", {"text": "it crashes", "labels": LABELS}, expected_outputs=["category"])
    assert one["result"] == {"items": [{"id": "0", "label": "bug"}], "label": "bug"}
    both = flow.run("hybrid", {"texts": ["it crashes", "fine"], "categories": LABELS})
    assert both["result"]["classification"]["items"][0]["label"] == "bug"
    vectors = both["result"]["embedding"]
    assert (len(vectors["embeddings"]), vectors["dimensions"]) == (2, 2)
    assert vectors["model"] == "openai/text-embedding-3-small"


def test_malformed_answers_are_repaired_or_reported_beside_what_went_well(flow: Flow) -> None:
    fenced = flow.run("classification", {"text": "[fenced] it crashes", "categories": LABELS})
    assert (fenced["result"]["label"], fenced["steps"][0]["calls"], fenced["steps"][0]["repairs"]) == ("bug", 1, 0)
    asked = flow.run("classification", {"text": "[invent] it crashes", "categories": LABELS})
    assert (asked["result"]["confidence"], asked["steps"][0]["calls"], asked["steps"][0]["repairs"]) == (0.7, 2, 1)
    assert flow.asked("unheard of' is not one of") == 1
    bad = flow.run("classification", {"text": "[poem]", "categories": LABELS})
    assert (bad["status"], bad["result"]) == ("failed", None)
    assert bad["errors"][0]["error"].startswith("malformed_output: ")
    assert "poem" not in json.dumps(bad)
    assert Task.objects.get(workflow_run__workflow_id=bad["workflow_id"]).status == "failed"
    few = flow.run("classification", {"texts": ["[invent] it crashes", "so", "what"], "categories": LABELS})
    assert few["errors"][0]["error"].endswith("for each index from 0 to 2: no item has the index 1, 2")
    part = flow.run("hybrid", {"text": "[poem]", "steps": ["classification", "embedding"]})
    assert (part["status"], set(part["result"]), part["errors"][0]["step"]) == (
        "partial",
        {"embedding"},
        "classification",
    )
    assert part["cost_usd"] > 0


def test_a_template_runs_its_steps_in_order_and_skips_what_lacks_its_input(flow: Flow) -> None:
    steps = [
        {"name": "draft", "type": "prompt", "prompt": "{{text}} for {{input.audience}}", "system": "[echo]"},
        {"name": "kind", "type": "classification", "input": "{{steps.draft.text}} crash", "categories": LABELS},
        {"name": "bad", "type": "classification", "input": "[poem]"},
        {"name": "last", "type": "embedding", "after": ["bad"]},
    ]
    acme = Organization.objects.get(pk="acme")
    templates.create(acme, name="review", steps=steps, acting_user=None, description="Reads a draft.")
    told = flow.run("review", {"text": "hello", "audience": "engineers"})
    assert told["result"]["draft"] == {"text": "You said: hello for engineers"}
    assert told["result"]["kind"]["label"] == "bug"
    assert [step["status"] for step in told["steps"]] == ["completed", "completed", "failed", "skipped"]
    assert (told["status"], told["steps"][3]["error"]) == ("partial", "needs bad, which has no result")
    chosen = flow.run("review", {"text": "again", "audience": "all"}, expected_outputs=["kind"])
    assert [step["status"] for step in chosen["steps"]] == ["completed", "completed", "skipped", "skipped"]
    assert (chosen["status"], set(chosen["result"])) == ("completed", {"kind"})
    names = [row["workflow_type"] for row in flow.call("GET", "/workflows/types")[1]["types"]]
    assert names == ["classification", "meeting_intelligence", "embedding", "hybrid", "review"]
    theirs = flow.call("GET", "/workflows/types", key=other_key("viewer", "beta"))[1]["types"]
    assert [row["workflow_type"] for row in theirs] == names[:-1]


def test_equal_content_is_answered_again_within_the_hour_and_the_organization(flow: Flow) -> None:
    what = {"text": "cached: it crashes", "categories": LABELS}
    first = flow.run("classification", what)
    again = flow.status(flow.queue("classification", what))
    assert (again["status"], again["cached"], again["result"], again["cost_usd"]) == (
        "completed", True, first["result"], 0.0,
    )  # fmt: skip
    assert flow.asked("cached: it crashes") == 1
    assert flow.status(flow.queue("classification", what, HTTP_X_MOOLAI_CACHE="off"))["status"] == "queued"
    assert flow.status(flow.queue("classification", what | {"model": CLAUDE}))["status"] == "queued"
    beta = other_key("operator", "beta")
    assert flow.status(flow.queue("classification", what, key=beta), key=beta)["status"] == "queued"
    WorkflowRun.objects.filter(workflow_id=first["workflow_id"]).update(
        completed_at=timezone.now() - timezone.timedelta(hours=1)  # type: ignore[attr-defined]
    )
    assert flow.status(flow.queue("classification", what))["cached"] is False
    work_off()
    assert flow.asked("cached: it crashes") == 5
    acme = Organization.objects.get(pk="acme")
    key, limited = keys.create(acme, name="limited", acting_user=None, role="operator")
    assert flow.status(flow.queue("classification", what, key=limited))["cached"] is True
    spending.set_one(acme, key=key, allowed_models=[CLAUDE], acting_user=None)
    assert flow.status(flow.queue("classification", what, key=limited))["cached"] is False
    deny = {"name": "words", "kind": "deny", "words": ["unspeakable"], "on": ["answer"]}
    guarding.put(acme, rules=[deny], acting_user=None)
    assert flow.status(flow.queue("classification", what))["cached"] is False
    guarding.put(acme, rules=[], acting_user=None)
    WorkflowRun.objects.filter(status="queued").delete()
    fresh = WorkflowRun.objects.get(workflow_id=flow.queue("classification", what, HTTP_X_MOOLAI_CACHE="off"))
    document = contents.read(fresh, contents.INPUT, now=timezone.now())
    assert fresh.task is not None
    assert running.Execution(fresh, document, fresh.task, lambda percent: None).headers == {"X-Moolai-Cache": "off"}


def test_of_a_private_organization_nothing_stays_and_the_result_is_given_once(flow: Flow) -> None:
    acme = Organization.objects.get(pk="acme")
    kept = flow.run("classification", {"text": "kept: it crashes", "categories": LABELS})
    policies.put(acme, acting_user=None, is_private=True)
    try:
        assert flow.status(kept["workflow_id"])["result"] is None
        what = {"text": "secret: it crashes", "categories": LABELS}
        run = flow.queue("classification", what, workflow_id="private-1")
        assert WorkflowRun.objects.get(workflow_id=run).content_hash == ""
        work_off()
        assert "secret" not in everything_stored()
        watched = flow.status(run, key=other_key("viewer"))
        assert (watched["status"], watched["result"], "only who may run" in watched["result_note"]) == (
            "completed", None, True,
        )  # fmt: skip
        head = Client().head(f"{flowing.ROOT}/workflows/{run}/status", HTTP_AUTHORIZATION=f"Bearer {flow.key}")
        assert head.status_code == 200
        assert flow.status(run)["result"]["label"] == "bug"
        assert not WorkflowContent.objects.filter(run__workflow_id=run).exists()
        assert (flow.status(run)["result"], flow.status(run)["result_note"][:9]) == (None, "Delivered")
        assert flow.status(flow.queue("classification", what))["status"] == "queued"
        work_off()
        late = WorkflowContent.objects.get(name=contents.RESULT, run__is_private=True)
        assert 3500 < (late.expires_at - timezone.now()).total_seconds() <= 3600  # type: ignore[operator]
    finally:
        policies.put(acme, acting_user=None)


def test_a_run_whose_organization_becomes_private_meanwhile_is_private_too(flow: Flow) -> None:
    acme = Organization.objects.get(pk="acme")
    what = {"text": "turned: it crashes", "categories": LABELS}
    open_one = flow.queue("classification", what)
    wish, stale = Wish("classification", what), "0" * 64  # looked at before the policy was set
    policies.put(acme, acting_user=None, is_private=True)
    try:
        row = WorkflowRun.objects.get(workflow_id=open_one)
        assert (row.is_private, row.content_hash) == (True, "")
        planned = Planned(wish, making.planned(wish, {}), stale)
        late = making._written(acme, [planned], asked=Asked("token", "root"), batch_id="")[0]
        late.refresh_from_db()
        assert (late.is_private, late.content_hash) == (True, "")
    finally:
        policies.put(acme, acting_user=None)
    WorkflowRun.objects.filter(workflow_id=late.workflow_id).delete()
    work_off()
    kept = WorkflowContent.objects.get(run__workflow_id=open_one)
    assert kept.name == contents.RESULT
    assert kept.expires_at is not None


def test_a_database_that_is_away_for_a_moment_ends_no_paid_call(flow: Flow) -> None:
    def flaky(task: Task) -> Any:
        failed: list[int] = []

        def report(percent: int) -> None:
            if not failed:
                failed.append(percent)
                raise OperationalError("away")
            flowing.renewing(task)(percent)

        return report

    run = flow.queue("classification", {"text": "flaky: crash", "categories": LABELS})
    work_off(report=flaky)
    assert flow.status(run)["status"] == "completed"
    step = WorkflowRun.objects.get(workflow_id=run).steps.get()
    lost: list[str] = []

    def away(execute: Any, sql: str, *rest: Any) -> Any:
        if not lost and sql.startswith("UPDATE") and "workflow_calls" in sql:
            lost.append(sql)
            raise OperationalError("away")
        return execute(sql, *rest)

    desk = Desk(step, Asker("acme", "token", "root"), CHAT, threading.Event(), lambda percent: None)
    with connection.execute_wrapper(away):
        assert desk.text([{"role": "user", "content": "paid"}])
    assert len(lost) == 1
    assert WorkflowCall.objects.filter(step=step).latest("started_at").cost_usd_micros
    desk.model = "secret words"
    with pytest.raises(StepFailed, match="model_not_found"):
        desk.text([{"role": "user", "content": "nobody"}])
    assert WorkflowCall.objects.filter(step=step).latest("started_at").model == ""


def test_what_nobody_wants_is_not_run_with_the_next_attempt(flow: Flow) -> None:
    steps = [
        {"name": "one", "type": "prompt", "prompt": "unwanted [503 once] {{text}}"},
        {"name": "two", "type": "prompt", "prompt": "{{steps.one.text}}"},
    ]
    run = flow.queue("hybrid", {"text": "wanted", "steps": steps}, expected_outputs=["one"])
    row = WorkflowRun.objects.get(workflow_id=run)
    (task,) = work.take(work.Holder("worker", types=["workflow"]), now=timezone.now())
    document = contents.read(row, contents.INPUT, now=timezone.now())
    found = running.Execution(row, document, task, lambda percent: None)
    found.errors["one"] = StepFailed("provider_unavailable")
    row.steps.filter(name="one").update(status="failed")
    found.steps["one"].status = WorkflowStep.Status.FAILED
    assert found._progress() == 0
    task.attempts = settings.TASK_MAX_ATTEMPTS
    assert found._progress() == 100
    task.attempts = 1
    with pytest.raises(Again):
        found._try_again()
    assert [step.status for step in row.steps.all()] == ["pending", "skipped"]
    row.delete()


def test_cancelling_stops_a_run_inside_its_step_and_before_the_next(flow: Flow) -> None:
    steps = [
        {"name": "slow", "type": "prompt", "prompt": "[never] {{text}}"},
        {"name": "next", "type": "prompt", "prompt": "{{steps.slow.text}} afterwards"},
    ]
    run = flow.queue("hybrid", {"text": "cancel me", "steps": steps})
    worker = threading.Thread(target=work_off)
    worker.start()
    for _ in range(100):
        if flow.asked("[never] cancel me"):
            break
        time.sleep(0.05)
    began = time.monotonic()
    assert flow.call("DELETE", f"/workflows/{run}")[0] == 204
    assert flow.call("DELETE", f"/workflows/{run}")[0] == 204
    worker.join(10)
    assert not worker.is_alive()
    assert time.monotonic() - began < 6
    told = flow.status(run)
    assert (told["status"], [step["status"] for step in told["steps"]]) == ("cancelled", ["cancelled", "skipped"])
    assert [seen.was_cut for seen in flow.behind.of("[never] cancel me")] == [True]
    assert Task.objects.get(workflow_run__workflow_id=run).status == "cancelled"
    assert not WorkflowContent.objects.filter(run__workflow_id=run).exists()
    call = WorkflowCall.objects.get(step__run__workflow_id=run)
    for _ in range(50):
        if Call.objects.filter(pk=call.pk, status="cancelled").exists():
            break
        time.sleep(0.1)
    assert Call.objects.get(pk=call.pk).status == "cancelled"
    waiting = flow.queue("classification", {"text": "never begun"})
    work.cancel(Task.objects.get(workflow_run__workflow_id=waiting), acting_user=None)  # by the task's own door
    assert runs.sweep(now=timezone.now()) == 1
    assert flow.status(waiting)["status"] == "cancelled"
    done = flow.run("classification", {"text": "done: crash", "categories": LABELS})
    assert flow.call("DELETE", f"/workflows/{done['workflow_id']}")[0] == 409


def test_another_worker_goes_on_after_the_last_step_that_was_done(flow: Flow) -> None:
    steps = [
        {"name": "one", "type": "prompt", "prompt": "first things {{text}}"},
        {"name": "two", "type": "prompt", "prompt": "then {{steps.one.text}} [503{{input.mode}}]"},
    ]
    run = flow.queue("hybrid", {"text": "resume", "steps": steps, "mode": " once"})

    def dying(task: Task) -> Any:
        def report(percent: int) -> None:
            if percent >= 50:
                raise Lost

        return report

    work_off(report=dying)
    task = Task.objects.get(workflow_run__workflow_id=run)
    assert flow.status(run)["steps"][0]["status"] == "completed"
    work.give_back(task, reason="its worker died")
    two = WorkflowRun.objects.get(workflow_id=run).steps.filter(name="two")
    two.update(status="failed", error="provider_timeout: the call was answered 504")  # it died before it tried again
    work_off()
    told = flow.status(run)
    assert (told["status"], told["steps"][1]["status"], told["errors"]) == ("completed", "completed", [])
    assert flow.asked("first things resume") == 1


def test_another_attempt_asks_for_the_parts_that_are_missing_and_for_no_other(flow: Flow) -> None:
    down = ["parts.44", "agenda is at its end"]

    def script(body: dict[str, Any]) -> str | None:
        if any(word in json.dumps(body) for word in down):
            raise web.HTTPServiceUnavailable
        return flowing.script(body)

    flow.behind.script = script
    documents = [f"parts.{number} crashes" for number in range(45)]
    steps = [
        {"name": "kinds", "type": "classification"},
        {"name": "talk", "type": "meeting_intelligence", "input": "{{input.talk}}"},
    ]
    talk = "Cid: welcome.\n" + TALK + "\n".join(f"Cid: item {number} of the parts is long." for number in range(1500))
    data = {"texts": documents, "categories": LABELS, "model": CHAT, "talk": f"{talk}\nCid: the agenda is at its end."}
    try:
        run = flow.queue("hybrid", data | {"steps": steps})
        work_off()
        row = WorkflowRun.objects.get(workflow_id=run)
        kept = {"part:kinds:0", "part:kinds:1", "part:talk:0", "part:talk:1"}
        assert set(row.contents.values_list("name", flat=True)) == {"input", *kept}
        assert "parts" not in everything_stored().replace("of the parts", "")
        down.clear()
        inside.shut_down()  # another worker, with breakers of its own
        Task.objects.filter(workflow_run=row).update(run_after=timezone.now())
        work_off()
    finally:
        flow.behind.script = flowing.script
    told = flow.status(run)
    assert told["errors"] == []
    assert (told["status"], told["result"]["talk"]["summary"]) == ("completed", "All of it.")
    assert [item["label"] for item in told["result"]["kinds"]["items"]] == ["bug"] * 45
    words = ("parts.0 ", "parts.20 ", "part 1 of 3.\\n\\nCid: welcome", "item 900 of the parts")
    assert [flow.asked(word) for word in words] == [1, 1, 1, 1]
    assert flow.asked("parts.44 ") > 1
    assert list(row.contents.values_list("name", flat=True)) == ["result"]
    step = row.steps.get(name="kinds")
    contents.keep_open(row, contents.of_part("kinds", 0), {}, now=timezone.now())  # it is over
    assert row.contents.count() == 1
    WorkflowRun.objects.filter(pk=row.pk).update(completed_at=None)
    answers = [parts.answered(step, 0, asked=asked, ask=iter((n,)).__next__) for n, asked in enumerate("aab")]
    assert answers == [0, 0, 2]
    row.delete()


def test_a_worker_that_stood_still_changes_nothing_of_what_another_took_over(flow: Flow) -> None:
    run = flow.queue("classification", {"text": "stale: crash", "categories": LABELS})
    row = WorkflowRun.objects.get(workflow_id=run)
    (old,) = work.take(work.Holder("old", types=["workflow"]), now=timezone.now())
    document = contents.read(row, contents.INPUT, now=timezone.now())
    late = running.Execution(row, document, old, lambda percent: None)
    work.give_back(Task.objects.get(pk=old.pk), reason="it stood still")
    work_off()
    for step in late.steps.values():
        with pytest.raises(Lost):
            late._end(step, "failed", error="too late")
    with pytest.raises(Lost):
        late.go()
    told = flow.status(run)
    assert (told["status"], told["steps"][0]["status"], told["steps"][0]["error"]) == ("completed", "completed", "")
    assert flow.asked("stale: crash") == 1
    WorkflowRun.objects.filter(pk=row.pk).update(status="failed", error="classification: internal_error")
    with pytest.raises(Refused, match="internal_error"):  # its worker was killed before it could tell
        running.run(Task.objects.get(pk=old.pk), lambda percent: None)


def test_batches_ids_and_refusals(flow: Flow) -> None:
    one = {"workflow_type": "classification", "input_data": {"text": "batch: crash", "categories": LABELS}}
    status, told = flow.call("POST", "/workflows/batch", {"workflows": [one, one | {"workflow_id": "mine"}]})
    assert (status, told["total"], told["workflows"][1]["workflow_id"]) == (202, 2, "mine")
    assert flow.status(told["batch_id"])["status"] == "queued"
    work_off()
    batch = flow.status(told["batch_id"])
    assert (batch["status"], batch["progress"], len(batch["workflows"])) == ("completed", 100, 2)
    assert batch["cost_usd"] == sum(flow.status(row["workflow_id"])["cost_usd"] for row in batch["workflows"])
    assert flow.call("POST", "/workflows", one | {"workflow_id": "mine"})[1]["status"] == "completed"
    other = one | {"workflow_id": "mine", "input_data": {"text": "something else"}}
    assert flow.call("POST", "/workflows", other)[0] == 409
    count = WorkflowRun.objects.count()
    for wrong, place in (
        ({"workflow_type": "poetry"}, "workflow_type"),
        ({"input_data": {}}, "input_data.text"),
        ({"input_data": {"texts": ["a", 7]}}, "input_data.texts.1"),
        ({"expected_outputs": ["mood"]}, "expected_outputs"),
        ({"priority": "soon"}, "priority"),
        ({"workflow_type": "hybrid", "input_data": {"text": "a", "model": {"secret": 1}}}, "input_data.model"),
        ({"workflow_type": "hybrid", "input_data": {"steps": [{"type": "prompt"}]}}, "input_data.steps.0.prompt"),
    ):
        status, told = flow.call("POST", "/workflows", one | wrong)
        assert (status, list(told["fields"])) == (400, [place])
        status, told = flow.call("POST", "/workflows/batch", {"workflows": [one, one | wrong]})
        assert (status, list(told["fields"])) == (400, [f"workflows.1.{place}"])
    assert flow.call("POST", "/workflows", one, key=other_key("viewer"))[0] == 403
    assert flow.call("GET", "/workflows/mine/status", key=other_key("admin", "beta"))[0] == 404
    assert flow.call("DELETE", "/workflows/mine", key=other_key("admin", "beta"))[0] == 404
    acme, beta = Organization.objects.filter(pk__in=("acme", "beta")).order_by("pk")
    ann = users.create(acme, username="ann", role="operator", acting_user=None).user
    users.add(ann, organization=beta, role="operator", acting_user=None)
    token = tokens.sign_in(ann, now=timezone.now()).access_token
    assert flow.call("GET", "/workflows/mine/status", key=token)[1]["error"] == "organization_required"
    assert flow.call("DELETE", "/workflows/mine", key=token)[0] == 403
    assert flow.call("GET", "/workflows/mine/status", key=token, HTTP_X_ORGANIZATION_ID="acme")[0] == 200
    assert flow.call("GET", "/workflows/mine/status", key=token, HTTP_X_ORGANIZATION_ID="beta")[0] == 404
    assert flow.call("GET", f"/workflows/{batch['workflow_id']}/status", key=token)[0] == 200
    ann.delete()
    assert WorkflowRun.objects.count() == count
    connections.close_all()


def test_what_was_measured_leads_to_advice_and_health_is_the_truth(flow: Flow) -> None:
    flow.run("classification", {"texts": ["measured: crash"], "categories": LABELS})
    status, told = flow.call("POST", "/workflows/optimize", {"days": 1, "workflow_type": "hybrid"})
    assert (status, told["recommendations"]) == (200, [])
    assert told["note"].startswith("Not enough runs")
    step = WorkflowRun.objects.filter(workflow_type="classification").latest("id").steps.get()
    for number in range(2 * advice.FEWEST):
        is_dear = number % 2 == 0
        WorkflowCall.objects.create(
            call_id=f"measured-{number}", step=step, model="dear/one" if is_dear else "cheap/two", latency_ms=100,
            cost_usd_micros=9000 if is_dear else 1000, is_repair=is_dear and number % 8 == 0,
            is_malformed=not is_dear, started_at=timezone.now(),
        )  # fmt: skip
    failed = flow.run("hybrid", {"text": "down", "steps": [{"type": "prompt", "prompt": "[418] it", "model": CHAT}]})
    assert (failed["status"], failed["steps"][0]["model"]) == ("failed", CHAT)
    told = flow.call("POST", "/workflows/optimize", {})[1]
    measured = {(row["type"], row["model"]): row for row in told["measured"]}
    assert [measured["classification", name]["repair_rate"] for name in ("dear/one", "cheap/two")] == [0.3333, 0.0]
    ours = measured["prompt", CHAT]
    errors = WorkflowCall.objects.filter(step__kind="prompt", model=CHAT).exclude(error="").count()
    assert (errors > 0, ours["failure_rate"]) == (True, round(errors / ours["calls"], 4))
    found = {(row["kind"], row["measurements"][0]["model"]) for row in told["recommendations"]}
    assert ("repairs", "dear/one") in found
    assert ("cost", "dear/one") in found
    assert all(row["calls"] >= advice.FEWEST for item in told["recommendations"] for row in item["measurements"])
    flow.queue("classification", {"text": "waits"})
    status, told = flow.call("GET", "/services/health")
    providers = {row["name"]: row for row in told["providers"]}
    assert (status, providers["openai"]["breaker"], providers["openai"]["requests"] > 0) == (200, "closed", True)
    assert (told["queue"]["waiting"], told["worker"]["status"] in ("stale", "unknown")) == (1, True)
    assert told["status"] in ("degraded", "unhealthy")
