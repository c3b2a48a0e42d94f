"""The official SDKs of the field against the gateway: they notice nothing but where they point."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from anthropic import Anthropic
from django.utils import timezone
from langchain_openai import ChatOpenAI
from openai import OpenAI
from pydantic import BaseModel

from llm_gateway.models import Attempt, Call
from llm_gateway.tests.provider import CITIES, TEXT
from llm_gateway.tests.stage import OPENAI_KEY, Stage, staged, user
from moolai.testing.world import World
from orchestrators.tests.live import eventually

pytestmark = [pytest.mark.once, pytest.mark.services]
TOOL: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
CLAUDE_TOOL: Any = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
BOTH = pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "anthropic/claude-3-5-haiku-latest"])


class City(BaseModel):
    city: str
    population: int


@pytest.fixture(scope="module")
def stage(world: World, django_db_blocker: Any) -> Iterator[Stage]:
    with staged(world, django_db_blocker, {"LLM_RETRIES": "1"}) as found:
        yield found


@pytest.fixture
def client(stage: Stage) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{stage.url}/v1", api_key=stage.key, max_retries=0) as found:
        yield found


@pytest.fixture
def claude(stage: Stage) -> Iterator[Anthropic]:
    with Anthropic(base_url=stage.url, api_key=stage.key, max_retries=0) as found:
        yield found


# --- OpenAI's ---------------------------------------------------------------------------------------------------------


@BOTH
def test_openai_chat(client: OpenAI, stage: Stage, model: str) -> None:
    answer = client.chat.completions.with_raw_response.create(model=model, messages=[user("hi")], max_tokens=50)
    found = answer.parse()
    assert found.choices[0].message.content == TEXT
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (11, 7)
    assert answer.headers["x-moolai-provider"] == model.partition("/")[0]
    assert float(answer.headers["x-moolai-cost-usd"]) > 0
    assert answer.headers["x-moolai-cached"] == "false"
    assert stage.provider.last().body["model"] == model.partition("/")[2]


@BOTH
def test_openai_stream_with_usage(client: OpenAI, model: str) -> None:
    options: Any = {"include_usage": True}
    chunks = list(
        client.chat.completions.create(model=model, messages=[user("hi")], stream=True, stream_options=options)
    )
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == TEXT
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 18


def test_a_stream_that_did_not_ask_for_usage_gets_none(client: OpenAI, stage: Stage) -> None:
    chunks = list(client.chat.completions.create(model="gpt-4o-mini", messages=[user("hi")], stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    assert stage.provider.last().body["stream_options"] == {"include_usage": True}


@BOTH
def test_openai_two_parallel_streamed_tool_calls(client: OpenAI, model: str) -> None:
    with client.chat.completions.stream(model=model, messages=[user("weather?")], tools=[TOOL]) as stream:
        found = stream.get_final_completion().choices[0].message.tool_calls or []
    assert [json.loads(call.function.arguments)["city"] for call in found] == CITIES
    assert len({call.id for call in found}) == 2


def test_openai_structured_output(client: OpenAI, stage: Stage) -> None:
    found = client.chat.completions.parse(model="gpt-4o-mini", messages=[user("which?")], response_format=City)
    assert found.choices[0].message.parsed == City(city="Paris", population=2)
    assert stage.provider.last().body["response_format"]["type"] == "json_schema"


def test_openai_embeddings(client: OpenAI) -> None:
    found = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"], encoding_format="float")
    assert [item.embedding for item in found.data] == [[0.5, -0.25]] * 2


def test_openai_completions_responses_and_models_of_the_echo(client: OpenAI) -> None:
    text = client.completions.create(model="echo/echo", prompt="say it again").choices[0].text
    assert text == client.responses.create(model="echo/echo", input="say it again").output_text == "say it again"
    assert "echo/echo" in [model.id for model in client.models.list()]
    assert client.models.retrieve("echo/echo").id == "echo/echo"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[400]", openai.BadRequestError),
        ("[429]", openai.RateLimitError),
        ("[500]", openai.InternalServerError),
        ("[401]", openai.InternalServerError),
        ("[garbage]", openai.InternalServerError),
    ],
)
@BOTH
def test_openai_errors(client: OpenAI, stage: Stage, model: str, text: str, error: type[openai.APIStatusError]) -> None:
    with pytest.raises(error) as caught:
        client.chat.completions.create(model=model, messages=[user(f"{text} {error.__name__}")])
    assert "canary" not in str(caught.value.body) + str(dict(caught.value.response.headers))
    assert caught.value.type
    _rest(stage)


def _rest(stage: Stage) -> None:
    """Answer well once, so that no breaker opens over the bad answers of these tests."""
    for model in ("openai/gpt-4o-mini", "anthropic/claude-3-5-haiku-latest"):
        assert stage.chat("fine", model=model)[0] == 200


def test_openai_refusals(client: OpenAI, stage: Stage) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nobody-knows-this", messages=[user("hi")])
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.InternalServerError, match="GOOGLE_API_KEY") as unset:
        client.chat.completions.create(model="gemini-2.0-flash", messages=[user("hi")])
    assert unset.value.status_code == 503
    with pytest.raises(openai.BadRequestError) as denied:
        client.chat.completions.create(
            model="gpt-4o-mini", messages=[user("hi")], extra_body={"api_base": "http://evil.example"}
        )
    assert (denied.value.code, denied.value.param) == ("parameter_not_allowed", "api_base")
    with pytest.raises(openai.AuthenticationError):
        OpenAI(base_url=f"{stage.url}/v1", api_key="mk_wrong", max_retries=0).models.list()
    with pytest.raises(openai.NotFoundError):
        client.images.generate(prompt="a cat")


# --- Anthropic's ------------------------------------------------------------------------------------------------------


@BOTH
def test_anthropic_message(claude: Anthropic, stage: Stage, model: str) -> None:
    found = claude.messages.create(model=model, max_tokens=50, messages=[user("hi")])
    assert [block.text for block in found.content if block.type == "text"] == [TEXT]
    assert (found.usage.input_tokens, found.usage.output_tokens, found.stop_reason) == (11, 7, "end_turn")


@BOTH
def test_anthropic_stream_with_tools(claude: Anthropic, model: str) -> None:
    messages: Any = [user("weather?")]
    with claude.messages.stream(model=model, max_tokens=50, messages=messages, tools=[CLAUDE_TOOL]) as stream:
        found = stream.get_final_message()
    assert [block.input for block in found.content if block.type == "tool_use"] == [{"city": city} for city in CITIES]
    assert found.stop_reason == "tool_use"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[400]", anthropic.BadRequestError),
        ("[429]", anthropic.RateLimitError),
        ("[529]", anthropic.InternalServerError),
    ],
)
@BOTH
def test_anthropic_errors(
    claude: Anthropic, stage: Stage, model: str, text: str, error: type[anthropic.APIStatusError]
) -> None:
    messages: Any = [user(f"{text} {error.__name__}")]
    with pytest.raises(error) as caught:
        claude.messages.create(model=model, max_tokens=50, messages=messages)
    assert "canary" not in str(caught.value.body)
    _rest(stage)


def test_anthropic_authentication(stage: Stage) -> None:
    messages: Any = [user("hi")]
    with pytest.raises(anthropic.AuthenticationError):
        Anthropic(base_url=stage.url, api_key="mk_wrong", max_retries=0).messages.create(
            model="echo/echo", max_tokens=5, messages=messages
        )


# --- LangChain's ------------------------------------------------------------------------------------------------------


def test_langchain(stage: Stage) -> None:
    model = ChatOpenAI(base_url=f"{stage.url}/v1", api_key=stage.key, model="openai/gpt-4o-mini")  # type: ignore[arg-type]
    assert model.invoke("hi").content == TEXT
    assert "".join(str(chunk.content) for chunk in model.stream("hi")) == TEXT
    assert [call["args"] for call in model.bind_tools([TOOL]).invoke("weather?").tool_calls] == [
        {"city": city} for city in CITIES
    ]


# --- what it costs ----------------------------------------------------------------------------------------------------


def test_the_ledger_has_each_call_once_at_what_it_cost(stage: Stage) -> None:
    began, asked = timezone.now(), len(stage.provider.seen)
    told = [stage.chat("count me", model=model) for model in ("gpt-4o-mini", "anthropic/claude-3-5-haiku-latest")]
    assert stage.chat("count me", stream=True)[0] == 200
    ours = Call.objects.filter(started_at__gte=began)
    assert eventually(lambda: ours.filter(status="completed").count() == 3)
    rows = list(ours.order_by("started_at"))
    assert len(rows) == len(stage.provider.seen) - asked == sum(row.attempts for row in rows)
    assert [f"{row.cost_usd_micros / 1e6:.6f}" for row in rows[:2]] == [one[2]["x-moolai-cost-usd"] for one in told]
    assert rows[0].cost_usd_micros == rows[2].cost_usd_micros == round(11 * 0.15 + 7 * 0.6 + 0.0001)
    assert {(row.organization_id, row.input_tokens, row.output_tokens) for row in rows} == {("acme", 11, 7)}
    assert [row.provider for row in rows] == ["openai", "anthropic", "openai"]
    assert Attempt.objects.filter(call__in=rows).count() == 3


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
    _rest(stage)
    seen = [one.headers for one in stage.provider.of("fine")]
    assert {one.get("authorization") for one in seen if "x-api-key" not in one} == {f"Bearer {OPENAI_KEY}"}
    assert "canary" not in stage.live.server.output()
