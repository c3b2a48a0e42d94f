"""What goes wrong, as the official SDKs tell it: each in the exception that it is, and never as a good end."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from anthropic import Anthropic
from langchain_openai import ChatOpenAI
from openai import OpenAI

from llm_gateway.tests.stage import ANTHROPIC_KEY, GOOGLE_KEY, OPENAI_KEY, Stage, staged, user
from moolai.testing.world import World

pytestmark = [pytest.mark.once, pytest.mark.services]
GPT, CLAUDE, GEMINI = "openai/gpt-4o-mini", "anthropic/claude-3-5-haiku-latest", "google/gemini-2.0-flash"
EACH = pytest.mark.parametrize("model", [GPT, CLAUDE, GEMINI])
PROVIDERS = pytest.mark.parametrize("provider", ["openai", "anthropic", "google"])
# What the provider answers → what the SDK raises, with which status.
OPENAI: dict[str, tuple[type[openai.APIStatusError], int]] = {
    "400": (openai.BadRequestError, 400),
    "401": (openai.InternalServerError, 502),  # not the caller's key
    "403": (openai.InternalServerError, 502),
    "404": (openai.NotFoundError, 404),
    "413": (openai.APIStatusError, 413),
    "422": (openai.UnprocessableEntityError, 422),
    "429": (openai.RateLimitError, 429),
    "500": (openai.InternalServerError, 500),
    "502": (openai.InternalServerError, 502),
    "503": (openai.InternalServerError, 503),
    "504": (openai.InternalServerError, 504),
    "529": (openai.InternalServerError, 529),
    "garbage": (openai.InternalServerError, 502),
    "redirect": (openai.InternalServerError, 502),
}
ANTHROPIC: dict[str, tuple[type[anthropic.APIStatusError], str]] = {
    "400": (anthropic.BadRequestError, "invalid_request_error"),
    "401": (anthropic.InternalServerError, "api_error"),
    "404": (anthropic.NotFoundError, "not_found_error"),
    "413": (anthropic.APIStatusError, "request_too_large"),
    "422": (anthropic.UnprocessableEntityError, "invalid_request_error"),
    "429": (anthropic.RateLimitError, "rate_limit_error"),
    "500": (anthropic.InternalServerError, "api_error"),
    "504": (anthropic.InternalServerError, "timeout_error"),
    "529": (anthropic.InternalServerError, "overloaded_error"),
}
ONCE: Any = {"x-moolai-retries": "0"}


@pytest.fixture(scope="module")
def stage(world: World, django_db_blocker: Any) -> Iterator[Stage]:
    with staged(world, django_db_blocker, {"LLM_UNKNOWN_PRICE": "estimate", "LLM_RETRIES": "1"}) as found:
        yield found


@pytest.fixture(scope="module")
def client(stage: Stage) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{stage.url}/v1", api_key=stage.key, max_retries=0, default_headers=ONCE) as found:
        yield found


@pytest.fixture(scope="module")
def claude(stage: Stage) -> Iterator[Anthropic]:
    with Anthropic(base_url=stage.url, api_key=stage.key, max_retries=0, default_headers=ONCE) as found:
        yield found


@PROVIDERS
def test_openai_raises_what_the_provider_meant(client: OpenAI, stage: Stage, provider: str) -> None:
    for mode, (error, status) in OPENAI.items():
        model = f"{provider}/gpt-{mode}"  # each its own, so that no breaker opens
        for is_stream in (False, True):
            with pytest.raises(error) as caught:
                client.chat.completions.create(model=model, messages=[user(f"[{mode}]")], stream=is_stream)
            assert (caught.value.status_code, bool(caught.value.type)) == (status, True), (mode, is_stream)
            assert "canary" not in str(caught.value.body) + str(dict(caught.value.response.headers))
        assert len(stage.provider.of(model)) in (2, 0)  # asked once each time; Google's path has the model
    with pytest.raises(openai.RateLimitError) as limited:
        client.chat.completions.create(model=f"{provider}/gpt-429", messages=[user("[429]")])
    assert int(limited.value.response.headers["retry-after"]) >= 1


@PROVIDERS
def test_anthropic_raises_what_the_provider_meant(claude: Anthropic, provider: str) -> None:
    for mode, (error, kind) in ANTHROPIC.items():
        messages: Any = [user(f"[{mode}]")]
        with pytest.raises(error) as caught:
            claude.messages.create(model=f"{provider}/claude-{mode}", max_tokens=5, messages=messages)
        body: Any = caught.value.body
        assert (body["type"], body["error"]["type"]) == ("error", kind), mode
        assert "canary" not in str(body)


@EACH
def test_a_stream_that_is_cut_never_ends_well(client: OpenAI, claude: Anthropic, stage: Stage, model: str) -> None:
    for mode in ("early", "noise"):
        messages: Any = [user(f"[{mode}]")]
        with pytest.raises(openai.APIError) as cut:
            list(client.chat.completions.create(model=model, messages=messages, stream=True))
        assert cut.value.code in ("stream_interrupted", "bad_provider_answer")
        with (
            pytest.raises(anthropic.APIError),
            claude.messages.stream(model=model, max_tokens=5, messages=messages) as message,
        ):
            message.until_done()
        with pytest.raises(openai.APIError):
            list(client.completions.create(model=model, prompt=f"[{mode}]", stream=True))
        events = list(client.responses.create(model=model, input=f"[{mode}]", stream=True))
        assert "error" in [event.type for event in events]
        assert "response.completed" not in [event.type for event in events]
        chat = ChatOpenAI(model=model, base_url=f"{stage.url}/v1", api_key=stage.key)  # type: ignore[arg-type]
        with pytest.raises(openai.APIError):
            list(chat.stream(f"[{mode}]"))


def test_a_quota_of_the_provider_is_not_tried_again(stage: Stage) -> None:
    with (
        OpenAI(base_url=f"{stage.url}/v1", api_key=stage.key) as patient,
        pytest.raises(openai.RateLimitError) as spent,
    ):
        patient.chat.completions.create(model="openai/gpt-quota", messages=[user("[quota]")])
    assert (spent.value.code, spent.value.type) == ("insufficient_quota", "insufficient_quota")
    assert len(stage.provider.of("[quota]")) == 1


def test_openai_refusals(client: OpenAI, stage: Stage) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nobody-knows-this", messages=[user("hi")])
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.InternalServerError, match="OLLAMA_BASE_URL") as unset:
        client.chat.completions.create(model="ollama/llama3", messages=[user("hi")])
    assert unset.value.status_code == 503
    with pytest.raises(openai.BadRequestError) as denied:
        client.chat.completions.create(model=GPT, messages=[user("hi")], extra_body={"api_base": "http://evil.example"})
    assert (denied.value.code, denied.value.param) == ("parameter_not_allowed", "api_base")
    with pytest.raises(openai.APIStatusError) as large:
        client.chat.completions.create(model=GPT, messages=[user("x" * 10_500_000)])
    assert large.value.status_code == 413
    with pytest.raises(openai.NotFoundError):
        client.images.generate(prompt="a cat")
    viewer = stage.live.key("acme", role="viewer")
    for key, error in (("mk_wrong", openai.AuthenticationError), (viewer, openai.PermissionDeniedError)):
        with pytest.raises(error), OpenAI(base_url=f"{stage.url}/v1", api_key=key, max_retries=0) as other:
            other.models.list()


def test_anthropic_refusals(claude: Anthropic, stage: Stage) -> None:
    messages: Any = [user("hi")]
    viewer = stage.live.key("acme", role="viewer")
    for key, error in (("mk_wrong", anthropic.AuthenticationError), (viewer, anthropic.PermissionDeniedError)):
        with pytest.raises(error), Anthropic(base_url=stage.url, api_key=key, max_retries=0) as other:
            other.messages.create(model="echo/echo", max_tokens=5, messages=messages)
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(model="nobody-knows-this", max_tokens=5, messages=messages)
    with pytest.raises(anthropic.APIStatusError) as large:
        claude.messages.create(model=CLAUDE, max_tokens=5, messages=[{"role": "user", "content": "x" * 10_500_000}])
    assert large.value.status_code == 413


# --- limits and forms ----------------------------------------------------------------------------------------------


def test_a_spent_budget_ends_calls_with_insufficient_quota(stage: Stage) -> None:
    body = {"name": "poor", "role": "operator", "budget_usd": 0.000001, "budget_window": "day"}
    key = stage.live.call("POST", "/api/v1/orchestrators/acme/api-keys", body)[1]["data"]["secret"]
    poor = OpenAI(base_url=f"{stage.url}/v1", api_key=key)
    with pytest.raises(openai.RateLimitError) as spent:
        poor.chat.completions.create(model="gpt-4o-mini", messages=[user("spend")], max_tokens=10)
    assert spent.value.code == "insufficient_quota"
    assert spent.value.response.headers["x-should-retry"] == "false"
    assert stage.provider.of("spend") == []
    poor.close()


def test_a_limit_per_minute_says_when_to_come_back(stage: Stage) -> None:
    body = {"name": "slow", "role": "operator", "requests_per_minute": 2}
    key = stage.live.call("POST", "/api/v1/orchestrators/acme/api-keys", body)[1]["data"]["secret"]
    call = {"model": "echo/echo", "messages": [user("hi")]}
    told = [stage.call("/v1/chat/completions", call, key=key) for _ in range(5)]  # a minute may begin among them
    status, answer, headers = next(one for one in told if one[0] != 200)
    assert (status, answer["error"]["code"], headers["x-ratelimit-limit"]) == (429, "rate_limit_exceeded", "2")
    assert 1 <= int(headers["retry-after"]) <= 60


def test_a_stream_is_refused_to_who_takes_no_events(stage: Stage) -> None:
    body = {"model": "echo/echo", "stream": True, "messages": [user("hi")]}
    status, answer, _ = stage.call("/v1/chat/completions", body, headers={"Accept": "text/plain"})
    assert (status, answer["error"]["param"]) == (400, "stream")


# --- what stays behind ------------------------------------------------------------------------------------------------


def test_the_keys_of_providers_go_to_them_alone(stage: Stage) -> None:
    for text in ("[400]", "[401]", "[500]"):
        assert "canary" not in json.dumps(stage.chat(f"{text} leak", api_key_hint="x"))
    for model in (GPT, CLAUDE, GEMINI):
        assert stage.chat("whose key", model=model)[0] == 200
    names = ("authorization", "x-api-key", "x-goog-api-key")
    keys = [tuple(one.headers.get(name) for name in names) for one in stage.provider.of("whose key")]
    assert keys == [(f"Bearer {OPENAI_KEY}", None, None), (None, ANTHROPIC_KEY, None), (None, None, GOOGLE_KEY)]
    assert "canary" not in stage.live.server.output()
