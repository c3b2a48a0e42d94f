"""Prompts as clients meet them: a real web process, a provider that keeps what it was sent, and the ledger behind."""

import http.client
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from llm_gateway import policies, prices, task_handlers
from llm_gateway.models import Call, Prompt, PromptContent
from llm_gateway.plane import inside
from llm_gateway.task_handlers import prompt
from llm_gateway.tests.provider import TEXT
from llm_gateway.tests.stage import OPENAI_KEY, ORGANIZATION, Stage, staged
from moolai.testing.world import World
from orchestrators import work
from orchestrators.models import Task
from orchestrators.tests.live import DEV_TOKEN, eventually
from orchestrators.work import agents
from orchestrators.work.handlers import Lost, Refused
from orgs import keys, spending
from orgs.models import Organization

pytestmark = pytest.mark.services
GPT = "openai/gpt-4o-mini"
BASE = f"/api/v1/orchestrators/{ORGANIZATION}/prompts"


@pytest.fixture(scope="module")
def stage(world: World, django_db_blocker: Any) -> Iterator[Stage]:
    with staged(world, django_db_blocker, {"LLM_RETRIES": "0", "LLM_IDLE_SEC": "2"}) as found:
        organization = found.live.organization()
        agents.create(
            organization, name="Reviewer", acting_user=None, agent_id="reviewer", model=GPT,
            system_prompt="You review {{7*7}}.", parameters={"temperature": 0.25, "max_tokens": 40, "tone": "dry"},
        )  # fmt: skip
        price = {"input_usd_per_million": 1000, "output_usd_per_million": 2000}
        prices.create(organization, acting_user=None, model="gpt-4o-mini", **price)
        yield found


def ask(stage: Stage, prompt: str, **more: Any) -> tuple[int, Any, dict[str, str]]:
    return stage.call(BASE, {"prompt": prompt, **more})


def events(stage: Stage, prompt_id: str, *, key: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Read a prompt's stream to its end."""
    status, text, headers = stage.call(f"{BASE}/{prompt_id}/stream", key=key)
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    found = [dict(line.split(": ", 1) for line in event.split("\n")) for event in text.strip().split("\n\n")]
    return [(event["event"], json.loads(event["data"])) for event in found]


def in_ledger(prompt_id: str) -> tuple[Prompt, Call]:
    """Return a prompt that is over and its call, once the journal was read."""
    row = eventually(lambda: Prompt.objects.exclude(status="running").filter(prompt_id=prompt_id).first())
    call = eventually(lambda: Call.objects.exclude(status="running").filter(pk=row.call_id).first())
    assert call is not None
    return row, call


def test_an_agents_prompt_is_a_call_of_the_ledger_and_costs_what_stands_there(stage: Stage) -> None:
    status, told, headers = ask(
        stage, "Look at {x.__class__}", agent_id="reviewer", context={"file": "a.py"}, max_tokens=9,
        temperature=0.5,
    )  # fmt: skip
    assert status == 201, told
    data = told["data"]
    assert data.items() >= {
        "response": TEXT, "status": "completed", "model": "gpt-4o-mini", "provider": "openai", "tokens_used": 18,
        "agent_id": "reviewer", "requested_model": GPT, "error": "", "content_missing": None,
    }.items()  # fmt: skip
    row, call = in_ledger(data["prompt_id"])
    assert call.cost_usd_micros == row.cost_usd_micros == round(data["cost"] * 1_000_000) == 11 * 1000 + 7 * 2000
    assert (call.input_tokens, call.output_tokens, call.latency_ms) == (11, 7, data["latency_ms"])
    assert (call.surface, call.user, call.key_id != "") == ("chat/completions", "", True)
    assert headers["x-moolai-cost-usd"] == "0.025000"
    sent = stage.provider.last().body
    assert sent["messages"] == [
        {"role": "system", "content": "You review {{7*7}}."},
        {"role": "user", "content": 'Context:\n{"file": "a.py"}'},
        {"role": "user", "content": "Look at {x.__class__}"},
    ]
    assert {name: sent.get(name) for name in ("temperature", "max_tokens", "tone")} == {
        "temperature": 0.5, "max_tokens": 9, "tone": None,
    }  # fmt: skip
    detail = stage.call(f"{BASE}/{data['prompt_id']}")[1]["data"]
    assert (detail["prompt"], detail["context"]) == ("Look at {x.__class__}", {"file": "a.py"})
    assert {name: detail[name] for name in data if name != "finished_at"} == {
        name: value for name, value in data.items() if name != "finished_at"
    }
    page = stage.call(f"{BASE}?agent_id=reviewer&status=completed&model=gpt-4o-mini")[1]["data"]
    assert [(item["prompt_id"], item["cost"]) for item in page["items"]] == [(data["prompt_id"], data["cost"])]
    assert "response" not in page["items"][0]
    assert events(stage, data["prompt_id"])[1:] == [
        ("token", {"text": TEXT}), ("done", events(stage, data["prompt_id"])[-1][1])
    ]  # fmt: skip


def test_a_stream_runs_its_prompt_once_and_tells_it_again(stage: Stage) -> None:
    status, told, _ = ask(stage, "stream this", model=GPT, stream=True)
    assert (status, told["data"]["status"], told["data"]["response"]) == (201, "pending", None)
    assert (told["data"]["requested_model"], told["data"]["model"]) == (GPT, GPT)
    assert ask(stage, "stream that", model="my secret words", stream=True)[1]["data"]["requested_model"] == ""
    prompt_id = told["data"]["prompt_id"]
    viewer = stage.live.key(ORGANIZATION, role="viewer")
    assert stage.call(f"{BASE}/{prompt_id}/stream", key=viewer)[0] == 403
    found = events(stage, prompt_id)
    assert [name for name, _ in found] == ["start", *["token"] * (len(found) - 2), "done"]
    assert "".join(data["text"] for name, data in found if name == "token") == TEXT
    assert len(found) > 4
    row, call = in_ledger(prompt_id)
    done = found[-1][1]
    assert done.items() >= {"tokens_used": 18, "cost": 0.025, "model": "gpt-4o-mini", "status": "completed"}.items()
    assert (call.cost_usd_micros, call.latency_ms, call.is_stream) == (25_000, done["latency_ms"], True)
    again = events(stage, prompt_id, key=viewer)
    assert [name for name, _ in again] == ["start", "token", "done"]
    assert (again[1][1]["text"], again[2][1]["cost"]) == (TEXT, 0.025)
    assert Call.objects.filter(pk=row.call_id).count() == len(stage.provider.of("stream this")) == 1
    prompt_id = ask(stage, "[slow] for two", model=GPT, stream=True)[1]["data"]["prompt_id"]
    with ThreadPoolExecutor(2) as threads:
        heard = list(threads.map(lambda _: events(stage, prompt_id), range(2)))
    assert sorted(len(found) > 3 for found in heard) == [False, True]  # one is told piece by piece
    assert {found[-1][0] for found in heard} == {"done"}
    assert {"".join(data.get("text", "") for _, data in found) for found in heard} == {TEXT}
    assert len(stage.provider.of("for two")) == 1


def test_what_goes_wrong_is_told_in_the_one_error_shape_and_as_an_event(stage: Stage) -> None:
    wrong = (
        (404, "model_not_found", {"model": "nobody-knows-it"}),
        (503, "provider_not_configured", {"model": "ollama/llama3"}),
        (404, "not_found", {"agent_id": "nobody"}),
        (400, "unknown_field", {"api_base": "http://127.0.0.1"}),
        (502, "provider_error", {"model": GPT, "prompt": "[500]"}),
        (400, "invalid_field", {"prompt": ""}),
    )
    for status, code, body in wrong:
        found, told, headers = stage.call(BASE, {"prompt": "x", **body})
        assert (found, told["error"], told["success"]) == (status, code, False), told
        assert told["request_id"] == headers["x-request-id"]
        assert ("retry-after" in headers) == (status == 503)
    failed = Prompt.objects.filter(status="failed").order_by("-id")
    assert [row.error for row in failed[:3]] == ["some_code", "provider_not_configured", "model_not_found"]
    for mode in ("[500]", "[early]"):
        told = ask(stage, mode, model=GPT, stream=True)[1]["data"]
        last = events(stage, told["prompt_id"])[-1]
        assert last[0] == "error"
        assert last[1]["error"] in ("provider_error", "bad_provider_answer")
        row, call = in_ledger(told["prompt_id"])
        assert (row.status, call.status, row.cost_usd_micros) == ("failed", "failed", call.cost_usd_micros)


def test_a_failed_prompt_says_who_was_asked(stage: Stage) -> None:
    for mode in ("[500]", "[400]"):
        told = ask(stage, f"{mode} who was asked", model=GPT, stream=True)[1]["data"]
        last = events(stage, told["prompt_id"])[-1]
        assert (last[0], last[1]["provider"], last[1]["model"]) == ("error", "openai", "gpt-4o-mini")
        row, call = in_ledger(told["prompt_id"])
        assert (row.provider, row.model) == (call.provider, call.model) == ("openai", "gpt-4o-mini")
        shown = stage.call(f"{BASE}/{told['prompt_id']}")[1]["data"]
        assert (shown["status"], shown["provider"], shown["model"]) == ("failed", "openai", "gpt-4o-mini")
    unknown = ask(stage, "hi", model="nobody/knows", stream=True)[1]["data"]
    last = events(stage, unknown["prompt_id"])[-1]
    assert (last[0], last[1]["provider"], last[1]["model"]) == ("error", "", "")  # nobody was asked


def has_more(stage: Stage, before: int) -> bool:
    return len(stage.provider.of("leave")) > before


def test_a_client_that_leaves_is_settled(stage: Stage) -> None:
    for is_stream in (False, True):
        told = ask(stage, "[drip] leave", model=GPT, stream=True)[1]["data"] if is_stream else {}
        connection = http.client.HTTPConnection(stage.url.removeprefix("http://"), timeout=10)
        headers = {"Authorization": f"Bearer {stage.key}", "Content-Type": "application/json"}
        before = len(stage.provider.of("leave"))
        if is_stream:
            connection.request("GET", f"{BASE}/{told['prompt_id']}/stream", headers=headers)
            answer = connection.getresponse()
            while b"event: token" not in answer.readline():
                pass
        else:
            connection.request("POST", BASE, json.dumps({"prompt": "[never] leave", "model": GPT}), headers)
            assert eventually(partial(has_more, stage, before))
        if connection.sock is not None:
            connection.sock.close()
        connection.close()
        if is_stream:
            answer.close()
        wanted: dict[str, Any] = {"prompt_id": told["prompt_id"]} if is_stream else {"is_stream": False}
        row = eventually(Prompt.objects.filter(status="cancelled", **wanted).first)
        assert row is not None
        call = in_ledger(row.prompt_id)[1]
        assert (call.status, call.cost_usd_micros) == ("cancelled", row.cost_usd_micros)
        assert row.cost_usd_micros > 0


def test_a_prompt_that_is_sent_again_is_run_once(stage: Stage) -> None:
    body, headers = {"prompt": "only once", "model": GPT}, {"Idempotency-Key": "prompt-1"}
    first = stage.call(BASE, body, headers=headers)
    second = stage.call(BASE, body, headers=headers)
    assert (first[0], second[0], second[2]["idempotency-replayed"]) == (201, 201, "true")
    for name in ("prompt_id", "response", "cost", "status", "tokens_used"):
        assert first[1]["data"][name] == second[1]["data"][name]
    assert len(stage.provider.of("only once")) == 1


def test_limits_hold_as_for_any_call(stage: Stage) -> None:
    broke = stage.live.organization("broke")
    spending.put(broke, acting_user=None, budget_usd=0.0001)
    key = stage.live.key("broke", role="operator")
    status, told, headers = stage.call(
        "/api/v1/orchestrators/broke/prompts", {"prompt": "x " * 5000, "model": GPT}, key=key
    )
    assert (status, told["error"], headers["x-should-retry"]) == (429, "insufficient_quota", "false")
    assert stage.call("/api/v1/orchestrators/broke/prompts", {"prompt": "hi"}, key=key)[1]["data"]["response"] == "hi"


def test_a_private_organization_keeps_numbers_only(stage: Stage) -> None:
    home: Organization = stage.live.organization("private")
    key, base = stage.live.key("private", role="operator"), "/api/v1/orchestrators/private/prompts"
    asked = {"prompt": "secret words", "model": "echo/echo"}
    before = stage.call(base, asked, key=key)[1]["data"]["prompt_id"]
    assert PromptContent.objects.filter(organization=home).count() == 1
    policies.put(home, acting_user=None, is_private=True)
    assert not PromptContent.objects.filter(organization=home).exists()
    headers = {"Idempotency-Key": "private-1"}
    data = stage.call(base, asked, key=key, headers=headers)[1]["data"]
    assert (data["response"], data["content_missing"], data["tokens_used"]) == ("secret words", "private", 4)
    streamed = stage.call(base, {**asked, "stream": True}, key=key)[1]["data"]["prompt_id"]
    status, text, _ = stage.call(f"{base}/{streamed}/stream", key=key)
    assert (status, text.count("event: token"), "event: done" in text) == (200, 2, True)
    assert "event: token" not in stage.call(f"{base}/{streamed}/stream", key=key)[1]
    lost = stage.live.key("private", role="operator")
    for prompt_id in (before, data["prompt_id"], streamed):
        told = stage.call(f"{base}/{prompt_id}", key=lost)[1]["data"]
        assert (told["response"], told["prompt"], told["content_missing"]) == (None, None, "private")
        assert told["tokens_used"] == 4
    replayed = stage.call(base, asked, key=key, headers=headers)[1]["data"]
    assert (replayed["prompt_id"], replayed["response"]) == (data["prompt_id"], None)
    assert not PromptContent.objects.filter(organization=home).exists()
    other = stage.live.key("umbrella", role="admin")
    assert stage.call(f"{base}/{streamed}", key=other)[0] == 404
    assert stage.call(f"{base}/{streamed}", key=DEV_TOKEN)[0] == 200


def threads() -> int:
    """Return how many planes of this process keep a journal."""
    return sum(thread.name == "gateway-journal" for thread in threading.enumerate())


def test_a_task_is_run_by_a_worker_on_behalf_of_who_made_it(
    stage: Stage, settings: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    settings.JOURNAL_DIR = tmp_path
    settings.LLM_ENVIRONMENT = {"openai": ("openai", f"{stage.provider.url}/v1", OPENAI_KEY, False)}
    request.addfinalizer(inside.shut_down)
    organization, reports = stage.live.organization("workers"), list[int]()
    agents.create(organization, name="Echo", acting_user=None, agent_id="echo", model="echo/echo")
    row, _ = stage.live.key_row("workers", role="operator")

    def make(**payload: Any) -> Task:
        return work.create(
            organization, task_type="prompt", payload=payload, priority=5, acting_user=None, creator=f"key:{row.key_id}"
        )

    task = make(prompt="by a worker", agent_id="echo")
    told = prompt(task, reports.append)
    found, call = in_ledger(told["prompt_id"])
    assert (told["response"], told["tokens_used"], reports) == ("by a worker", 6, [0])
    assert (found.task_id, found.status, call.key_id) == (task.task_id, "completed", row.key_id)
    assert call.cost_usd_micros == found.cost_usd_micros == 0
    for payload, words in (
        ({"prompt": "x", "model": "nobody"}, "model_not_found"), ({"prompt": "x", "agent_id": "nobody"}, "such agent"),
        ({"prompt": "x", "model": "vllm/nothing"}, "configured"),
    ):  # fmt: skip
        with pytest.raises(Refused, match=words):
            prompt(make(**payload), reports.append)
    monkeypatch.setattr(task_handlers, "REPORT_SECONDS", 0.1)

    def lose(percent: int) -> None:
        if stage.provider.of("[never] by a worker"):  # it is asked, and says nothing
            raise Lost

    before = threads()
    with pytest.raises(Lost):
        prompt(lost := make(prompt="[never] by a worker", model=GPT), lose)
    found, call = in_ledger(Prompt.objects.get(task_id=lost.task_id).prompt_id)
    assert (found.status, call.status) == ("cancelled", "cancelled")
    assert [seen.was_cut for seen in stage.provider.of("[never] by a worker")] == [True]
    assert threads() == before > 0  # of one plane for all of them
    Task.objects.filter(pk=task.pk).update(result=told)
    policies.put(organization, acting_user=None, is_private=True)
    task.refresh_from_db()
    assert (task.payload, task.result) == ({}, None)
    with pytest.raises(Refused, match="private"):
        prompt(task, reports.append)
    body = {"task_type": "prompt", "parameters": {"prompt": "x", "agent_id": "echo"}}
    status, answer, _ = stage.call("/api/v1/orchestrators/workers/tasks", body, key=DEV_TOKEN)
    assert (status, answer["error"]) == (409, "conflict")
    policies.put(organization, acting_user=None)
    keys.revoke(row, acting_user=None)
    with pytest.raises(Refused, match="revoked"):
        prompt(make(prompt="x", agent_id="echo"), reports.append)
