"""A prompt's sentinel and the keys of providers, searched for wherever something of a call could stay.

A private organization's is found nowhere; that of one which has its content kept is found by the same search where it
belongs, sealed, and nowhere else.
"""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.utils import timezone

from llm_gateway import aliases, policies, providers
from llm_gateway.models import Attempt, Call, CallContent, Prompt, PromptContent
from llm_gateway.tests import collector as collectors
from llm_gateway.tests.collector import Collector, attributes
from llm_gateway.tests.provider import TEXT
from llm_gateway.tests.stage import ANTHROPIC_KEY, OPENAI_KEY, Stage, staged, user
from monitoring.analytics import catalog
from moolai.testing.redis import Redis
from moolai.testing.world import World
from orchestrators import jobs
from orchestrators.tests.live import DEV_TOKEN, eventually
from orchestrators.work import agents
from orgs import networks
from orgs.models import User
from tests import searching
from tests.searching import Reader

pytestmark = [pytest.mark.once, pytest.mark.services]
PRIVATE, KEEPING = "acme", "umbrella"
SENTINELS = {PRIVATE: "sEnTiNeL-private-7f3a91", KEEPING: "sEnTiNeL-kept-c04d52"}
OWN_KEY = "sk-canary-own-89abcdef01234567"
PASSWORD = "correct-horse-battery-staple"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
REDIS = "Redis and what waits for workers there"
MODELS = ("ours/gpt-4o-mini", "anthropic/claude-3-5-haiku-latest", "echo/echo")
MODES = ("", "[500 once]", "[429 once]", "[400]", "[401]", "[404]", "[garbage]", "[parrot]")
DETAILS = 15  # calls of each organization that are read one by one
BREAKS = ("[early]", "[noise]", "[500]")


@dataclass
class Scene:
    """The server, what stands around it, and a key for each organization."""

    stage: Stage
    collector: Collector
    redis: Redis
    keys: dict[str, str]


@pytest.fixture(scope="module")
def scene(world: World, django_db_blocker: Any, _redis: Redis) -> Iterator[Scene]:
    with ExitStack() as stack:
        collector = stack.enter_context(collectors.running())
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200", "LLM_RETRIES": "1",
            "ENCRYPTION_KEY": settings.ENCRYPTION_KEY, "LLM_IDLE_SEC": "2",
            "REDIS_URL": f"redis://127.0.0.1:{_redis.port}/0",
        }  # fmt: skip
        stage = stack.enter_context(staged(world, django_db_blocker, env))
        keys = {name: stage.live.key(name, role="operator") for name in SENTINELS}
        for name in SENTINELS:
            _set_up(stage, name)
        root = User.objects.create_superuser("root")
        User.objects.filter(pk=root.pk).update(password=make_password(PASSWORD, hasher="argon2"))
        time.sleep(2.5)  # what the catalog may lag behind
        yield Scene(stage, collector, _redis, keys)


def _set_up(stage: Stage, name: str) -> None:
    organization = stage.live.organization(name)
    policies.put(organization, acting_user=None, keeps_content=True, is_private=name == PRIVATE)
    networks.allow(organization, "127.0.0.0/8", acting_user=None)
    url, key = f"{stage.provider.url}/v1", f"{OWN_KEY}-{name}"
    providers.create(organization, name="ours", dialect="openai", base_url=url, api_key=key, acting_user=None)
    targets = [{"model": "openai/gpt-4o-mini"}, {"model": "anthropic/claude-3-5-haiku-latest"}]
    agents.create(organization, name="Speaker", agent_id="speaker", model=MODELS[1], acting_user=None)
    aliases.create(organization, alias="smart", targets=targets, acting_user=None)


# --- what is called --------------------------------------------------------------------------------------------------


def bodies(text: str, model: str) -> dict[str, dict[str, Any]]:
    """Return a request for each surface that says `text`, also in the fields beside the prompt."""
    talk = {"model": model, "messages": [{"role": "system", "content": text}, user(text)], "max_tokens": 50}
    return {
        "/v1/chat/completions": {**talk, "user": text, "metadata": {"note": text}},
        "/api/v1/llm/chat": talk,
        "/v1/completions": {"model": model, "prompt": text, "max_tokens": 50},
        "/v1/responses": {"model": model, "input": text, "instructions": text},
        "/v1/messages": {**talk, "messages": [user(text)], "system": text},
        "/v1/embeddings": {"model": model, "input": [text]},
    }


def call_everything(scene: Scene, name: str) -> int:
    """Call every surface well and badly, whole and as streams; return how many calls were answered with 200."""
    word, good = SENTINELS[name], 0
    for model in MODELS:
        for path, body in bodies(word, model).items():
            good += ask(scene, name, path, body) == 200
            if path not in ("/api/v1/llm/chat", "/v1/embeddings"):
                good += ask(scene, name, path, {**body, "stream": True}) == 200
    for mode in MODES:
        for path in ("/v1/chat/completions", "/v1/messages"):
            ask(scene, name, path, bodies(f"{mode} {word} {path}", "ours/gpt-4o-mini")[path])
    for mode in BREAKS:
        body = bodies(f"{mode} {word}", "ours/gpt-4o-mini")["/v1/chat/completions"]
        ask(scene, name, "/v1/chat/completions", {**body, "stream": True})
    for wrong in (
        {"model": word, "messages": [user(word)]}, {"model": MODELS[0], "messages": word}, {word: word},
        {"model": MODELS[0], "messages": [user(word)], "api_base": f"http://{word}.example"}, [word],
        f'{{"model": "{word}'.encode(),
    ):  # fmt: skip
        assert ask(scene, name, "/v1/chat/completions", wrong) in (400, 404)
    ask(scene, name, "/v1/chat/completions", {"model": "echo/echo", "messages": [user(word)], "temperature": word})
    cached = bodies(f"cached {word}", "echo/echo")["/v1/chat/completions"]
    for more in ({}, {"stream": True}):
        assert ask(scene, name, "/v1/chat/completions", cached | more, **{"x-moolai-cache": "on"}) == 200
    leave(scene, name, word)
    ask_prompts(scene, name)
    return good


def ask_prompts(scene: Scene, name: str) -> None:
    """Send prompts well and badly, whole and as streams, to a model and to an agent."""
    word, base = SENTINELS[name], f"/api/v1/orchestrators/{name}/prompts"
    for number, wish in enumerate((
        {"model": MODELS[0]}, {"agent_id": "speaker"}, {"model": word}, {"model": MODELS[0], "temperature": word},
        {"prompt": f"[parrot] {word}", "model": MODELS[0]}, {"prompt": f"[garbage] {word}", "model": MODELS[0]},
    )):  # fmt: skip
        body = {"prompt": word, "context": [word], **wish}
        ask(scene, name, base, body, **{"Idempotency-Key": f"sentinel-{number}"})
        told = scene.stage.call(base, {**body, "stream": True}, key=scene.keys[name])[1]
        if told["success"]:
            assert (
                "event: start"
                in scene.stage.call(f"{base}/{told['data']['prompt_id']}/stream", key=scene.keys[name])[1]
            )
    told = scene.stage.call(base, {"prompt": word, "model": MODELS[0], "stream": True}, key=scene.keys[name])[1]
    assert told["data"]["status"] == "pending"  # until its stream is read
    if name == PRIVATE:  # a task is stored
        task = {"task_type": "prompt", "parameters": {"prompt": word, "model": MODELS[0]}}
        assert ask(scene, name, base.replace("/prompts", "/tasks"), task, **{"Idempotency-Key": "sentinel-task"}) == 409


def ask(scene: Scene, name: str, path: str, body: Any, **headers: str) -> int:
    """Call the gateway as an organization; its own answers are its own."""
    return scene.stage.call(path, body, key=scene.keys[name], headers=PARENT | headers)[0]


def leave(scene: Scene, name: str, word: str) -> None:
    """Leave in the middle of a stream."""
    body = {"model": "openai/gpt-4o-mini", "messages": [user(f"[drip] {word}")], "stream": True}
    host = scene.stage.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=10)
    headers = {"Authorization": f"Bearer {scene.keys[name]}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    connection.getresponse().read(10)
    connection.close()


# --- where it is searched ---------------------------------------------------------------------------------------------


def places(scene: Scene) -> dict[str, str]:
    """Return all text of every place, each read to its end."""
    stage, base = scene.stage, "/api/v1/orchestrators"
    reader = Reader(stage, token=DEV_TOKEN, password=PASSWORD)
    calls = [row for name in SENTINELS for row in Call.objects.filter(organization_id=name)[:DETAILS]]
    paths = [
        f"{base}/{name}/{door}"
        for name in SENTINELS
        for door in ("llm/calls?page_size=1000", "llm-policy", "providers", "prompts?page_size=1000")
    ]
    paths += [f"{base}/{row.organization_id}/llm/calls/{row.pk}" for row in calls]
    prompts = [row for name in SENTINELS for row in Prompt.objects.filter(organization_id=name)[:DETAILS]]
    paths += [
        f"{base}/{row.organization_id}/prompts/{row.prompt_id}{door}" for row in prompts for door in ("", "/stream")
    ]
    paths += ["/api/v1/internal/audit?page_size=1000", "/api/v1/controller/overview", "/api/v1/controller/costs"]
    found = {
        "tables, every column": searching.tables(),
        "sealed columns, opened": searching.sealed_columns(),
        "files in DATA_DIR": searching.files(stage),
        "journals": "\n".join(
            path.read_bytes().decode("latin-1")
            for path in Path(stage.live.installation.data_dir, "journal").rglob("*.journal")
        ),
        "answers of the API": reader.api(*paths),
        "pages of the console": reader.console(),
        "exports": exported(stage),
        "/metrics": reader.api("/metrics"),
        "spans": searching.traces(scene.collector),
    }
    found[REDIS] = searching.stored_in(scene.redis, password="")
    return found | {"logs": stage.live.server.output()}


def exported(stage: Stage) -> str:
    """Return a file of everything that can be exported."""
    span = {"start": f"{timezone.now() - timedelta(days=1):%Y-%m-%d}", "end": f"{timezone.now():%Y-%m-%d}"}
    wish = {"export_type": "json", "metrics": sorted(catalog.metrics())[:40], "time_range": span}
    status, told, _ = stage.call("/api/v1/controller/export", wish, key=DEV_TOKEN)
    assert status == 202, told["fields"]
    claimed = jobs.claim(told["data"]["job_id"])
    assert claimed is not None
    jobs.run(claimed)
    path = f"/api/v1/controller/export/{claimed.job_id}/download"
    return json.dumps(stage.call(path, key=DEV_TOKEN)[1])


NEEDLES = {
    "tables, every column": "llm_call_contents", "sealed columns, opened": OWN_KEY, "files in DATA_DIR": "journal",
    "journals": "gpt-4o-mini", REDIS: "orchestrators.jobs",
    "answers of the API": "input_tokens", "pages of the console": "<html", "exports": "cpu_usage_percent",
    "/metrics": "moolai_llm_calls_total", "spans": "gen_ai.request.model", "logs": "/v1/chat/completions",
}  # fmt: skip


def holding(found: dict[str, str], word: str) -> dict[str, str]:
    """Return the places that hold a word, with what stands around it there."""
    return {
        place: text[max(0, text.index(word) - 150) : text.index(word) + 60]
        for place, text in found.items()
        if word in text
    }


def test_content_is_where_it_is_to_be_kept_and_a_private_one_is_nowhere(scene: Scene) -> None:
    good = {name: call_everything(scene, name) for name in SENTINELS}
    assert good[PRIVATE] == good[KEEPING] > 20
    assert eventually(lambda: not Call.objects.filter(status="running").exists(), 15)
    assert eventually(lambda: CallContent.objects.count() >= Call.objects.filter(organization_id=KEEPING).count(), 10)
    assert eventually(lambda: len(scene.collector.spans) >= Call.objects.count(), 15)
    found = places(scene)
    assert {place for place, needle in NEEDLES.items() if needle not in found[place]} == set()
    assert set(found) == set(NEEDLES)
    assert holding(found, SENTINELS[PRIVATE]) == {}
    kept_in = {"sealed columns, opened", "answers of the API", "pages of the console", REDIS}  # there by the cache
    assert set(holding(found, SENTINELS[KEEPING])) == kept_in
    for key in (OPENAI_KEY, ANTHROPIC_KEY):
        assert holding(found, key) == {}
    assert set(holding(found, OWN_KEY)) == {"sealed columns, opened"}
    assert not CallContent.objects.filter(organization_id=PRIVATE).exists()
    named = Attempt.objects.exclude(provider_request_id="")  # by providers, who could write anything there
    assert [named.filter(organization_id=name).exists() for name in (PRIVATE, KEEPING)] == [False, True]
    assert not PromptContent.objects.filter(organization_id=PRIVATE).exists()
    assert Prompt.objects.filter(organization_id=PRIVATE, status="completed").count() == 5  # one as it was read


def kept_of(scene: Scene, path: str, body: Any) -> dict[str, Any]:
    """Make a call whose content is kept, and return that as an administrator reads it."""
    known = set(CallContent.objects.values_list("pk", flat=True))
    assert ask(scene, KEEPING, path, body) == 200
    pk = eventually(lambda: next(iter(set(CallContent.objects.values_list("pk", flat=True)) - known), ""), 10)
    assert eventually(lambda: Call.objects.filter(pk=pk).exists(), 5)
    told: dict[str, Any] = scene.stage.call(f"/api/v1/orchestrators/{KEEPING}/llm/calls/{pk}", key=DEV_TOKEN)[1]
    return dict(told["data"]["content"])


def test_what_is_kept_is_what_was_asked_and_said(scene: Scene) -> None:
    for path, is_stream in (("/v1/chat/completions", False), ("/v1/chat/completions", True), ("/v1/messages", True)):
        body = {**bodies("remember me", "openai/gpt-4o-mini")[path], "stream": is_stream}
        told = kept_of(scene, path, body)
        assert json.loads(told["request"]) == body
        said = told["answer"] if is_stream else json.loads(told["answer"])["choices"][0]["message"]["content"]
        assert said == TEXT


def test_calls_are_spans_of_their_callers_traces(scene: Scene) -> None:
    scene.collector.spans.clear()
    text = {"messages": [user("spans")]}
    ask(scene, PRIVATE, "/v1/chat/completions", {"model": "openai/gpt-4o-mini", **text})
    ask(scene, PRIVATE, "/v1/chat/completions", {"model": "openai/gpt-4o-mini", "stream": True, **text})
    ask(scene, PRIVATE, "/v1/messages", {"model": "smart", "messages": [user("[500 openai]")], "max_tokens": 9})
    ask(scene, PRIVATE, "/v1/embeddings", {"model": "openai/text-embedding-3-small", "input": "x"})
    ask(scene, PRIVATE, "/v1/chat/completions", {"model": "openai/gpt-4o-mini", "messages": [user("[400]")]})
    spans = eventually(lambda: scene.collector.spans if len(scene.collector.spans) >= 5 else None, 10)
    whole, stream, moved, embedded, failed = sorted(spans, key=lambda span: span.start_time_unix_nano)
    assert {(span.trace_id.hex(), span.parent_span_id.hex(), span.kind) for span in spans} == {
        (TRACE, "b7ad6b7169203331", 3)
    }
    told = attributes(whole)
    assert whole.name == "chat openai/gpt-4o-mini"
    assert told.items() >= {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.system": "openai",
        "gen_ai.request.model": "openai/gpt-4o-mini", "gen_ai.response.model": "gpt-4o-mini",
        "gen_ai.usage.input_tokens": 11, "gen_ai.usage.output_tokens": 7, "server.address": "127.0.0.1",
        "server.port": scene.stage.provider.port, "http.response.status_code": 200, "moolai.organization_id": PRIVATE,
        "moolai.status": "completed",
    }.items()  # fmt: skip
    assert told["gen_ai.response.finish_reasons"] == attributes(stream)["gen_ai.response.finish_reasons"] == ["stop"]
    assert attributes(stream)["gen_ai.request.stream"] is True
    assert 0 < attributes(stream)["gen_ai.response.time_to_first_chunk"] < 5
    assert attributes(moved)["gen_ai.provider.name"] == "anthropic"
    assert attributes(moved)["gen_ai.response.finish_reasons"] == ["end_turn"]
    assert [attributes(event)["http.response.status_code"] for event in moved.events] == [500, 500, 200]
    assert attributes(embedded)["gen_ai.operation.name"] == "embeddings"
    assert (failed.status.code, attributes(failed)["error.type"]) == (2, "provider_error")
    assert attributes(failed)["http.response.status_code"] == 400
    assert scene.collector.resources[0]["service.name"] == "moolai"
    assert all(0 < span.end_time_unix_nano - span.start_time_unix_nano < 30e9 for span in spans)
