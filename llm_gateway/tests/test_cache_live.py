"""The cache as clients meet it: the official SDKs, a real web process or two, a provider that counts."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from anthropic import Anthropic
from openai import OpenAI
from redis import Redis as Client

from llm_gateway import caching
from llm_gateway.models import Call, Spending
from llm_gateway.tests.provider import CITIES, TEXT
from llm_gateway.tests.stage import ORGANIZATION, Stage, staged, user
from llm_gateway.tests.test_gateway_sdks import CLAUDE_TOOL, TOOL
from moolai.testing.world import World
from orchestrators.tests.live import DEV_TOKEN, Live, eventually
from orgs import spending

pytestmark = [pytest.mark.once("postgres"), pytest.mark.services]
ON: dict[str, str] = {"x-moolai-cache": "on"}
GPT, CLAUDE = "openai/gpt-4o-mini", "anthropic/claude-3-5-haiku-latest"


@pytest.fixture(scope="module")
def stage(world: World, django_db_blocker: Any) -> Iterator[Stage]:
    with staged(world, django_db_blocker, {"LLM_RETRIES": "0"}) as found:
        yield found


def ask(stage: Stage, text: str, *, key: str = "", model: str = GPT, **more: Any) -> tuple[str, Any]:
    """Ask with the header (or `headers`); return what x-moolai-cached says, and the body."""
    headers = more.pop("headers", ON)
    body = {"model": model, "messages": [user(text)], **more}
    status, answer, told = stage.call("/v1/chat/completions", body, key=key, headers=headers)
    assert status == 200, answer
    return told["x-moolai-cached"], answer


def row(model: str, *, is_cached: bool) -> Call:
    """Return the row of a model's call, as soon as the ledger has it."""
    rows = Call.objects.filter(requested_model=model, is_cached=is_cached, status="completed")
    found: Call = eventually(rows.first)
    return found


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_the_openai_sdk_gets_one_answer_whole_and_streamed(stage: Stage, model: str) -> None:
    asked: Any = {"model": model, "messages": [user(f"twice {model}")], "extra_headers": ON}
    with OpenAI(base_url=f"{stage.url}/v1", api_key=stage.key, max_retries=0) as client:
        first = client.chat.completions.with_raw_response.create(**asked)
        again = client.chat.completions.with_raw_response.create(**asked, user="another")
        options: Any = {"include_usage": True}
        chunks = list(client.chat.completions.create(**asked, stream=True, stream_options=options))
        silent = list(client.chat.completions.create(**asked, stream=True))
    assert [found.headers["x-moolai-cached"] for found in (first, again)] == ["false", "true"]
    assert again.parse() == first.parse()
    assert again.headers["x-moolai-cost-usd"] == "0.000000"
    assert again.headers["x-moolai-provider"] == model.partition("/")[0]
    for found in (chunks, silent):
        assert "".join(choice.delta.content or "" for chunk in found for choice in chunk.choices) == TEXT
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 18
    assert not any(chunk.usage for chunk in silent)
    assert len(stage.provider.of(f"twice {model}")) == 1


def test_the_ledger_has_hits_that_cost_nothing_and_says_what_they_saved(stage: Stage) -> None:
    model = "openai/gpt-4.1-nano"
    assert [ask(stage, "for the ledger", model=model)[0] for _ in range(2)] == ["false", "true"]
    paid, hit = row(model, is_cached=False), row(model, is_cached=True)
    assert (hit.cost_usd_micros, hit.input_tokens, hit.attempts, hit.error) == (0, 0, 0, "")
    assert (hit.provider, hit.model, hit.reserved_usd_micros) == (paid.provider, paid.model, 0)
    assert hit.saved_usd_micros == paid.cost_usd_micros > 0
    assert (paid.is_cached, paid.saved_usd_micros) == (False, 0)
    hours = Spending.objects.filter(organization_id=ORGANIZATION, model="gpt-4.1-nano")
    assert sum(hour.saved_usd_micros for hour in hours) >= hit.saved_usd_micros
    status, told = stage.live.call("GET", f"/api/v1/orchestrators/{ORGANIZATION}/cache")
    assert (status, told["data"]["hits"] >= 1, told["data"]["saved_usd"] > 0) == (200, True, True)


def test_a_stream_serves_streams_and_wholes_with_their_tools(stage: Stage) -> None:
    asked: Any = {"model": GPT, "messages": [user("tools, streamed")], "tools": [TOOL], "extra_headers": ON}
    with OpenAI(base_url=f"{stage.url}/v1", api_key=stage.key, max_retries=0) as client:
        list(client.chat.completions.create(**asked, stream=True))
        kept = client.chat.completions.with_raw_response.create(**asked)
        again = list(client.chat.completions.create(**asked, stream=True))
    assert kept.headers["x-moolai-cached"] == "true"
    message = kept.parse().choices[0].message
    assert [json.loads(call.function.arguments)["city"] for call in message.tool_calls or ()] == CITIES
    assert kept.parse().usage is not None
    calls = [call for chunk in again for choice in chunk.choices for call in choice.delta.tool_calls or ()]
    assert [json.loads((call.function and call.function.arguments) or "")["city"] for call in calls] == CITIES
    assert len(stage.provider.of("tools, streamed")) == 1


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_the_anthropic_sdk_gets_one_message_whole_and_streamed(stage: Stage, model: str) -> None:
    asked: Any = {
        "model": model, "max_tokens": 50, "messages": [user(f"claude {model}")], "tools": [CLAUDE_TOOL],
        "extra_headers": ON,
    }  # fmt: skip
    with Anthropic(base_url=stage.url, api_key=stage.key, max_retries=0) as claude:
        with claude.messages.stream(**asked) as stream:
            told = stream.get_final_message()
        kept = claude.messages.with_raw_response.create(**asked)
        with claude.messages.stream(**asked) as stream:
            again = stream.get_final_message()
    assert kept.headers["x-moolai-cached"] == "true"
    for found in (told, kept.parse(), again):
        assert cities(found) == CITIES
        assert (found.stop_reason, found.usage.output_tokens) == ("tool_use", 7)
    assert len(stage.provider.of(f"claude {model}")) == 1


def cities(message: Any) -> list[str]:
    """Return what the tools of a message are called with."""
    return [block.input["city"] for block in message.content if block.type == "tool_use"]


def test_responses_embeddings_and_our_own_path_are_kept_too(stage: Stage) -> None:
    with OpenAI(base_url=f"{stage.url}/v1", api_key=stage.key, max_retries=0, default_headers=ON) as client:
        one = client.responses.create(model=CLAUDE, input="a response")
        two = list(client.responses.create(model=CLAUDE, input="a response", stream=True))
        assert two[-1].type == "response.completed"
        assert two[-1].response.output_text == one.output_text == TEXT
        vectors = [client.embeddings.create(model="openai/text-embedding-3-small", input="e") for _ in range(2)]
    assert vectors[0] == vectors[1]
    assert (
        len(stage.provider.of("a response")) == len([s for s in stage.provider.seen if s.path.endswith("dings")]) == 1
    )
    body = {"model": GPT, "messages": [user("own path")]}
    found = [stage.call("/api/v1/llm/chat", body, headers=ON)[1]["data"] for _ in range(2)]
    assert [one["cached"] for one in found] == [False, True]
    assert (found[0]["cost"] > 0, found[1]["cost"], found[1]["choices"]) == (True, 0, found[0]["choices"])


def test_two_organizations_never_share(stage: Stage) -> None:
    theirs = stage.live.key("globex", role="operator")
    assert [ask(stage, "secret plan")[0] for _ in range(2)] == ["false", "true"]
    assert [ask(stage, "secret plan", key=theirs)[0] for _ in range(2)] == ["false", "true"]
    assert len(stage.provider.of("secret plan")) == 2


def test_neither_errors_nor_streams_that_broke_are_kept(stage: Stage) -> None:
    body = {"model": GPT, "messages": [user("[500 once] kept?")]}
    assert stage.call("/v1/chat/completions", body, headers=ON)[0] == 500
    assert ask(stage, "[500 once] kept?")[0] == "false"
    broken = {"model": GPT, "messages": [user("[early once] kept?")], "stream": True}
    assert "[DONE]" not in stage.call("/v1/chat/completions", broken, headers=ON)[1]
    assert ask(stage, "[early once] kept?", stream=True)[0] == "false"


def test_an_answer_that_is_nested_too_deep_is_given_and_not_kept(stage: Stage) -> None:
    for is_stream in (True, True, False, False, True):
        is_cached, told = ask(stage, "[deep] kept?", stream=is_stream)
        assert (is_cached, '"content": "deep"' in json.dumps(told) or '"content": "deep"' in told) == ("false", True)
        assert not is_stream or told.endswith("data: [DONE]\n\n")
    body = {"model": GPT, "messages": [user("[deep] in our envelope")]}
    status, told, _ = stage.call("/api/v1/llm/chat", body)
    assert (status, told["success"]) == (502, False)


def test_a_call_says_for_how_long_and_whether(stage: Stage) -> None:
    hour = {**ON, "x-moolai-cache-ttl": "3600"}
    assert [ask(stage, "times", headers=hour)[0] for _ in range(2)] == ["false", "true"]
    for headers in ({}, {"x-moolai-cache": "off"}):
        assert ask(stage, "times", headers=headers)[0] == "false"
    short = {**ON, "x-moolai-cache-ttl": "1"}
    assert eventually(lambda: ask(stage, "times", headers=short)[0] == "false")
    for wrong in ({"x-moolai-cache": "maybe"}, {**ON, "x-moolai-cache-ttl": "-1"}, {**ON, "x-moolai-cache-ttl": "1e9"}):
        status, body, _ = stage.call("/v1/chat/completions", {"model": GPT, "messages": [user("x")]}, headers=wrong)
        assert (status, body["error"]["code"]) == (400, "invalid_value")


def test_a_hit_counts_in_the_minute_and_spends_no_budget(stage: Stage) -> None:
    organization = stage.live.organization("initech")
    secret = stage.live.key("initech", role="operator")
    assert ask(stage, "thrift", key=secret)[0] == "false"
    spending.put(organization, acting_user=None, budget_usd="0.000001", budget_window="total", requests_per_minute=8)
    call = partial(stage.call, "/v1/chat/completions", key=secret)
    new = {"model": GPT, "messages": [user("new")]}
    assert eventually(lambda: call(new)[0] == 429, timeout=6)
    found = [call({"model": GPT, "messages": [user("thrift")]}, headers=ON) for _ in range(20)]
    assert (found[0][0], found[0][2]["x-moolai-cached"]) == (200, "true")
    refused = [body["error"]["code"] for status, body, _ in found if status == 429]
    assert set(refused) == {"rate_limit_exceeded"}


def test_an_organization_sets_lists_empties_and_switches_off(stage: Stage) -> None:
    secret, own = stage.live.key("hooli", role="operator"), "/api/v1/orchestrators/hooli/cache"

    def twice(text: str, **more: Any) -> list[str]:
        return [ask(stage, text, key=secret, headers={}, **more)[0] for _ in range(2)]

    assert twice("unasked") == ["false", "false"]
    status, told = stage.live.call("PUT", own, {"models": [GPT]})
    assert (status, told["data"]["models"]) == (200, [GPT])
    assert eventually(lambda: ask(stage, "unasked", key=secret, headers={})[0] == "true")
    assert twice("by its bare name", model="gpt-4o-mini") == ["false", "true"]
    assert twice("not listed", model=CLAUDE) == ["false", "false"]
    caching.empty(stage.live.organization("hooli"), acting_user=None)
    assert eventually(lambda: ask(stage, "by its bare name", key=secret, headers={}, model="gpt-4o-mini")[0] == "false")
    assert stage.live.call("PUT", own, {"is_enabled": False, "models": ["*"]})[0] == 200
    assert eventually(lambda: [ask(stage, "unasked", key=secret, headers=one)[0] for one in (ON, {})] == ["false"] * 2)
    assert ask(stage, "unasked", key=secret)[0] == "false"


def shared_entries(client: Client, prefix: str) -> int:
    """Return how many entries there are in Redis."""
    return int(client.zcard(f"{prefix}.cache-index"))


def is_at(count: Callable[[], int], number: int) -> bool:
    """Whether a count came to a number."""
    return count() == number


def test_two_web_processes_share_and_forget_together(stage: Stage) -> None:
    neighbour = stage.live.installation.serve()
    other = Stage(Live(stage.live.installation, neighbour), stage.provider, stage.key)
    env = stage.live.installation.env
    with Client.from_url(env["REDIS_URL"]) as client:
        count = partial(shared_entries, client, env["MOOLAI_CHANNEL_PREFIX"])
        for one, two, text in ((stage, other, "for both"), (other, stage, "the other way")):
            before = count()
            assert ask(one, text, stream=one is other)[0] == "false"
            assert eventually(partial(is_at, count, before + 1))
            assert ask(two, text, stream=one is stage)[0] == "true"
    assert len(stage.provider.of("for both")) == len(stage.provider.of("the other way")) == 1
    path = f"/api/v1/orchestrators/{ORGANIZATION}/cache/entries"
    assert stage.call(path, method="DELETE", key=DEV_TOKEN)[0] == 204
    both = [partial(ask, one, text) for one in (stage, other) for text in ("for both", "the other way")]
    assert eventually(lambda: "false" in {asked()[0] for asked in both})
    neighbour.terminate()
