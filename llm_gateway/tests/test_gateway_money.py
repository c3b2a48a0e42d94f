"""What calls cost whose provider does not say: answers without usage, or of later, and clients that leave."""

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from llm_gateway.models import Call, Spending
from llm_gateway.tests.provider import TEXT
from llm_gateway.tests.stage import Stage, staged, user
from moolai.testing.world import World
from orchestrators.tests.live import eventually

pytestmark = [pytest.mark.once, pytest.mark.services]
CHAT = "/v1/chat/completions"
GPT, CLAUDE, GEMINI = "openai/gpt-4o-mini", "anthropic/claude-3-5-haiku-latest", "google/gemini-2.0-flash"
EMBEDDER = "google/gemini-embedding-001"


@pytest.fixture(scope="module")
def stage(world: World, django_db_blocker: Any) -> Iterator[Stage]:
    with staged(world, django_db_blocker, {"LLM_FIRST_BYTE_SEC": "2", "LLM_RETRIES": "0"}) as found:
        assert found.chat("warm")[0] == 200
        yield found


def made(headers: dict[str, str]) -> Call:
    """Return the row of a call in the ledger once it is over."""
    rows = Call.objects.filter(pk=headers["x-moolai-call-id"], finished_at__isnull=False)
    assert eventually(rows.exists)
    return rows.get()


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [GPT, CLAUDE, GEMINI])
@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/responses", "/v1/messages"])
def test_an_answer_without_usage_counts_its_text(stage: Stage, path: str, model: str) -> None:
    body: dict[str, Any] = {"model": model, "max_tokens": 40, "messages": [user("[mute]")]}
    if path == "/v1/completions":
        body = {"model": model, "prompt": "[mute]"}
    elif path == "/v1/responses":
        body = {"model": model, "input": "[mute]"}
    status, answer, headers = stage.call(path, body)
    row = made(headers)
    assert (status, row.is_estimated) == (200, True), answer
    assert (row.input_tokens, row.output_tokens) == (-(-len(json.dumps(body)) // 4), -(-len(TEXT) // 4))
    if told := answer.get("usage"):
        assert told.get("output_tokens", told.get("completion_tokens")) == row.output_tokens


def test_embeddings_have_no_output_and_the_client_is_told_what_the_ledger_has(stage: Stage) -> None:
    status, answer, headers = stage.call("/v1/embeddings", {"model": EMBEDDER, "input": ["one", "two"]})
    row = made(headers)
    assert (status, row.output_tokens, row.is_estimated) == (200, 0, True), answer
    assert answer["usage"] == {"prompt_tokens": row.input_tokens, "total_tokens": row.input_tokens}
    assert row.input_tokens > 0


def test_an_answer_that_comes_later_is_refused_before_and_settled_at_what_was_reserved(stage: Stage) -> None:
    sent = {"model": GPT, "input": "[queued]", "max_output_tokens": 1000}
    for value, code in ((True, "unsupported_parameter"), ("yes", "invalid_type")):
        status, answer, _ = stage.call("/v1/responses", sent | {"background": value})
        assert (status, answer["error"]["param"], answer["error"]["code"]) == (400, "background", code)
    assert stage.provider.of("[queued]") == []
    for mode in ("queued", "in_progress"):
        status, answer, headers = stage.call("/v1/responses", sent | {"input": f"[{mode}]", "background": False})
        row = made(headers)
        assert (status, answer["status"], row.is_estimated) == (200, mode, True)
        assert row.cost_usd_micros == row.reserved_usd_micros > 0
        assert row.output_tokens == 1000


# --- clients that leave -----------------------------------------------------------------------------------------------


def leave(stage: Stage, text: str, *, seconds: float, **more: Any) -> Call:
    """Ask, hang up after some seconds, and return the row of the call."""
    line = http.client.HTTPConnection("127.0.0.1", stage.live.server.port, timeout=5)
    body = json.dumps({"model": GPT, "messages": [user(text)], **more}).encode()
    line.request("POST", CHAT, body=body, headers={"Authorization": f"Bearer {stage.key}"})
    assert eventually(lambda: stage.provider.of(text))
    rows = Call.objects.filter(status="cancelled")
    before = rows.count()
    time.sleep(seconds)
    line.close()
    assert eventually(lambda: rows.count() == before + 1)
    return rows.latest("started_at")


@pytest.mark.parametrize("is_stream", [False, True])
def test_who_hangs_up_pays_like_who_gives_too_little_time(stage: Stage, is_stream: bool) -> None:
    left = leave(stage, f"[never] leaves {is_stream}", seconds=1.4, max_tokens=4000, stream=is_stream)
    late = stage.call(
        CHAT,
        {"model": GPT, "messages": [user(f"[never] late {is_stream}")], "max_tokens": 4000, "stream": is_stream},
        headers={"x-moolai-timeout": "1.4"},
    )
    assert late[0] == 504
    for row in (left, made(late[2])):
        assert row.is_estimated
        assert 30 <= row.output_tokens <= 1000, row.output_tokens
        assert row.cost_usd_micros <= row.reserved_usd_micros
    few = leave(stage, f"[never] few {is_stream}", seconds=1.4, max_tokens=3, stream=is_stream)
    assert few.output_tokens == 3
    soon = leave(stage, f"[never] soon {is_stream}", seconds=0, max_tokens=4000, stream=is_stream)
    assert soon.output_tokens < left.output_tokens


def test_what_the_gateways_own_limit_of_time_cuts_off_counts_its_input(stage: Stage) -> None:
    status, _, headers = stage.chat("[never] first byte", max_tokens=100)
    row = made(headers)
    assert (status, row.output_tokens, row.is_estimated) == (504, 0, True)
    assert row.cost_usd_micros > 0


# --- what costs a multiple --------------------------------------------------------------------------------------------


def test_what_is_dearer_than_its_price_is_refused_where_it_would_be_sent_on(stage: Stage) -> None:
    for value, status in (("priority", 400), ("flex", 200), ("default", 200), (None, 200)):
        found, answer, _ = stage.chat("tier", service_tier=value)
        assert found == status, answer
    found, answer, _ = stage.call("/v1/responses", {"model": GPT, "input": "tier", "service_tier": "priority"})
    assert (found, answer["error"]["param"], answer["error"]["code"]) == (400, "service_tier", "unknown_price")
    assert "leave it out" in answer["error"]["message"]
    assert stage.chat("tier", model=CLAUDE, service_tier="priority")[0] == 200  # nobody is told
    assert stage.chat("tier", model="echo/echo", service_tier="priority")[0] == 200
    fast = {"model": CLAUDE, "messages": [user("tier")], "max_tokens": 9, "speed": "fast"}
    found, answer, _ = stage.call("/v1/messages", fast)
    assert (found, answer["error"]["type"]) == (400, "invalid_request_error")
    assert stage.call("/v1/messages", fast | {"speed": "standard"})[0] == 200


# --- nobody was asked -------------------------------------------------------------------------------------------------


def test_a_call_that_nobody_was_asked_stands_under_its_model_and_provider(stage: Stage) -> None:
    model = "openai/gpt-4.1-nano"
    for number in range(5):
        assert stage.chat(f"[500] broken {number}", model=model)[0] == 500
    status, answer, headers = stage.chat("not asked", model=model)
    assert (status, answer["error"]["code"]) == (503, "provider_unavailable")
    row = made(headers)
    assert (row.provider, row.model, row.requested_model, row.cost_usd_micros) == ("openai", "gpt-4.1-nano", model, 0)
    hours = Spending.objects.filter(model__contains="gpt-4.1-nano")
    assert set(hours.values_list("provider", "model")) == {("openai", "gpt-4.1-nano")}
