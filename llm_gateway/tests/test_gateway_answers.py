"""Answers of providers that are none, or come slowly: what the client is told, and what it costs."""

from collections.abc import Iterator
from typing import Any

import pytest

from llm_gateway.models import Call
from llm_gateway.tests.provider import TEXT
from llm_gateway.tests.stage import Stage, staged, user
from moolai.testing.world import World
from orchestrators.tests.live import eventually

pytestmark = [pytest.mark.once, pytest.mark.services]
ENV = {"LLM_IDLE_SEC": "1", "LLM_FIRST_BYTE_SEC": "2", "LLM_TOTAL_SEC": "8", "LLM_UNKNOWN_PRICE": "estimate"}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def stage(world: World, django_db_blocker: Any) -> Iterator[Stage]:
    with staged(world, django_db_blocker, ENV) as found:
        yield found


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("mode", ["000", "099", "101", "202", "204", "205", "206", "226", "304", "600", "999"])
def test_a_status_that_is_no_answer_is_a_failure_of_the_provider(stage: Stage, mode: str, is_stream: bool) -> None:
    model = f"gpt-odd-{mode}-{is_stream}"
    for path, kind in ((CHAT, "server_error"), ("/v1/messages", "api_error")):
        body = {"model": f"openai/{model}", "messages": [user(f"[{mode}] odd")], "max_tokens": 9}
        status, told, _ = stage.call(path, body | {"stream": is_stream})
        assert (status, told["error"]["type"]) == (502, kind)
        assert stage.chat("still in step")[1]["choices"][0]["message"]["content"] == TEXT
    rows = Call.objects.filter(model=model, status="failed")
    assert eventually(lambda: rows.count() == 2)
    assert {(one.is_estimated, one.cost_usd_micros > 0) for one in rows} == {(mode not in ("204", "304"),) * 2}
    assert [stage.call(path, body)[0] for _ in range(4)][-1] == 503  # the breaker is open


def test_a_provider_that_says_created_has_answered(stage: Stage) -> None:
    status, body, _ = stage.chat("[created] new")
    assert status == 200, body
    assert (status, body["choices"][0]["message"]["content"]) == (200, TEXT)
    assert stage.chat("[created] new", stream=True)[0] == 200


def test_a_whole_answer_may_come_slowly_and_may_not_stop(stage: Stage) -> None:
    status, body, _ = stage.chat("[trickle] slow")  # longer than the first byte may take
    assert (status, body["choices"][0]["message"]["content"]) == (200, TEXT)
    status, body, _ = stage.chat("[stall] stopped")
    assert (status, body["error"]["code"]) == (504, "provider_timeout")
    assert eventually(lambda: stage.provider.of("stopped")[-1].was_cut)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google"])
@pytest.mark.parametrize("path", [CHAT, "/v1/responses", "/v1/messages", "/api/v1/llm/chat"])
def test_an_answer_that_is_nested_too_deep_cannot_be_read(stage: Stage, path: str, provider: str) -> None:
    told: Any = {"input": "[abyss]"} if "responses" in path else {"messages": [user("[abyss]")], "max_tokens": 9}
    told["model"] = f"{provider}/deep-{path.count('/')}-{path[-4:]}"  # with a breaker of its own
    status, body, _ = stage.call(path, told)
    assert (status, "nested too deep" in str(body)) == (502, True), body
    if "api" not in path:
        status, body, _ = stage.call(path, told | {"stream": True})
        assert (status, "The provider" in str(body)) == (502, True), body
