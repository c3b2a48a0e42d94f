"""Templates over HTTP: made, run by their name, replaced, changed, deleted; who may is in the matrix."""

import json
from typing import Any

import pytest

from llm_gateway.models import WorkflowRun, WorkflowTemplate
from llm_gateway.workflows import templates
from moolai.errors import NotFound
from orgs.models import AuditEntry
from orgs.tests import cast

pytestmark = pytest.mark.django_db
LIST = "/api/v1/orchestrators/org-001/workflow-templates"
RUNS = "/v1/ai-orchestration/workflows"
STEPS: list[Any] = [
    {"name": "risks", "type": "prompt", "prompt": "List the risks:\n\n{{text}}", "schema": {"type": "object"}},
    {"type": "classification", "input": "{{steps.risks.text}}", "categories": ["low", "high"]},
]
KEPT = [{**STEPS[0], "after": []}, {**STEPS[1], "name": "classification", "after": ["risks"]}]


def told(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.content
    body = json.loads(answer.content)
    return body.get("data", body)


def trail() -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(action__startswith="workflow_template.").order_by("pk"))


def test_a_template_is_made_run_by_its_name_replaced_changed_and_deleted(settings: Any) -> None:
    people = cast.make(settings)
    alice, oscar = people.alice, people.oscar
    made = told(alice.call("POST", LIST, {"name": "review", "description": "Reads.", "steps": STEPS}), 201)
    assert (made["name"], made["description"], made["steps"]) == ("review", "Reads.", KEPT)
    one = f"{LIST}/{made['template_id']}"
    assert told(people.vera.get(one)) == made
    assert told(people.vera.get(LIST))["items"] == [made]
    elsewhere = one.replace("org-001", "org-002")
    assert [people.charlie.get(path).status_code for path in (one, elsewhere, LIST)] == [404] * 3

    wish = {"workflow_type": "review", "input_data": {"text": "a contract"}}
    queued = told(oscar.call("POST", RUNS, wish), 202)
    assert queued["workflow_type"] == "review"

    # Sent back as it was read, nothing has changed; put without a description, it has none.
    assert told(alice.call("PUT", one, {name: made[name] for name in ("name", "description", "steps")})) == made
    assert [entry.action for entry in trail()] == ["workflow_template.create"]
    replaced = told(alice.call("PUT", one, {"name": "triage", "steps": [{"type": "embedding"}]}))
    assert (replaced["name"], replaced["description"]) == ("triage", "")
    assert replaced["steps"] == [{"type": "embedding", "name": "embedding", "after": []}]
    assert told(oscar.call("POST", RUNS, wish), 400)["fields"]["workflow_type"].startswith("There is no such type.")
    changed = told(alice.call("PATCH", one, {"description": "Sorts."}))
    assert (changed["steps"], changed["description"]) == (replaced["steps"], "Sorts.")
    assert [step["name"] for step in WorkflowRun.objects.get().plan] == ["risks", "classification"]

    row = WorkflowTemplate.objects.get()
    assert alice.call("DELETE", one).status_code == 204
    assert alice.get(one).status_code == 404
    for late in (
        lambda: templates.update(row, acting_user=None, name="x"),
        lambda: templates.delete(row, acting_user=None),
    ):
        with pytest.raises(NotFound):
            late()
    assert [entry.action.partition(".")[2] for entry in trail()] == ["create", "update", "update", "delete"]
    before, after = trail()[1].before, trail()[1].after
    assert before
    assert after
    assert (before["name"], after["name"]) == ("review", "triage")


@pytest.mark.once
def test_what_cannot_be_run_is_refused_by_its_place(settings: Any) -> None:
    alice = cast.make(settings).alice
    told(alice.call("POST", LIST, {"name": "mine", "steps": STEPS}), 201)
    good = {"name": "review", "steps": STEPS}
    for change, place in (
        ({"steps": []}, "steps"),
        ({"steps": STEPS * 11}, "steps"),
        ({"steps": [STEPS[0], {"type": "magic"}]}, "steps.1.type"),
        ({"steps": [{"type": "embedding", "prompt": "?"}]}, "steps.0.prompt"),
        ({"steps": [{**STEPS[0], "after": ["later"]}]}, "steps.0.after"),
        ({"steps": [{**STEPS[0], "prompt": "{{secrets}}"}]}, "steps.0.prompt"),
        ({"steps": [{**STEPS[0], "schema": {"type": "object", "required": 1}}]}, "steps.0.schema"),
        ({"name": "hybrid"}, "name"),
        ({"name": "no spaces"}, "name"),
        ({"name": "n" * 51}, "name"),
    ):
        refused = told(alice.call("POST", LIST, {**good, **change}), 400)
        assert place in refused["fields"], (change, refused)
    assert told(alice.call("POST", LIST, {**good, "name": "mine"}), 409)["error"] == "conflict"
    assert told(alice.call("POST", LIST, {**good, "engine": "x"}), 400)["error"] == "unknown_field"
    assert WorkflowTemplate.objects.count() == 1
