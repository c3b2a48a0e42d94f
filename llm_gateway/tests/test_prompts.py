"""What a prompt asks, who may, what stays of it in tasks, and how prompts end whose process died."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from llm_gateway import aliases, following, policies, task_handlers
from llm_gateway.models import Call, Prompt, PromptContent
from llm_gateway.plane import people
from llm_gateway.prompts import asking, book, endpoint, retention, waiting
from llm_gateway.prompts.outcomes import Outcome
from llm_gateway.prompts.running import Plan
from moolai.errors import AppError, Conflict, Forbidden, InvalidInput
from orchestrators import work
from orchestrators.admin.task_forms import TaskForm
from orchestrators.models import Agent, Task
from orchestrators.work import board, event_rules, publishing, timeline
from orchestrators.work.handlers import Lost
from orgs import keys
from orgs import retention as pruning
from orgs.models import Event, IdempotencyKey, Organization, User
from orgs.tests.cast import Person

pytestmark = [pytest.mark.once("postgres"), pytest.mark.django_db]


@pytest.fixture
def acme() -> Organization:
    return Organization.objects.create(organization_id="acme", name="Acme")


def test_what_is_asked_comes_from_the_prompt_its_agent_and_the_default(acme: Organization, settings: Any) -> None:
    Agent.objects.create(organization=acme, agent_id="idle", name="Idle", status="inactive")
    Agent.objects.create(
        organization=acme, agent_id="a", name="A", model="x/y", system_prompt="Be {brief}.",
        parameters={"max_completion_tokens": 9, "seed": 1, "stream": True, "api_base": "http://x"},
    )  # fmt: skip
    assert asking.document(acme, {"prompt": "p"})["model"] == "echo/echo"
    settings.LLM_ECHO_ENABLED = False
    for wish, code in (({}, "invalid_field"), ({"agent_id": "idle"}, "conflict"), ({"agent_id": "b"}, "not_found")):
        with pytest.raises(AppError) as refused:
            asking.document(acme, {"prompt": "p", **wish})
        assert refused.value.code == code
    aliases.create(acme, alias="default", targets=[{"model": "x/y"}], acting_user=None)
    assert asking.document(acme, {"prompt": "p"})["model"] == "default"
    asked = asking.document(acme, {"prompt": "p", "agent_id": "a", "max_tokens": 5})
    turns = [{"role": "user", "content": "before"}]
    assert asking.body({**asked, "context": turns}, is_stream=True) == {
        "model": "x/y", "seed": 1, "max_tokens": 5, "stream": True, "stream_options": {"include_usage": True},
        "messages": [{"role": "system", "content": "Be {brief}."}, *turns, {"role": "user", "content": "p"}],
    }  # fmt: skip
    odd = asking.body({**asked, "context": [{"role": "tool", "content": "x"}]}, is_stream=False)["messages"][1]
    assert odd == {"role": "user", "content": 'Context:\n[{"role": "tool", "content": "x"}]'}


def test_a_prompt_whose_process_died_ends_with_what_the_ledger_says(acme: Organization) -> None:
    asked, old = asking.document(acme, {"prompt": "p"}), timezone.now() - timedelta(hours=1)
    rows = {}
    for call_id, status in (("lost", "lost"), ("open", "running"), ("none", ""), ("fresh", "lost")):
        rows[call_id] = book.create(acme, asked=asked, how=book.Asking("bob")).prompt_id
        assert book.claim(rows[call_id], call_id=call_id, now=timezone.now() if call_id == "fresh" else old)
        assert not book.claim(rows[call_id], call_id="again", now=old)
        if status:
            Call.objects.create(
                call_id=call_id, organization_id="acme", requested_model="m", status=status, started_at=old,
                cost_usd_micros=7, input_tokens=3,
            )  # fmt: skip
    assert book.settle_lost(now=timezone.now()) == 2
    found = {name: Prompt.objects.get(prompt_id=prompt_id) for name, prompt_id in rows.items()}
    assert {name: row.status for name, row in found.items()} == {
        "lost": "failed", "open": "running", "none": "failed", "fresh": "running",
    }  # fmt: skip
    assert (found["lost"].cost_usd_micros, found["lost"].tokens_used, found["lost"].error) == (7, 3, "interrupted")
    book.finish(rows["lost"], Outcome(status="completed", text="too late"))
    assert Prompt.objects.get(prompt_id=rows["lost"]).status == "failed"
    assert not PromptContent.objects.exclude(answer="").exists()


def test_texts_go_before_numbers_and_what_runs_stays(acme: Organization, settings: Any) -> None:
    settings.LLM_CONTENT_RETENTION_DAYS, settings.LLM_CALL_RETENTION_DAYS = 30, 90
    now, asked = timezone.now(), asking.document(acme, {"prompt": "p"})
    for days in (29, 31, 91, 92):
        row = book.create(acme, asked=asked, how=book.Asking("bob"))
        past = now - timedelta(days=days)
        Prompt.objects.filter(pk=row.pk).update(created_at=past, status="running" if days == 92 else "completed")
        PromptContent.objects.filter(pk=row.pk).update(kept_at=past)
    for rule in retention.rules(now=now):
        pruning.delete_batch(rule)
    rows = Prompt.objects.select_related("content").order_by("-created_at")
    assert [(row.status, book.missing(row)) for row in rows] == [
        ("completed", None), ("completed", "expired"), ("running", "expired"),
    ]  # fmt: skip


def test_what_waits_in_memory_is_given_once_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MAX_WAITING", 2)
    for name in ("one", "two", "three"):
        waiting.put(name, {"prompt": name}, organization_id="acme")
    assert [waiting.take(name) for name in ("one", "two", "three", "three")] == [
        None, {"prompt": "two"}, {"prompt": "three"}, None,
    ]  # fmt: skip
    monkeypatch.setattr(waiting, "MAX_WAITING", 10)
    monkeypatch.setattr(waiting, "MAX_BYTES_OF_ONE", 2_500)
    monkeypatch.setattr(waiting, "MAX_BYTES", 4_500)
    for number, name in enumerate(("other", "acme", "acme", "acme", "third", "fourth")):
        waiting.put(f"{number}", {"prompt": "x" * 1_000}, organization_id=name)
    assert list(waiting._waiting) == ["2", "3", "4", "5"]  # acme's first went for acme, the oldest of all for the last
    monkeypatch.setattr(waiting, "SECONDS", -1.0)
    waiting._waiting.clear()
    for name in ("late", "later"):
        waiting.put(name, {"prompt": name}, organization_id="acme")
    assert waiting.take("later") is None
    assert not waiting._waiting


def answered(home: Organization, kind: str) -> str:
    """Make and cancel a task over HTTP, each once by its key; return its id."""
    _, secret = keys.create(home, name=kind, acting_user=None, role="operator")
    who, own = Person({"Authorization": f"Bearer {secret}"}), f"/api/v1/orchestrators/{home.pk}/tasks"
    body = {"task_type": kind, "parameters": {"prompt": "secret"}}
    task_id = str(who.call("POST", own, body, **{"Idempotency-Key": "made"}).json()["data"]["task_id"])
    if kind == "prompt":
        assert who.call("PUT", f"{own}/{task_id}/cancel", **{"Idempotency-Key": "stopped"}).status_code == 200
        assert IdempotencyKey.objects.filter(task_id=task_id).count() == 2
    return task_id


def test_a_private_organizations_prompts_are_in_no_task(acme: Organization) -> None:
    def make(kind: str = "prompt") -> Task:
        return work.create(acme, task_type=kind, payload={"prompt": "secret"}, priority=5, acting_user=None)

    done, open_, other = make(), make(), make("bugfix")
    Task.objects.update(result={"response": "secret"}, error="secret")
    timeline.note(done, timeline.Kind.ATTEMPT_FAILED, now=timezone.now(), text="secret")
    timeline.note(other, timeline.Kind.ATTEMPT_FAILED, now=timezone.now(), text="3 of 412 tests fail")
    made = [answered(acme, kind) for kind in ("prompt", "bugfix")]
    policies.put(acme, acting_user=None, is_private=True)
    for row in (done, open_):
        row.refresh_from_db()
        assert (row.payload, row.result, row.error) == ({}, None, "")
    assert not done.steps.filter(note="secret").exists()
    assert [event.data["reason"] for event in Event.objects.filter(kind="task.attempt_failed").order_by("pk")] == [
        "", "3 of 412 tests fail",
    ]  # fmt: skip
    assert [row.task_id for row in IdempotencyKey.objects.all()] == [made[1]]
    assert Task.objects.get(pk=other.pk).payload == {"prompt": "secret"}
    with pytest.raises(Conflict, match="send the prompt itself"):
        make()
    form = TaskForm({"organization": "acme", "task_type": "prompt", "urgency": "P2", "payload": "{}"})
    assert "private" in str(form.non_field_errors())
    rule = event_rules.create(acme, acting_user=None, name="Ask", event_type="*", task_type="prompt")
    publishing.publish(acme, event_type="asked", source_agent="ci", payload={"prompt": "secret"})
    assert Event.objects.get(kind="event.published").data["suppressed"] == [rule.rule_id]
    assert Task.objects.count() == 5


@pytest.mark.parametrize("payload", [{}, {"prompt": "p", "bogus": 1}, {"prompt": ["p"]}, []])
def test_a_prompt_that_cannot_be_run_is_refused_when_its_task_is_made(acme: Organization, payload: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        work.create(acme, task_type="prompt", payload=payload, priority=5, acting_user=None)
    assert refused.value.fields
    rule = event_rules.create(acme, acting_user=None, name="Ask", event_type="*", task_type="prompt")
    publishing.publish(acme, event_type="asked", source_agent="ci", payload={"bogus": 1})
    assert Event.objects.get(kind="event.published").data["suppressed"] == [rule.rule_id]
    assert not Task.objects.exists()


def test_a_workflows_task_is_made_with_its_run_alone(acme: Organization) -> None:
    root = User.objects.create_superuser("root")
    for payload in ({}, {"workflow_id": "wf_none"}, {"workflow_id": 7}):
        with pytest.raises(Conflict, match="ai-orchestration"):
            work.create(acme, task_type="workflow", payload=payload, priority=5, acting_user=None)
    old = work.create(acme, task_type="bugfix", payload={"workflow_id": "wf_none"}, priority=5, acting_user=None)
    Task.objects.filter(pk=old.pk).update(task_type="workflow", status="failed")
    old.refresh_from_db()
    with pytest.raises(Conflict, match="ai-orchestration"):
        board.run_again(old, acting_user=root, creator="")


def test_who_may_not_call_any_more_is_refused(acme: Organization) -> None:
    ann, root = User.objects.create(username="ann"), User.objects.create_superuser("root")
    asker = f"user:{ann.pk}"

    def may(caller_id: str) -> bool:
        try:
            found = people.standing(caller_id, organization_id="acme", name="")
        except Forbidden:
            return False
        assert (found.caller_id, found.organization_id) == (caller_id, "acme")
        assert found.key_id == caller_id.removeprefix("key:") * caller_id.startswith("key:")
        return True

    assert [may(asker), may("user:0"), may(f"user:{root.pk}"), may("token")] == [False, False, True, True]
    for role, is_allowed in (("operator", True), ("viewer", False), ("admin", True)):
        ann.memberships.update_or_create(organization=acme, defaults={"role": role})
        assert may(asker) is is_allowed
    User.objects.update(is_active=False)
    assert [may(asker), may(f"user:{root.pk}")] == [False, False]
    key, _ = keys.create(acme, name="ci", acting_user=None, role="operator")
    foreign, _ = keys.create(Organization.objects.create(pk="umbrella"), name="ci", acting_user=None, role="operator")
    assert [may(f"key:{key.key_id}"), may(f"key:{foreign.key_id}"), may("key:none")] == [True, False, False]
    keys.revoke(key, acting_user=None)
    assert [may(f"key:{key.key_id}"), may("token")] == [False, True]
    Organization.objects.update(status="suspended")
    assert may("token") is False


async def _quiet() -> dict[str, Any]:
    await asyncio.sleep(60)
    return {}


def test_followers_leave_the_texts_where_they_are_until_the_end(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = book.create(acme, asked=asking.document(acme, {"prompt": "p"}), how=book.Asking("bob"))
    for status, is_over in (("pending", False), ("running", False), ("completed", True)):
        Prompt.objects.update(status=status)
        with CaptureQueriesContext(connection) as asked:
            told = endpoint._look(row.prompt_id)
        assert (told is not None) is is_over is any("prompt_contents" in query["sql"] for query in asked)
    assert b"not_found" in (endpoint._look("prm_none") or b"")
    monkeypatch.setattr(following, "MAX_FOLLOWING_OF_ONE", 1)
    with following.place("acme"):
        told = asyncio.run(endpoint._follow(Plan(row.prompt_id, None, organization_id="acme"), _quiet))
    assert b"overloaded" in told


def test_a_report_that_the_database_does_not_take_ends_no_call(settings: Any) -> None:
    settings.LLM_TOTAL_SECONDS = 10
    reports, problems = list[int](), [OperationalError("gone"), None, Lost()]

    def report(percent: int) -> None:
        connection.ensure_connection()
        reports.append(percent)
        if (problem := problems.pop(0)) is not None:
            raise problem

    def tell(seconds: float) -> bool:
        """Report after so many seconds; return whether the thread is left without a connection."""
        task_handlers._tell(report, time.monotonic() - seconds)
        return connection.connection is None

    with ThreadPoolExecutor(1) as thread:  # this one's connection is in a transaction, and stays open
        assert [thread.submit(tell, seconds).result() for seconds in (5, 60)] == [True, True]
        with pytest.raises(Lost):
            thread.submit(tell, 0).result()
        assert thread.submit(lambda: connection.connection is None).result()
    assert reports == [50, 99, 0]
