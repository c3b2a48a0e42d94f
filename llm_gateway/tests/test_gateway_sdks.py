"""The official SDKs of the field against the gateway: they notice nothing but where they point."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from anthropic import Anthropic
from django.utils import timezone
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from llm_gateway.models import Attempt, Call
from llm_gateway.tests import node
from llm_gateway.tests.provider import CITIES, TEXT
from llm_gateway.tests.recorded import PIXEL
from llm_gateway.tests.stage import ANTHROPIC_KEY, Stage, staged, user
from moolai.testing.world import World
from orchestrators.tests.live import eventually

pytestmark = [pytest.mark.once, pytest.mark.services]
TOOL: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
CLAUDE_TOOL: Any = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
GPT, CLAUDE, GEMINI = "openai/gpt-4o-mini", "anthropic/claude-3-5-haiku-latest", "google/gemini-2.0-flash"
EACH = pytest.mark.parametrize("model", [GPT, CLAUDE, GEMINI])


class City(BaseModel):
    city: str
    population: int


@pytest.fixture(scope="module")
def stage(world: World, django_db_blocker: Any) -> Iterator[Stage]:
    with staged(world, django_db_blocker, {"LLM_RETRIES": "1"}) as found:
        yield found


@pytest.fixture(scope="module")
def client(stage: Stage) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{stage.url}/v1", api_key=stage.key, max_retries=0) as found:
        yield found


@pytest.fixture(scope="module")
def claude(stage: Stage) -> Iterator[Anthropic]:
    with Anthropic(base_url=stage.url, api_key=stage.key, max_retries=0) as found:
        yield found


# --- OpenAI's ---------------------------------------------------------------------------------------------------------


@EACH
def test_openai_chat(client: OpenAI, stage: Stage, model: str) -> None:
    answer = client.chat.completions.with_raw_response.create(model=model, messages=[user("hi")], max_tokens=50)
    found = answer.parse()
    assert found.choices[0].message.content == TEXT
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (11, 7)
    assert answer.headers["x-moolai-provider"] == model.partition("/")[0]
    assert float(answer.headers["x-moolai-cost-usd"]) > 0
    assert answer.headers["x-moolai-cached"] == "false"
    assert eventually(Call.objects.filter(pk=answer.headers["x-moolai-call-id"], status="completed").exists)
    assert not [name for name in answer.headers if name.startswith(("x-ratelimit", "anthropic", "openai"))]
    seen = stage.provider.last()
    assert model.partition("/")[2] in (seen.body.get("model", ""), seen.path.rpartition("/")[2].partition(":")[0])


@EACH
def test_openai_stream_with_usage(client: OpenAI, model: str) -> None:
    options: Any = {"include_usage": True}
    chunks = list(
        client.chat.completions.create(model=model, messages=[user("hi")], stream=True, stream_options=options)
    )
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == TEXT
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 18


@EACH
def test_a_stream_that_did_not_ask_for_usage_gets_none(client: OpenAI, model: str) -> None:
    chunks = list(client.chat.completions.create(model=model, messages=[user("hi")], stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


@EACH
def test_openai_two_parallel_streamed_tool_calls(client: OpenAI, model: str) -> None:
    with client.chat.completions.stream(model=model, messages=[user("weather?")], tools=[TOOL]) as stream:
        choice = stream.get_final_completion().choices[0]
    found = choice.message.tool_calls or []
    assert [json.loads(call.function.arguments)["city"] for call in found] == CITIES
    assert (len({call.id for call in found}), choice.finish_reason) == (2, "tool_calls")


@EACH
def test_openai_structured_output(client: OpenAI, stage: Stage, model: str) -> None:
    found = client.chat.completions.parse(model=model, messages=[user("which?")], response_format=City)
    assert found.choices[0].message.parsed == City(city="Paris", population=2)
    sent = stage.provider.last().body
    asked = sent.get("response_format") or sent.get("output_config") or sent.get("generationConfig")
    assert '"population"' in json.dumps(asked)


@EACH
def test_a_picture_reaches_each_provider_in_its_own_words(client: OpenAI, stage: Stage, model: str) -> None:
    url = f"data:image/png;base64,{PIXEL}"
    content: Any = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": url}}]
    client.chat.completions.create(model=model, messages=[{"role": "user", "content": content}])
    told = stage.provider.last().body.get("messages") or stage.provider.last().body["contents"]
    image: Any = (told[-1].get("content") or told[-1]["parts"])[1]
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    assert image in (
        content[1],
        {"type": "image", "source": source},
        {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
    )


def test_several_choices_where_a_provider_has_them(client: OpenAI) -> None:
    for model in (GPT, GEMINI):
        found = client.chat.completions.create(model=model, messages=[user("hi")], n=2)
        assert [(choice.index, choice.message.content) for choice in found.choices] == [(0, TEXT), (1, TEXT)]
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=CLAUDE, messages=[user("hi")], n=2)
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "n")


@pytest.mark.parametrize("model", ["openai/text-embedding-3-small", "google/gemini-embedding-001"])
def test_openai_embeddings(client: OpenAI, model: str) -> None:
    for more in ({"encoding_format": "float"}, {"encoding_format": "base64"}, {}):  # without it the SDK unpacks base64
        found = client.embeddings.create(model=model, input=["a", "b"], **more)  # type: ignore[arg-type]
        vectors: list[Any] = [item.embedding for item in found.data]
        if more.get("encoding_format") == "base64":
            assert vectors == ["AAAAPwAAgL4="] * 2
        else:
            assert vectors == [[0.5, -0.25]] * 2


@EACH
def test_openai_responses_and_completions(client: OpenAI, model: str) -> None:
    whole = client.responses.create(model=model, input="hi")
    assert (whole.output_text, whole.status) == (TEXT, "completed")
    assert whole.usage is not None
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (11, 7)
    with client.responses.stream(model=model, input="hi") as stream:
        said = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert said == stream.get_final_response().output_text == TEXT
    assert client.completions.create(model=model, prompt="hi").choices[0].text == TEXT
    pieces = client.completions.create(model=model, prompt="hi", stream=True)
    assert "".join(choice.text for piece in pieces for choice in piece.choices) == TEXT


def test_a_server_without_responses_is_asked_by_chat(client: OpenAI, stage: Stage) -> None:
    """Compatible servers often have chat completions alone; that is learned once."""
    for text in ("first", "second"):
        assert client.responses.create(model="vllm/llama", input=text).output_text == TEXT
    with client.responses.stream(model="vllm/llama", input="third") as stream:
        assert stream.get_final_response().output_text == TEXT
    assert client.completions.create(model="vllm/llama", prompt="fourth").choices[0].text == TEXT
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="vllm/llama", input="x", tools=[{"type": "web_search"}])
    assert refused.value.code == "unsupported_parameter"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="vllm/llama", messages=[user("[404]")])
    calls = Call.objects.filter(requested_model="vllm/llama", status="completed")
    assert eventually(lambda: calls.count() == 4)
    assert sorted(calls.values_list("attempts", flat=True)) == [1, 1, 2, 2]
    assert {seen.path for seen in stage.provider.of('"llama"')} == {"/old/v1/chat/completions"}


def test_openai_models_and_the_echo(client: OpenAI, stage: Stage) -> None:
    text = client.completions.create(model="echo/echo", prompt="say it again").choices[0].text
    assert text == client.responses.create(model="echo/echo", input="say it again").output_text == "say it again"
    assert "echo/echo" in [model.id for model in client.models.list()]
    assert client.models.retrieve("echo/echo").id == "echo/echo"
    listed = {model.id for model in client.models.list()}
    assert {"openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5", "google/gemini-2.5-pro"} <= listed
    assert not {name for name in listed if name.startswith(("azure/", "vllm/")) or "image" in name or "/ft:" in name}
    for name, owner in (("gpt-4o-mini", "openai"), ("azure/anything", "azure"), ("vllm/meta/llama", "vllm")):
        assert (client.models.retrieve(name).id, client.models.retrieve(name).owned_by) == (name, owner)
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody/knows")
    with Anthropic(base_url=stage.url, api_key=stage.key) as claude:
        assert "echo/echo" in [model.id for model in claude.models.list()]


def test_openai_without_waiting(stage: Stage) -> None:
    """The asynchronous client, several calls at once."""

    async def ask() -> tuple[list[str | None], str]:
        async with AsyncOpenAI(base_url=f"{stage.url}/v1", api_key=stage.key) as client:
            asked = [client.chat.completions.create(model=m, messages=[user("hi")]) for m in (GPT, CLAUDE, GEMINI)]
            whole = [found.choices[0].message.content for found in await asyncio.gather(*asked)]
            stream = await client.chat.completions.create(model=GEMINI, messages=[user("hi")], stream=True)
            return whole, "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(ask()) == ([TEXT] * 3, TEXT)


# --- Anthropic's ------------------------------------------------------------------------------------------------------


@EACH
def test_anthropic_message(claude: Anthropic, stage: Stage, model: str) -> None:
    found = claude.messages.create(model=model, max_tokens=50, messages=[user("hi")])
    assert [block.text for block in found.content if block.type == "text"] == [TEXT]
    assert (found.usage.input_tokens, found.usage.output_tokens, found.stop_reason) == (11, 7, "end_turn")


@EACH
def test_anthropic_stream_with_tools(claude: Anthropic, model: str) -> None:
    messages: Any = [user("weather?")]
    with claude.messages.stream(model=model, max_tokens=50, messages=messages, tools=[CLAUDE_TOOL]) as stream:
        found = stream.get_final_message()
    assert [block.input for block in found.content if block.type == "tool_use"] == [{"city": city} for city in CITIES]
    assert (found.stop_reason, found.usage.output_tokens) == ("tool_use", 7)


def test_headers_of_the_sdks_reach_providers_that_know_them(claude: Anthropic, client: OpenAI, stage: Stage) -> None:
    messages: Any = [user("betas")]
    more = {"anthropic-version": "2024-01-01", "x-secret-thing": "1"}
    betas = ["files-api-2025-04-14", "other-2025"]
    claude.beta.messages.create(model=CLAUDE, max_tokens=5, messages=messages, betas=betas, extra_headers=more)
    seen = stage.provider.last().headers
    assert (seen["anthropic-version"], seen["anthropic-beta"]) == ("2024-01-01", ",".join(betas))
    assert (seen["x-api-key"], "x-secret-thing" in seen) == (ANTHROPIC_KEY, False)
    assert stage.call("/v1/messages", {"model": CLAUDE, "max_tokens": 5, "messages": messages})[0] == 200
    assert stage.provider.last().headers["anthropic-version"] == "2023-06-01"
    claude.beta.messages.create(model=GPT, max_tokens=5, messages=messages, betas=betas)
    assert "anthropic-beta" not in stage.provider.last().headers
    client.responses.create(model=GPT, input="betas", extra_headers={"OpenAI-Beta": "responses=v1"})
    assert stage.provider.last().headers["openai-beta"] == "responses=v1"
    with pytest.raises(anthropic.BadRequestError, match="anthropic-beta"):
        claude.messages.create(model=CLAUDE, max_tokens=5, messages=messages, extra_headers={"anthropic-beta": "a{b"})


# --- LangChain's ------------------------------------------------------------------------------------------------------


@EACH
def test_langchain(stage: Stage, model: str) -> None:
    address: Any = {"base_url": f"{stage.url}/v1", "api_key": stage.key}
    chat = ChatOpenAI(model=model, stream_usage=True, **address)
    assert chat.invoke("hi").content == TEXT
    pieces = list(chat.stream("hi"))
    assert "".join(str(piece.content) for piece in pieces) == TEXT
    assert sum((piece.usage_metadata or {"total_tokens": 0})["total_tokens"] for piece in pieces) == 18
    whole, *rest = chat.bind_tools([TOOL]).stream("weather?")
    for piece in rest:
        whole += piece  # type: ignore[assignment]
    assert [call["args"] for call in whole.tool_calls] == [{"city": city} for city in CITIES]
    assert chat.with_structured_output(City, method="json_schema").invoke("which?") == City(city="Paris", population=2)
    assert ChatOpenAI(model=model, use_responses_api=True, **address).invoke("hi").text == TEXT


def test_langchain_embeddings(stage: Stage) -> None:
    address: Any = {"base_url": f"{stage.url}/v1", "api_key": stage.key}
    model = OpenAIEmbeddings(model="openai/text-embedding-3-small", check_embedding_ctx_length=False, **address)
    assert model.embed_documents(["a", "b"]) == [[0.5, -0.25]] * 2


# --- Node's -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return node.installed(tmp_path_factory.mktemp("node"))


@EACH
def test_node_openai(stage: Stage, package: Path, model: str) -> None:
    told = node.run(package, f"{stage.url}/v1", stage.key, model)
    assert told == {
        "chat": [TEXT, model.partition("/")[0]], "stream": TEXT, "usage": 18, "tools": CITIES, "parsed": "Paris",
        "responses": TEXT, "events": TEXT, **({} if model == CLAUDE else {"embedding": [0.5, -0.25]}),
        "errors": {
            "400": ["BadRequestError", 400], "401": ["InternalServerError", 502], "404": ["NotFoundError", 404],
            "422": ["UnprocessableEntityError", 422], "429": ["RateLimitError", 429],
            "500": ["InternalServerError", 500], "early": ["APIError", None], "key": ["AuthenticationError", 401],
        },
    }  # fmt: skip


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
