"""The console's pages of workflows: runs drawn as their steps, and templates."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from llm_gateway.models import WorkflowCall, WorkflowRun, WorkflowStep, WorkflowTemplate
from llm_gateway.tests.console_stage import queries, told
from llm_gateway.workflows import contents, making
from llm_gateway.workflows.making import Asked, Wish
from orgs.models import Organization

pytestmark = [pytest.mark.once, pytest.mark.django_db]
LIST = reverse("admin:llm_gateway_workflowrun_changelist")
STEPS = [
    {"name": "draft", "type": "prompt", "prompt": "secret {{text}}"},
    {"name": "vectors", "type": "embedding"},
    {"name": "kind", "type": "classification", "input": "{{steps.draft.text}}"},
]


def run(acme: Organization, **more: Any) -> WorkflowRun:
    wish = Wish("hybrid", {"text": "secret words", "steps": STEPS}, **more)
    return making.create(acme, wish, asked=Asked("token", "root"))


def test_a_run_is_drawn_as_its_steps_and_can_be_cancelled(console: Client, acme: Organization) -> None:
    row = run(acme)
    first = row.steps.get(name="draft")
    WorkflowStep.objects.filter(pk=first.pk).update(status="completed", started_at=timezone.now())
    kind = row.steps.get(name="kind")
    WorkflowStep.objects.filter(pk=kind.pk).update(status="running", started_at=timezone.now())
    WorkflowCall.objects.create(call_id="c0", step=kind, characters=1234, started_at=timezone.now())
    row.steps.filter(name="vectors").update(status="failed", error="provider_timeout: the call was answered 504")
    WorkflowCall.objects.create(
        call_id="c1", step=first, model="openai/small", cost_usd_micros=1234, is_repair=True, started_at=timezone.now()
    )
    url = reverse("admin:llm_gateway_workflowrun_change", args=[row.pk])
    answer = console.get(url)
    assert [[box.name for box in wave] for wave in answer.context["waves"]] == [["draft", "vectors"], ["kind"]]
    text = answer.content.decode()
    assert "$0.001234" in text
    assert "1 call, 1 to repair" in text
    assert "1 call · 1,234 characters so far" in text
    assert "after draft" in text
    assert "provider_timeout" in text
    assert "secret" not in text
    assert f'<a class="mo-link" href="{reverse("admin:orchestrators_task_change", args=[row.task_id])}">' in text
    assert "data-unfinished" in text
    assert row.workflow_id in console.get(LIST).content.decode()
    before = queries(console, LIST)
    for _ in range(3):
        run(acme)
    assert queries(console, LIST) == before
    cancel = reverse("admin:llm_gateway_workflowrun_cancel", args=[row.pk])
    assert console.get(cancel).status_code == 405
    assert "is cancelled" in told(console.post(cancel))
    row.refresh_from_db()
    assert row.status == "cancelled"
    assert "cannot be cancelled" not in told(console.post(cancel))


def test_the_page_of_a_run_follows_it_and_shows_what_it_came_to_unless_it_is_private(
    console: Client, acme: Organization
) -> None:
    row = run(acme)
    panel = reverse("admin:llm_gateway_workflowrun_panel", args=[row.pk])
    page = console.get(reverse("admin:llm_gateway_workflowrun_change", args=[row.pk])).content.decode()
    assert f'data-refresh="{panel}"' in page
    assert "None yet." in page
    now = timezone.now()
    contents.keep_result(row, {"steps": {"draft": {"text": "<b>low</b> risk"}}, "z": "x" * 30_000}, now=now)
    WorkflowRun.objects.filter(pk=row.pk).update(status="completed", completed_at=now)
    text = console.get(panel).content.decode()
    assert "&lt;b&gt;low&lt;/b&gt; risk" in text
    assert "characters more: ask the API for them" in text
    assert "data-unfinished" not in text
    assert "x" * 20_001 not in text
    WorkflowRun.objects.filter(pk=row.pk).update(is_private=True)
    text = console.get(panel).content.decode()
    assert "is given the result, once" in text
    assert "risk" not in text
    contents.forget(row)
    WorkflowRun.objects.filter(pk=row.pk).update(is_private=False)
    assert "Not kept any more." in console.get(panel).content.decode()
    assert console.get(reverse("admin:llm_gateway_workflowrun_panel", args=[0])).status_code == 404


def test_a_template_is_written_checked_and_changed(console: Client, acme: Organization) -> None:
    add = reverse("admin:llm_gateway_workflowtemplate_add")
    form = {"organization": "acme", "name": "review", "description": "", "written": '["embedding", {"type": "magic"}]'}
    refused = console.post(add, form)
    assert "steps.1.type: Write one of" in refused.content.decode()
    assert "This is not JSON" in console.post(add, form | {"written": "["}).content.decode()
    assert console.post(add, form | {"written": '["embedding"]'}).status_code == 302
    row = WorkflowTemplate.objects.get()
    assert row.steps == [{"type": "embedding", "name": "embedding", "after": []}]
    page = reverse("admin:llm_gateway_workflowtemplate_change", args=[row.pk])
    assert console.post(page, form | {"name": "hybrid", "written": '["embedding"]'}).status_code == 302
    row.refresh_from_db()
    assert row.name == "review"  # everybody has that type
    assert "review" in console.get(reverse("admin:llm_gateway_workflowtemplate_changelist")).content.decode()
