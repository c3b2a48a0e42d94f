"""Bounds: what a provider is asked for is never more than what was reserved, whichever way it is said."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from llm_gateway import references
from llm_gateway.money import prices
from llm_gateway.plane import bounds
from llm_gateway.plane.catalog import Source
from llm_gateway.plane.relay import Order
from llm_gateway.plane.routing import Target
from llm_gateway.problems import Refused
from llm_gateway.surfaces import chat, completions, messages, responses

pytestmark = pytest.mark.once
HELLO = [{"role": "user", "content": "Hello"}]
BODIES: dict[Any, dict[str, Any]] = {
    chat: {"messages": HELLO},
    completions: {"prompt": "Hello"},
    messages: {"messages": HELLO, "max_tokens": 3},
    responses: {"input": "Hello"},
}
DIALECTS = ("openai", "compatible", "anthropic", "google")
NAMES = ("max_tokens", "max_completion_tokens", "max_output_tokens")
LIMITS: list[dict[str, Any]] = [
    {name: value for name, value in zip(NAMES, values, strict=True) if value}
    for values in product((None, 1, 900_000), repeat=3)
]
MORE: list[dict[str, Any]] = [
    {}, {"n": 3}, {"best_of": 4}, {"n": 2, "best_of": 3}, {"prompt": ["a", "b"]},
    {"thinking": {"type": "enabled", "budget_tokens": 9_000}},
]  # fmt: skip
PRICE = prices.of("0", "1", source="organization")


def order(surface: Any, dialect: str, more: dict[str, Any]) -> tuple[Order, Target]:
    """Return what a client asks for of a provider; a compatible one has chat completions alone."""
    body = BODIES[surface] | {"model": "m"} | more
    spoken = "openai" if dialect == "compatible" else dialect
    made = Order(surface, body, surface.check(body), size=100, call_id="c", created=0)
    target = Target(Source("k", dialect, spoken, "http://127.0.0.1:9/v1", "key"), "m")
    if dialect == "compatible":
        made.translate(target)
    return made, target


def asked(sent: dict[str, Any]) -> int:
    """Return how many tokens of output a provider is asked for at most, 0 where it is told no limit."""
    config, thinking = sent.get("generationConfig", {}), sent.get("thinking", {}).get("budget_tokens", 0)
    limit = max((found for name in NAMES if (found := sent.get(name)) is not None), default=0)
    limit = max(limit, config.get("maxOutputTokens", 0), thinking)
    prompts = len(sent["prompt"]) if isinstance(sent.get("prompt"), list) else 1
    return int(limit) * prompts * int(max(sent.get("n", 1), sent.get("best_of", 1), config.get("candidateCount", 1)))


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("surface", BODIES, ids=lambda surface: surface.__name__.rpartition(".")[2])
def test_nobody_is_asked_for_more_than_was_reserved(surface: Any, dialect: str) -> None:
    sent = 0
    for limits, more in product(LIMITS, MORE):
        if ("thinking" in more and surface is not messages) or ("prompt" in more and surface is not completions):
            continue
        try:
            made, target = order(surface, dialect, limits | more)
            body = dict(made.outgoing(target).body)
        except Refused:
            continue
        sent += 1
        assert asked(body) <= bounds.usd_micros(made, PRICE), (limits, more, body)
    assert sent >= len(NAMES)


@pytest.mark.parametrize("surface", BODIES, ids=lambda surface: surface.__name__.rpartition(".")[2])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["x", 1.5, 1e308, 2**64, [None], [[]], {}, True, -1, 0])
def test_a_limit_of_a_wrong_type_is_refused_by_name(surface: Any, name: str, value: Any) -> None:
    with pytest.raises(Refused) as refused:
        order(surface, "openai", {name: value})
    assert (refused.value.problem.status, refused.value.problem.param) == (400, name)


def test_a_call_without_a_limit_reserves_what_is_set_up_or_what_the_model_holds(settings: Any) -> None:
    made, target = order(chat, "anthropic", {"n": 1})
    settings.LLM_RESERVE_OUTPUT_TOKENS = 50_000
    assert bounds.usd_micros(made, PRICE) == 50_000
    assert bounds.usd_micros(made, replace(PRICE, context_tokens=4_000)) == 4_000
    assert bounds.usd_micros(order(chat, "openai", {"n": 3})[0], PRICE) == 150_000
    settings.LLM_RESERVE_OUTPUT_TOKENS = 8_192
    assert asked(dict(made.outgoing(target).body)) == bounds.usd_micros(made, PRICE)


IMAGE, FILE, EARLIER = references.IMAGE_TOKENS, references.FILE_TOKENS, references.EARLIER_TOKENS
URL, IN_PLACE = "https://example.com/a", "data:image/png;base64,AAAA"


def said(*parts: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


REFERENCES: list[tuple[Any, dict[str, Any], int]] = [
    (chat, {"messages": said({"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": URL}})}, IMAGE),
    (chat, {"messages": said(*[{"type": "image_url", "image_url": {"url": IN_PLACE}}] * 3)}, 3 * IMAGE),
    (chat, {"messages": said({"type": "file", "file": {"file_id": "file-1"}})}, FILE),
    (chat, {"messages": said({"type": "file", "file": {"file_data": "AAAA"}})}, 0),
    (messages, {"messages": said({"type": "document", "source": {"type": "text", "data": "A"}})}, 0),
    (responses, {"input": said({"type": "input_file", "file_data": "AAAA"})}, 0),
    (responses, {"input": said({"type": "input_file", "file_url": URL})}, FILE),
    (chat, {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}, FILE),
    (messages, {"messages": said({"type": "image", "source": {"type": "url", "url": URL}})}, IMAGE),
    (messages, {"messages": said({"type": "document", "source": {"type": "file", "file_id": "f"}})}, FILE),
    (messages, {"messages": said({"type": "container_upload", "file_id": "f"})}, FILE),
    (
        messages,
        {"messages": said({"type": "tool_result", "content": [{"type": "image", "source": {"type": "url"}}]})},
        IMAGE,
    ),
    (responses, {"input": said({"type": "input_image", "image_url": URL})}, IMAGE),
    (responses, {"input": said({"type": "input_file", "file_id": "f"}, {"type": "input_text", "text": "x"})}, FILE),
    (responses, {"input": [{"type": "item_reference", "id": "msg_1"}]}, FILE),
    (responses, {"input": [{"type": "function_call_output", "output": [{"type": "input_image"}]}]}, IMAGE),
    (responses, {"previous_response_id": "resp_1"}, EARLIER),
    (responses, {"conversation": {"id": "conv_1"}, "prompt": {"id": "pmpt_1"}}, 2 * EARLIER),
    (completions, {"prompt": "no reference"}, 0),
    (chat, {"messages": said({"type": "input_audio", "input_audio": {"data": "AAAA"}})}, 0),
]


@pytest.mark.parametrize(("surface", "more", "expected"), REFERENCES)
def test_inputs_that_are_named_reserve_what_they_may_come_to(surface: Any, more: Any, expected: int) -> None:
    price = prices.of("1", "0", source="organization")
    made, _ = order(surface, "openai", more)
    assert bounds.usd_micros(made, price) == made.size + expected
    assert bounds.usd_micros(made, replace(price, context_tokens=1_000)) == made.size + min(expected, 1_000)
    assert bounds.tokens(made) < 100
