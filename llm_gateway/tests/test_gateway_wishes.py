"""What headers ask of a call, and what headers tell: who may answer, for how long, what is left, what it cost."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from anthropic import Anthropic
from django.utils import timezone
from langchain_openai import ChatOpenAI
from openai import OpenAI

from llm_gateway import aliases
from llm_gateway.models import Call
from llm_gateway.tests.provider import TEXT
from llm_gateway.tests.stage import AZURE_KEY, ORGANIZATION, Stage, staged, user
from moolai.testing.world import World
from orchestrators.tests.live import eventually
from orgs import networks

pytestmark = [pytest.mark.once, pytest.mark.services]
CHAT = "/v1/chat/completions"
GPT, CLAUDE, GEMINI = "openai/gpt-4o-mini", "anthropic/claude-3-5-haiku-latest", "google/gemini-2.0-flash"
EACH = pytest.mark.parametrize("model", [GPT, CLAUDE, GEMINI])
ENV = {"LLM_UNKNOWN_PRICE": "estimate", "LLM_RETRIES": "1"}


@pytest.fixture(scope="module")
def stage(world: World, django_db_blocker: Any) -> Iterator[Stage]:
    with staged(world, django_db_blocker, ENV) as found:
        targets = [{"model": GPT}, {"model": CLAUDE}]
        home = found.live.organization(ORGANIZATION)
        aliases.create(home, alias="smart", targets=targets, acting_user=None)
        networks.allow(home, "127.0.0.0/8", acting_user=None)
        address = f"{found.provider.url}/openai/deployments/mine/?api-version=2024-10-21"
        wish = {"name": "classic", "dialect": "openai", "base_url": address, "api_key": AZURE_KEY, "models": ["mine"]}
        made = found.live.call("POST", "/api/v1/orchestrators/acme/providers", wish | {"auth": "api-key"})
        assert (made[0], made[1]["data"]["auth"]) == (201, "api-key")
        assert found.chat("warm")[0] == 200
        yield found


def ask(stage: Stage, text: str, *, model: str = "smart", **wishes: str) -> tuple[int, Any, dict[str, str]]:
    """Ask for a chat completion with wishes: `no_fallback="true"` is the header `x-moolai-no-fallback`."""
    headers = {f"x-moolai-{name.replace('_', '-')}": value for name, value in wishes.items()}
    return stage.call(CHAT, {"model": model, "messages": [user(text)]}, headers=headers)


def provider_of(told: tuple[int, Any, dict[str, str]]) -> str:
    """Return who answered."""
    assert told[0] == 200, told
    return told[2]["x-moolai-provider"]


# --- what is asked ----------------------------------------------------------------------------------------------------


def test_one_provider_alone_is_asked(stage: Stage) -> None:
    assert provider_of(ask(stage, "only", provider="anthropic")) == "anthropic"
    assert provider_of(ask(stage, "bare", model="gpt-4o-mini", provider="openai")) == "openai"
    assert provider_of(ask(stage, "deployment", model="gpt-4o-mini", provider="azure")) == "azure"
    assert ask(stage, "[500 anthropic]", provider="anthropic")[0] == 500
    assert ask(stage, "contradiction", model=GPT, provider="anthropic")[0] == 404
    status, body, _ = ask(stage, "nobody", provider="https-evil.example")
    assert (status, body["error"]["param"]) == (400, "x-moolai-provider")


def test_fallbacks_are_those_that_were_asked_for(stage: Stage) -> None:
    assert provider_of(ask(stage, "[503 openai]", retries="0")) == "anthropic"
    assert ask(stage, "[503 openai]", retries="0", no_fallback="true")[0] == 503
    told = ask(stage, "[503 openai] a", fallbacks=f"{GEMINI}, {CLAUDE}", retries="0")
    assert (provider_of(told), len(stage.provider.of("[503 openai] a"))) == ("google", 2)
    assert provider_of(ask(stage, "[404 openai]", model=GPT, fallbacks="echo/echo")) == "echo"
    assert ask(stage, "[400 openai]", model=GPT, fallbacks="echo/echo")[0] == 400
    status, body, _ = ask(stage, "x", model=GPT, fallbacks="nobody-knows-this")
    assert (status, body["error"]["code"]) == (404, "model_not_found")
    status, body, headers = ask(stage, "x", model="ollama/llama3")
    assert (status, body["error"]["code"], headers["x-should-retry"]) == (503, "provider_not_configured", "false")


def test_a_call_may_have_less_time_and_fewer_tries(stage: Stage) -> None:
    began = time.monotonic()
    for number in range(6):  # more often than a breaker takes
        status, body, _ = ask(stage, f"[never] {number}", model=GPT, timeout="0.15", retries="0")
        assert (status, body["error"]["code"]) == (504, "provider_timeout")
    assert time.monotonic() - began < 5
    few = {"model": "openai/gpt-few", "messages": [user("[never] few")], "max_tokens": 3}
    assert stage.call(CHAT, few, headers={"x-moolai-timeout": "1.5", "x-moolai-retries": "0"})[0] == 504
    rows = Call.objects.filter(status="failed", error="provider_timeout").order_by("started_at")
    assert eventually(lambda: rows.count() == 7)
    *soon, most = rows.values_list("output_tokens", flat=True)
    assert (set(soon), most) == ({0}, 3)  # what nobody saw is billed all the same, from the second second on
    assert provider_of(ask(stage, "still there", model=GPT)) == "openai"  # a hurry opens no breaker
    assert ask(stage, "[500] twice", model="openai/gpt-twice")[0] == 500
    assert ask(stage, "[500] single", model="openai/gpt-twice", retries="0")[0] == 500
    assert [len(stage.provider.of(word)) for word in ("[500] twice", "[500] single")] == [2, 1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeout", "0"), ("timeout", "601"), ("timeout", "nan"), ("timeout", "1e2"), ("retries", "2"),
        ("retries", "-1"), ("retries", "²"), ("no-fallback", "perhaps"), ("provider", "a b"), ("provider", "x" * 51),
        ("fallbacks", ",".join(["echo/echo"] * 9)), ("fallbacks", "a\u0080b"), ("stream-cost", "2"),
        ("fallbacks", ",,"), ("cache-ttl", "0"), ("cache-ttl", "x"),
    ],
)  # fmt: skip
def test_a_wish_that_makes_no_sense_is_refused_in_the_surfaces_shape(stage: Stage, name: str, value: str) -> None:
    headers = {f"x-moolai-{name}": value}
    body = {"model": GPT, "messages": [user("never asked")], "max_tokens": 5}
    status, answer, _ = stage.call(CHAT, body, headers=headers)
    assert (status, answer["error"]["param"], answer["error"]["code"]) == (400, f"x-moolai-{name}", "invalid_value")
    status, answer, _ = stage.call("/v1/messages", body, headers=headers)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert f"x-moolai-{name}" in answer["error"]["message"]
    assert stage.provider.of("never asked") == []


def test_azures_forms_of_address_and_key(stage: Stage) -> None:
    assert provider_of(ask(stage, "one", model="azure/gpt-4o-mini")) == "azure"
    seen = stage.provider.last()
    assert (seen.path, seen.query, seen.headers["api-key"]) == ("/openai/v1/chat/completions", "", AZURE_KEY)
    assert provider_of(ask(stage, "two", model="classic/mine")) == "classic"
    seen = stage.provider.last()
    assert (seen.path, seen.query) == ("/openai/deployments/mine/chat/completions", "api-version=2024-10-21")
    assert (seen.headers["api-key"], "authorization" in seen.headers) == (AZURE_KEY, False)


# --- what is told -----------------------------------------------------------------------------------------------------


def test_what_is_left_of_a_limit_is_told(stage: Stage) -> None:
    body = {"name": "metered", "role": "operator", "requests_per_minute": 50, "tokens_per_minute": 5000}
    key = stage.live.call("POST", "/api/v1/orchestrators/acme/api-keys", body)[1]["data"]["secret"]
    if time.time() % 60 > 55:
        time.sleep(61 - time.time() % 60)  # a new minute counts anew
    with OpenAI(base_url=f"{stage.url}/v1", api_key=key) as client:
        told = [
            client.chat.completions.with_raw_response.create(model=GPT, messages=[user("hi")], max_tokens=9).headers
            for _ in range(3)
        ]
        stream = client.chat.completions.with_raw_response.create(model=GPT, messages=[user("hi")], stream=True)
        told.append(stream.headers)
    assert [found["x-ratelimit-remaining-requests"] for found in told] == ["49", "48", "47", "46"]
    assert {(found["x-ratelimit-limit-requests"], found["x-ratelimit-limit-tokens"]) for found in told} == {
        ("50", "5000")
    }
    assert all(4000 < int(found["x-ratelimit-remaining-tokens"]) < 5000 for found in told)
    first = told[0]
    assert (first["x-ratelimit-limit"], first["x-ratelimit-remaining"]) == ("50", "49")
    assert 0 <= int(first["x-ratelimit-reset"]) - time.time() <= 60
    assert 0 <= int(first["x-ratelimit-reset-requests"].removesuffix("s")) <= 60
    assert "x-ratelimit-limit" not in ask(stage, "free", model=GPT)[2]


@EACH
def test_a_stream_tells_its_cost_to_who_asks_and_no_sdk_minds(stage: Stage, model: str) -> None:
    more: Any = {"x-moolai-stream-cost": "true"}
    told: dict[str, Any] = {"model": model, "stream": True}
    began = timezone.now()
    sent = told | {"messages": [user("price")], "max_tokens": 50}
    plain = str(stage.call(CHAT, sent)[1])
    priced = str(stage.call(CHAT, sent, headers=more)[1])
    comment = next(line for line in priced.split("\n") if line.startswith(": x-moolai-cost-usd="))
    assert priced.endswith(f"\n\n{comment}\n\ndata: [DONE]\n\n")
    assert ("x-moolai-cost-usd" in plain, priced.count("data:")) == (False, plain.count("data:"))
    cost = comment.partition("=")[2]
    assert cost == ask(stage, "price", model=model)[2]["x-moolai-cost-usd"] != "0.000000"
    rows = Call.objects.filter(is_stream=True, requested_model=model, started_at__gte=began)
    assert eventually(lambda: set(rows.values_list("cost_usd_micros", flat=True)) == {round(float(cost) * 1e6)})
    assert f"\n\n{comment}\n\nevent: message_stop" in str(stage.call("/v1/messages", sent, headers=more)[1])
    response = str(stage.call("/v1/responses", told | {"input": "price"}, headers=more)[1])
    assert f"\n\n{comment}\n\nevent: response.completed" in response
    with OpenAI(base_url=f"{stage.url}/v1", api_key=stage.key, default_headers=more) as client:
        pieces = client.chat.completions.create(model=model, messages=[user("hi")], stream=True)
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == TEXT
        with client.responses.stream(model=model, input="hi") as stream:
            assert stream.get_final_response().output_text == TEXT
    with Anthropic(base_url=stage.url, api_key=stage.key, default_headers=more) as claude:
        messages: Any = [user("hi")]
        with claude.messages.stream(model=model, max_tokens=5, messages=messages) as message:
            assert message.get_final_text() == TEXT
    address: Any = {"base_url": f"{stage.url}/v1", "api_key": stage.key}
    chat = ChatOpenAI(model=model, default_headers=more, **address)
    assert "".join(str(chunk.content) for chunk in chat.stream("hi")) == TEXT


def test_what_is_dearer_than_its_price_is_estimated_at_a_multiple(stage: Stage) -> None:
    plain, dear = (stage.chat("tier", service_tier=tier)[2] for tier in ("flex", "priority"))
    assert float(dear["x-moolai-cost-usd"]) == pytest.approx(2 * float(plain["x-moolai-cost-usd"]), abs=2e-6)
    rows = Call.objects.filter(pk=dear["x-moolai-call-id"])
    assert eventually(lambda: rows.filter(status="completed").exists())
    assert rows.get().price["source"] == "estimate"


def test_what_a_stream_cost_is_not_kept_with_its_answer(stage: Stage) -> None:
    sent = {"model": GPT, "messages": [user("keep me")], "stream": True}
    kept = {"x-moolai-cache": "on"}
    assert "x-moolai-cost-usd=" in str(stage.call(CHAT, sent, headers=kept | {"x-moolai-stream-cost": "on"})[1])
    status, body, headers = stage.call(CHAT, sent, headers=kept)
    assert (status, headers["x-moolai-cached"], headers["x-moolai-cost-usd"]) == (200, "true", "0.000000")
    assert "x-moolai-cost-usd" not in str(body)
