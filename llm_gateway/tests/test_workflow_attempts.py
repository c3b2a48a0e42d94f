"""What is tried again of a workflow, and how its task ends when that is in vain."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from aiohttp import web
from django.utils import timezone

from llm_gateway import retrying
from llm_gateway.models import WorkflowRun
from llm_gateway.plane import inside
from llm_gateway.tests import flowing
from llm_gateway.tests.flowing import CHAT, Flow, work_off
from moolai.testing.world import World
from orchestrators.models import Task

Answer = Callable[[], web.HTTPException]
STEPS = [{"name": "one", "type": "prompt", "prompt": "{{text}}"}]


@pytest.fixture(scope="module")
def flow(world: World, django_db_setup: None, django_db_blocker: Any) -> Iterator[Flow]:
    with flowing.playing(world, django_db_blocker) as found:
        yield found


def queued(flow: Flow, word: str) -> tuple[WorkflowRun, Task]:
    run = WorkflowRun.objects.select_related("task").get(
        workflow_id=flow.queue("hybrid", {"text": word, "steps": STEPS, "model": CHAT})
    )
    assert run.task is not None
    return run, run.task


def failing(flow: Flow, word: str, answer: Answer) -> None:
    """Have the provider answer what holds a word so, until the script is set again."""

    def script(body: dict[str, Any]) -> str | None:
        if word in str(body):
            raise answer()  # a new one: an answer is sent once
        return flowing.script(body)

    flow.behind.script = script


@pytest.mark.parametrize(
    "answer",
    [web.HTTPInternalServerError, partial(web.HTTPBadGateway, text="<html>"), web.HTTPServiceUnavailable,
     partial(web.HTTPTooManyRequests, headers={"Retry-After": "1"})],
)  # fmt: skip
def test_what_a_provider_may_answer_better_another_time_is_tried_again(flow: Flow, answer: Answer) -> None:
    word = f"again {answer().status}"
    run, task = queued(flow, word)
    try:
        failing(flow, word, answer)
        work_off()
        task.refresh_from_db()
        assert (task.status, task.attempts) == ("assigned", 1), task.error
        assert task.steps.get(kind="attempt_failed").note.startswith("one: ")
        assert flow.status(run.workflow_id)["status"] == "running"
    finally:
        flow.behind.script = flowing.script
        inside.shut_down()  # another worker, with breakers of its own
    Task.objects.filter(pk=task.pk).update(run_after=timezone.now())
    work_off()
    assert flow.status(run.workflow_id)["status"] == "completed"


def test_a_task_whose_attempts_were_in_vain_is_dead_and_a_hopeless_one_has_failed(flow: Flow, settings: Any) -> None:
    spent = '{"error": {"message": "spent", "type": "insufficient_quota", "code": "insufficient_quota"}}'
    hopeless = partial(web.HTTPTooManyRequests, text=spent, content_type="application/json")
    for answer, most, ended in ((web.HTTPInternalServerError, 1, "dead"), (hopeless, 5, "failed")):
        settings.TASK_MAX_ATTEMPTS = most
        word = f"in the end {ended}"
        run, task = queued(flow, word)
        try:
            failing(flow, word, answer)
            work_off()
        finally:
            flow.behind.script = flowing.script
            inside.shut_down()
        task.refresh_from_db()
        assert (task.status, task.attempts, flow.status(run.workflow_id)["status"]) == (ended, 1, "failed")
        assert task.error.startswith("one: ")


@pytest.mark.parametrize(
    ("code", "status", "may"),
    [("", 500, True), ("slow_down", 429, True), ("bad_provider_answer", 502, True), ("", 408, True), ("", 400, False),
     ("insufficient_quota", 429, False), ("provider_refused_key", 502, False), ("provider_not_configured", 503, False),
     ("stream_interrupted", 200, True), ("content_filter", 200, False), ("malformed_output", 0, False),
     ("api_error", 0, True), ("rate_limit_error", 0, True), ("", 404, False)],
)  # fmt: skip
def test_one_place_says_what_another_attempt_may_help(code: str, status: int, may: bool) -> None:
    assert retrying.may_help(code, status=status) is may
