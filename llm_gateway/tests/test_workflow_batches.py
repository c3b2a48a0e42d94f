"""Batches of runs: all of them in few statements, with what each run alone would have."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from llm_gateway.models import WorkflowRun, WorkflowStep
from llm_gateway.workflows import advice, making, plans, templates
from llm_gateway.workflows.making import Asked, Wish
from moolai.errors import Conflict, InvalidInput
from orchestrators.models import Task, TaskStep
from orgs import keys
from orgs.models import Event, Organization

pytestmark = pytest.mark.django_db
ASKED = Asked("token", "root")


def wishes(count: int, **more: Any) -> list[Wish]:
    return [Wish("embedding", {"text": f"text {number}"}, **more) for number in range(count)]


def made(acme: Organization, count: int) -> int:
    """Make a batch; return how many statements that took."""
    with CaptureQueriesContext(connection) as asked:
        assert len(making.create_many(acme, wishes(count), asked=ASKED)[1]) == count
    return len(asked)


def test_a_hundred_runs_take_as_many_statements_as_ten(acme: Organization) -> None:
    made(acme, 1)
    assert made(acme, 100) - made(acme, 10) <= 8  # long inserts are cut where the database wants that
    assert made(acme, 10) <= 40


def test_each_run_of_a_batch_has_what_one_alone_has(acme: Organization) -> None:
    templates_made = [
        {"name": "draft", "type": "prompt", "prompt": "{{text}}"},
        {"name": "vectors", "type": "embedding"},
    ]
    templates.create(acme, name="mine", steps=templates_made, acting_user=None)
    alone = making.create(acme, Wish("mine", {"text": "x"}, ("vectors",), "high", user_id="u"), asked=ASKED)
    wanted = [Wish("mine", {"text": "y"}, ("vectors",), "high", user_id="u"), *wishes(2, priority="low")]
    batch_id, found = making.create_many(acme, wanted, asked=ASKED)
    assert [run.batch_id for run in found] == [batch_id] * 3
    for run, priority in zip([alone, *found], (8, 8, 2, 2), strict=True):
        row = WorkflowRun.objects.get(pk=run.pk)
        assert row.task is not None
        assert (row.task.task_type, row.task.status, row.task.assigned_agent) == ("workflow", "assigned", "")
        assert (row.task.priority, row.priority) == (priority, priority)
        assert row.task.payload == {"workflow_id": row.workflow_id, "workflow_type": row.workflow_type}
        assert row.contents.get().name == "input"
        assert list(row.task.steps.values_list("kind", flat=True)) == ["created"]
        assert Event.objects.filter(kind="task.created", data__task_id=row.task.task_id).count() == 1
    both = [list(run.steps.order_by("number").values_list("name", "status")) for run in (alone, found[0])]
    assert both[0] == both[1] == [("draft", "skipped"), ("vectors", "pending")]


def test_a_batch_is_made_whole_or_not_at_all(acme: Organization) -> None:
    first = making.create(acme, Wish("embedding", {"text": "first"}, workflow_id="mine"), asked=ASKED)
    counts = [model.objects.count() for model in (WorkflowRun, WorkflowStep, Task, TaskStep)]
    with pytest.raises(Conflict):
        making.create_many(acme, [*wishes(2), Wish("embedding", {"text": "other"}, workflow_id="mine")], asked=ASKED)
    with pytest.raises(InvalidInput) as wrong:
        making.create_many(acme, [*wishes(1), Wish("mine", {"text": "x"})], asked=ASKED)
    assert list(wrong.value.fields) == ["workflows.1.workflow_type"]
    assert counts == [model.objects.count() for model in (WorkflowRun, WorkflowStep, Task, TaskStep)]
    mine = Wish("embedding", {"text": "first"}, workflow_id="mine")
    twice = Wish("embedding", {"text": "twice"}, workflow_id="twice")
    _, found = making.create_many(acme, [mine, twice, twice], asked=ASKED)
    assert found[0].pk == first.pk
    assert found[1].pk == found[2].pk
    with pytest.raises(Conflict):
        making.create_many(acme, [Wish("embedding", {"text": text}, workflow_id="new") for text in "ab"], asked=ASKED)
    assert not WorkflowRun.objects.filter(workflow_id="new").exists()


def kinds(data: dict[str, Any]) -> list[str]:
    return [step["type"] for step in plans.of_kind("hybrid", data)]


def test_a_hybrid_without_steps_leaves_nothing_out_that_was_sent() -> None:
    labels = {"categories": ["a", "b"]}
    assert kinds({"transcript": "Ann: hi", "text": "x"} | labels) == [
        "meeting_intelligence",
        "classification",
        "embedding",
    ]
    assert kinds({"transcript": "Ann: hi"}) == ["meeting_intelligence", "embedding"]
    assert kinds({"text": "x"}) == kinds({"text": "x"} | labels) == ["classification", "embedding"]


def test_advice_counts_the_runs_of_the_type_that_is_asked_for(acme: Organization) -> None:
    making.create_many(acme, [*wishes(2), Wish("classification", {"text": "x"})], asked=ASKED)
    now = timezone.now()
    found = [advice.repeated(acme, now=now, days=1, workflow_type=kind)["runs"] for kind in ("", "embedding", "hybrid")]
    assert found == [3, 2, 0]
    _, secret = keys.create(acme, name="ci", acting_user=None, role="operator")
    for kind, status in (("embedding", 200), ("poetry", 400)):
        answer = Client().post(
            "/v1/ai-orchestration/workflows/optimize",
            {"workflow_type": kind},
            content_type="application/json",
            headers={"Authorization": f"Bearer {secret}"},
        )
        assert answer.status_code == status
        assert status == 200 or list(answer.json()["fields"]) == ["workflow_type"]
