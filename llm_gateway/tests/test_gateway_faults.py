"""Providers that fail, and clients that leave: what the gateway answers, asks again, cuts off and writes down."""

import asyncio
import http.client
import json
import socket
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import aiohttp
import pytest

from llm_gateway import aliases
from llm_gateway.models import Attempt, Call
from llm_gateway.tests.provider import TEXT
from llm_gateway.tests.stage import ORGANIZATION, Stage, staged, user
from moolai.testing.world import World
from orchestrators.tests.live import eventually
from orgs import keys
from orgs.models import ApiKey

pytestmark = [pytest.mark.once, pytest.mark.services]
ENV = {"LLM_IDLE_SEC": "1", "LLM_FIRST_BYTE_SEC": "2", "LLM_TOTAL_SEC": "8"}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def stage(world: World, django_db_blocker: Any) -> Iterator[Stage]:
    with staged(world, django_db_blocker, ENV) as found:
        targets = [{"model": "openai/gpt-4o-mini"}, {"model": "anthropic/claude-3-5-haiku-latest"}]
        aliases.create(found.live.organization(ORGANIZATION), alias="smart", targets=targets, acting_user=None)
        assert found.chat("warm")[0] == 200  # what is known now was read after the alias was made
        yield found


@pytest.fixture(autouse=True)
def closed_breakers(stage: Stage) -> None:
    """Begin each test with providers that answered well last."""
    for model in ("openai/gpt-4o-mini", "anthropic/claude-3-5-haiku-latest"):
        assert eventually(partial(answers, stage, model), timeout=8)


def answers(stage: Stage, model: str) -> bool:
    """Whether a provider answers."""
    return stage.chat("fine", model=model)[0] == 200


def rows(status: str) -> int:
    """Return how many calls stand in the ledger as `status`."""
    return Call.objects.filter(status=status).count()


def tries() -> list[Attempt]:
    """Return the attempts of the newest call in the ledger."""
    newest = Call.objects.filter(requested_model="smart").order_by("-started_at").first()
    return list(newest.tries.all()) if newest else []


def stream(stage: Stage, text: str, *, model: str = "openai/gpt-4o-mini") -> tuple[int, str]:
    """Return the status and the whole text of a stream."""
    status, body, _ = stage.chat(text, model=model, stream=True)
    return status, body if isinstance(body, str) else json.dumps(body)


# --- before the first byte --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["429", "500", "503"])
def test_a_failure_is_tried_again(stage: Stage, mode: str) -> None:
    status, body, _ = stage.chat(f"[{mode} once] again")
    assert (status, body["choices"][0]["message"]["content"]) == (200, TEXT)
    assert len(stage.provider.of(f"[{mode} once] again")) == 2


def test_a_bad_request_is_not(stage: Stage) -> None:
    assert stage.chat("[400] never again", model="smart")[0] == 400
    assert len(stage.provider.of("never again")) == 1


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("mode", ["500", "401", "404", "garbage"])
def test_the_next_provider_of_an_alias_answers(stage: Stage, mode: str, is_stream: bool) -> None:
    status, body, headers = stage.chat(f"[{mode} openai] over {is_stream}", model="smart", stream=is_stream)
    assert (status, headers["x-moolai-provider"]) == (200, "anthropic")
    assert eventually(lambda: {"openai", "anthropic"} == {one.provider for one in tries()})
    assert {one.provider_request_id for one in tries()} == {"req_of_the-provider.1"}
    if is_stream:
        assert body.endswith("data: [DONE]\n\n")
    else:
        assert body["choices"][0]["message"]["content"] == TEXT


@pytest.mark.parametrize(
    ("mode", "status", "code"),
    [
        ("never", 504, "provider_timeout"),
        ("redirect", 502, "provider_error"),
        ("garbage", 502, "bad_provider_answer"),
        ("401", 502, "provider_refused_key"),
    ],
)
def test_what_nobody_can_answer_is_said_in_the_surfaces_shape(stage: Stage, mode: str, status: int, code: str) -> None:
    found, body, _ = stage.chat(f"[{mode}] alone")
    assert (found, body["error"]["code"]) == (status, code)
    assert "canary" not in json.dumps(body)
    assert eventually(lambda: Call.objects.exclude(status="running").latest("started_at").error == code)
    call = Call.objects.latest("started_at")
    is_billed = mode in ("never", "garbage")  # what we cut off, or could not read; what it refused is not
    assert ((call.cost_usd_micros > 0), call.is_estimated) == (is_billed, is_billed)
    assert (call.output_tokens > 0) == (mode == "garbage")
    assert (call.provider, call.model, call.surface) == ("openai", "gpt-4o-mini", "chat/completions")
    assert call.tries.latest("pk").http_status == {"401": 401, "redirect": 302, "garbage": 200}.get(mode, status)


def test_a_model_that_keeps_failing_is_left_alone_for_a_while(stage: Stage) -> None:
    model = "openai/gpt-4.1-nano"
    for number in range(2):
        assert stage.chat(f"[500] broken {number}", model=model)[0] == 500
    status, body, headers = stage.chat("not asked", model=model)
    assert (status, body["error"]["code"]) == (503, "provider_unavailable")
    assert int(headers["retry-after"]) >= 1
    assert stage.provider.of("not asked") == []
    assert stage.chat("another model")[0] == 200
    _, health, _ = stage.call("/api/v1/llm/health")
    states = {one["name"]: (one["status"], one["failing_models"]) for one in health["data"]["providers"]}
    assert states["openai"] == ("unhealthy", ["gpt-4.1-nano"])
    assert eventually(lambda: stage.chat("half open", model=model)[0] == 200, timeout=10)


# --- in the middle ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "anthropic/claude-3-5-haiku-latest"])
@pytest.mark.parametrize("mode", ["hang", "early", "noise"])
def test_a_stream_that_breaks_ends_with_an_error_frame_and_no_done(stage: Stage, mode: str, model: str) -> None:
    status, text = stream(stage, f"[{mode}] middle", model=model)
    assert status == 200
    assert "Hello" in text
    assert "[DONE]" not in text
    assert "error" in json.loads(text.strip().rpartition("data: ")[2])


def test_anthropics_stream_breaks_with_its_own_error_event(stage: Stage) -> None:
    body = {"model": "openai/gpt-4o-mini", "max_tokens": 9, "stream": True, "messages": [user("[early] mine")]}
    text = stage.call("/v1/messages", body)[1]
    assert text.strip().rpartition("event: ")[2].startswith("error\n")
    assert "message_stop" not in text


def test_fifty_hangs_at_once_leave_nothing_behind(stage: Stage) -> None:
    async def one(session: aiohttp.ClientSession) -> str:
        body = {"model": "openai/gpt-4o-mini", "stream": True, "messages": [user("[hang] crowd")]}
        async with session.post(stage.url + CHAT, json=body) as answer:
            return await answer.text()

    async def all_of_them() -> list[str]:
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {stage.key}"}) as session:
            return await asyncio.gather(*(one(session) for _ in range(50)))

    assert all("error" in text and "[DONE]" not in text for text in asyncio.run(all_of_them()))
    assert eventually(lambda: all(seen.was_cut for seen in stage.provider.of("crowd")))
    assert eventually(lambda: rows("running") == 0)


# --- clients ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "anthropic/claude-3-5-haiku-latest"])
def test_a_client_that_leaves_in_a_stream_has_the_provider_cut_off(stage: Stage, model: str) -> None:
    body = json.dumps({"model": model, "stream": True, "messages": [user(f"[drip] left {model}")]}).encode()
    line = http.client.HTTPConnection("127.0.0.1", stage.live.server.port, timeout=5)
    line.request("POST", CHAT, body=body, headers={"Authorization": f"Bearer {stage.key}"})
    answer = line.getresponse()
    assert b"data:" in answer.read1()
    before = rows("cancelled")
    assert answer.fp is not None
    line.sock.shutdown(socket.SHUT_RDWR)
    line.close()
    answer.close()
    assert eventually(lambda: stage.provider.of(f"left {model}")[-1].was_cut, timeout=15)
    assert eventually(lambda: rows("cancelled") == before + 1)
    call = Call.objects.filter(status="cancelled").latest("started_at")
    assert (call.is_estimated, call.cost_usd_micros > 0) == (True, True)


def test_a_client_that_leaves_before_the_answer_has_the_provider_cut_off(stage: Stage) -> None:
    line = http.client.HTTPConnection("127.0.0.1", stage.live.server.port, timeout=5)
    body = json.dumps({"model": "gpt-4o-mini", "messages": [user("[never] impatient")]}).encode()
    line.request("POST", CHAT, body=body, headers={"Authorization": f"Bearer {stage.key}"})
    assert eventually(lambda: stage.provider.of("impatient"))
    before = rows("cancelled")
    line.close()
    assert eventually(lambda: stage.provider.of("impatient")[-1].was_cut, timeout=15)
    assert eventually(lambda: rows("cancelled") == before + 1)
    call = Call.objects.filter(status="cancelled").latest("started_at")
    assert (call.input_tokens, call.is_estimated) == (-(-len(body) // 4), True)
    assert call.reserved_usd_micros > call.cost_usd_micros > 0


def test_a_revoked_key_is_refused_within_five_seconds_while_it_calls(stage: Stage) -> None:
    row, secret = stage.live.key_row(ORGANIZATION, role="operator")
    assert stage.call("/v1/models", key=secret)[0] == 200
    keys.revoke(ApiKey.objects.get(pk=row.pk), acting_user=None)
    revoked_at = time.monotonic()
    assert eventually(lambda: stage.call("/v1/models", key=secret)[0] == 401, timeout=6)
    assert time.monotonic() - revoked_at < 5


def test_a_body_beyond_ten_mebibytes_is_refused_in_the_surfaces_shape(stage: Stage) -> None:
    too_large = b" " * (10 * 1024 * 1024 + 1)
    assert stage.call(CHAT, too_large)[:2] == (413, {"error": {
        "message": "Send a smaller body: 10 MiB at most.", "type": "invalid_request_error", "param": None,
        "code": "payload_too_large",
    }})  # fmt: skip
    assert stage.call("/v1/messages", too_large)[1]["error"]["type"] == "request_too_large"
    many = {"model": "echo/echo", "messages": [user("long " * 400_000)]}  # 2 MB: more than other paths take
    assert stage.call(CHAT, many)[0] == 200


def test_a_body_that_is_no_json_in_utf8_is_refused_in_the_surfaces_shape(stage: Stage) -> None:
    body = {"model": "echo/echo", "messages": [user("hi")], "max_tokens": 5}
    for kind in ("text/plain", "application/json; charset=utf-16"):
        status, told, _ = stage.call(CHAT, body, headers={"Content-Type": kind})
        assert (status, told["error"]["code"]) == (415, "unsupported_media_type")
        status, told, _ = stage.call("/v1/messages", body, headers={"Content-Type": kind})
        assert (status, told["error"]["type"]) == (415, "invalid_request_error")
    assert stage.call("/v1/messages", body, headers={"Content-Type": "application/vnd.mine+json"})[0] == 200


@pytest.mark.parametrize("levels", [101, 2_000])
def test_a_body_that_is_nested_too_deep_is_told_how_deep_it_may_be(stage: Stage, levels: int) -> None:
    status, told, _ = stage.call(CHAT, b'{"model":"echo/echo","messages":' + b"[" * levels + b"]" * levels + b"}")
    assert (status, told["error"]["message"]) == (400, "Nest at most 100 levels.")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/v1/files", 404, "unknown_url"),
        ("POST", "/v1", 404, "unknown_url"),
        ("POST", "/v1/messages/count_tokens", 404, "not_found_error"),
    ],
)
def test_what_is_not_served_is_refused_as_openai_does(
    stage: Stage, method: str, path: str, status: int, code: str
) -> None:
    found, body, headers = stage.call(path, method=method)
    assert (found, body["error"].get("code") or body["error"]["type"]) == (status, code)
    assert ("allow" in headers) == (status == 405)
    assert headers["x-request-id"]
