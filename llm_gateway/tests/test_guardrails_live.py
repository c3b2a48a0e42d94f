"""Guardrails as clients meet them: the official SDKs, a real web process, a provider that keeps what it was sent."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import anthropic
import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from llm_gateway import guarding
from llm_gateway.models import Call
from llm_gateway.tests.leaking import LEAK
from llm_gateway.tests.stage import ORGANIZATION, Stage, staged, user
from moolai.testing.world import World
from orchestrators.tests.live import eventually

pytestmark = [pytest.mark.once, pytest.mark.services]
GPT, CLAUDE = "openai/gpt-4o-mini", "anthropic/claude-3-5-haiku-latest"
MAIL, CARD = "bob@home.example", "5555 5555 5555 4444"
SAID = "".join(LEAK)
CLEAN = "Write to [EMAIL] or pay [CREDIT_CARD] at once."
RULES: list[dict[str, Any]] = [
    {"name": "privacy", "kind": "redact", "detect": ["email", "credit_card"]},
    {"name": "project names", "kind": "deny", "words": ["moon shot"], "on": ["request"]},
]


@pytest.fixture(scope="module")
def stage(world: World, django_db_blocker: Any) -> Iterator[Stage]:
    with staged(world, django_db_blocker, {"LLM_RETRIES": "0"}) as found:
        assert found.chat("[leak]")[1]["choices"][0]["message"]["content"] == SAID
        set_rules(found, RULES)
        assert eventually(lambda: found.chat("moon shot")[0] == 400)
        yield found


def set_rules(stage: Stage, rules: list[dict[str, Any]], organization: str = ORGANIZATION) -> None:
    guarding.put(stage.live.organization(organization), rules=rules, acting_user=None)


@pytest.fixture
def client(stage: Stage) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{stage.url}/v1", api_key=stage.key, max_retries=0) as found:
        yield found


@pytest.fixture
def claude(stage: Stage) -> Iterator[Anthropic]:
    with Anthropic(base_url=stage.url, api_key=stage.key, max_retries=0) as found:
        yield found


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_openais_sdk_has_both_sides_cleaned(client: OpenAI, stage: Stage, model: str) -> None:
    asked: Any = {"model": model, "messages": [user(f"[leak] I am {MAIL} {model}")], "temperature": 0.5}
    assert client.chat.completions.create(**asked).choices[0].message.content == CLEAN
    sent = stage.provider.last().body
    said = f"[leak] I am [EMAIL] {model}"
    assert sent["messages"] in ([user(said)], [{"role": "user", "content": [{"type": "text", "text": said}]}])
    assert (sent["temperature"], sent["model"]) == (0.5, model.partition("/")[2])
    options: Any = {"include_usage": True}
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options=options))
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == CLEAN
    assert chunks[-1].usage is not None
    assert not stage.provider.of(MAIL)


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_anthropics_sdk_has_both_sides_cleaned(claude: Anthropic, stage: Stage, model: str) -> None:
    asked: Any = {
        "model": model, "max_tokens": 50, "system": f"Charge {CARD}.", "messages": [user(f"[leak] {MAIL}")]
    }  # fmt: skip
    assert [getattr(block, "text", "") for block in claude.messages.create(**asked).content] == [CLEAN]
    assert not stage.provider.of("5555 5555")
    assert "[CREDIT_CARD]" in json.dumps(stage.provider.last().body)
    with claude.messages.stream(**asked) as stream:
        assert "".join(stream.text_stream) == CLEAN


def test_responses_completions_and_embeddings_are_cleaned(client: OpenAI, stage: Stage) -> None:
    assert client.responses.create(model=CLAUDE, input=f"[leak] {MAIL}").output_text == CLEAN
    told = list(client.responses.create(model=CLAUDE, input=f"[leak] {MAIL}", stream=True))
    assert "".join(event.delta for event in told if event.type == "response.output_text.delta") == CLEAN
    assert told[-1].type == "response.completed"
    assert told[-1].response.output_text == CLEAN
    assert client.completions.create(model="echo/echo", prompt=f"it is {MAIL}").choices[0].text == "it is [EMAIL]"
    parts = client.completions.create(model="echo/echo", prompt=f"it is {CARD} now", stream=True)
    assert "".join(choice.text for part in parts for choice in part.choices) == "it is [CREDIT_CARD] now"
    client.embeddings.create(model="openai/text-embedding-3-small", input=["a", MAIL])
    assert stage.provider.last().body["input"] == ["a", "[EMAIL]"]


def test_a_word_on_the_list_is_refused_in_the_shape_of_each_surface(
    client: OpenAI, claude: Anthropic, stage: Stage
) -> None:
    before = len(stage.provider.seen)
    with pytest.raises(openai.BadRequestError) as told:
        client.chat.completions.create(model=GPT, messages=[user("a Moon   Shot!")], stream=True)
    assert told.value.code == "content_blocked"
    call_id = told.value.response.headers["x-moolai-call-id"]
    assert "project names" in told.value.message
    assert "moon" not in told.value.message.lower()
    with pytest.raises(anthropic.BadRequestError) as refused:
        claude.messages.create(model=CLAUDE, max_tokens=5, messages=[user("moon shot")])
    assert "content_blocked" in str(refused.value)
    status, body, _ = stage.call("/api/v1/llm/chat", {"model": GPT, "messages": [user("moon shot")]})
    assert (status, body["error"]) == (400, "content_blocked")
    assert len(stage.provider.seen) == before
    rows = Call.objects.filter(error="content_blocked", status="failed", cost_usd_micros=0, attempts=0)
    assert eventually(lambda: rows.count() >= 3)
    assert rows.filter(call_id=call_id).exists()


def test_an_answer_that_is_blocked_is_paid_for_and_a_stream_is_cut(stage: Stage) -> None:
    secret = stage.live.key("globex", role="operator")
    rules = [{"name": "cards", "kind": "redact", "detect": ["credit_card"], "action": "block", "on": ["answer"]}]
    set_rules(stage, rules, "globex")
    for model in (GPT, CLAUDE):
        body = {"model": model, "messages": [user("[leak] blocked")]}
        assert eventually(partial(is_refused, stage, body, secret))
        _, told, _ = stage.call("/v1/chat/completions", {**body, "stream": True}, key=secret)
        # A frame without text may have gone out before: then the answer has begun, and is cut.
        frame = told if isinstance(told, dict) else json.loads(told.strip().rpartition("data: ")[2])
        assert (frame["error"]["code"], CARD in str(told)) == ("content_blocked", False)
    echoed = {"model": "echo/echo", "messages": [user("so " * 60 + CARD + " it is")], "stream": True}
    status, text, _ = stage.call("/v1/chat/completions", echoed, key=secret)
    assert (status, "5555" in text, "[DONE]" in text) == (200, False, False)
    assert json.loads(text.strip().rpartition("data: ")[2])["error"]["code"] == "content_blocked"
    blocked = Call.objects.filter(organization_id="globex", error="content_blocked", status="failed")
    assert eventually(lambda: blocked.count() >= 5)
    assert blocked.filter(cost_usd_micros__gt=0, provider="openai").count() >= 2
    assert blocked.filter(cost_usd_micros__gt=0, provider="anthropic").count() >= 2


def is_refused(stage: Stage, body: dict[str, Any], secret: str) -> bool:
    """Whether a call is refused."""
    return stage.call("/v1/chat/completions", body, key=secret)[0] == 400


def test_who_has_no_rules_is_passed_through_byte_for_byte(stage: Stage) -> None:
    secret = stage.live.key("initech", role="operator")
    body = {"model": GPT, "messages": [user(f"[leak] {MAIL}")], "odd": {"b": 1, "a": [None]}}
    status, told, _ = stage.call("/v1/chat/completions", body, key=secret)
    assert (status, told["choices"][0]["message"]["content"]) == (200, SAID)
    assert stage.provider.last().body == {**body, "model": "gpt-4o-mini"}


def test_another_rule_is_another_question_to_the_cache(stage: Stage) -> None:
    secret, on = stage.live.key("hooli", role="operator"), {"x-moolai-cache": "on"}
    body = {"model": GPT, "messages": [user("[leak] kept")]}

    def texts() -> str:
        answer = stage.call("/v1/chat/completions", body, key=secret, headers=on)[1]
        return str(answer["choices"][0]["message"]["content"])

    assert texts() == texts() == SAID
    set_rules(stage, RULES, "hooli")
    assert eventually(lambda: texts() == CLEAN)
    assert texts() == CLEAN
    assert len(stage.provider.of("kept")) == 2


def test_nine_megabytes_are_looked_at_while_others_are_served(stage: Stage) -> None:
    heavy = {"model": GPT, "messages": [user("word " * 1_800_000 + "moon shot")]}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(stage.call, "/v1/chat/completions", heavy)
        served = 0
        while not waiting.done():
            assert stage.chat("meanwhile")[0] == 200
            served += 1
        assert (waiting.result()[0], served >= 3) == (400, True)
