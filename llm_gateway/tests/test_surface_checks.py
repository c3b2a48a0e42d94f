"""What no surface takes, in each surface's own error shape."""

import time
from typing import Any

import anthropic.types
import pytest
from pydantic import TypeAdapter

from llm_gateway.problems import Problem, Refused
from llm_gateway.shapes import Asked
from llm_gateway.surfaces import chat, completions, embeddings, messages, responses

pytestmark = pytest.mark.once

HELLO = [{"role": "user", "content": "Hello"}]
BODIES: dict[Any, dict[str, Any]] = {
    chat: {"model": "m", "messages": HELLO},
    completions: {"model": "m", "prompt": "Hello"},
    embeddings: {"model": "m", "input": "Hello"},
    messages: {"model": "m", "messages": HELLO, "max_tokens": 9},
    responses: {"model": "m", "input": "Hello"},
}
SURFACES = [pytest.param(surface, id=surface.__name__.rpartition(".")[2]) for surface in BODIES]


def refusal(surface: Any, body: Any) -> Problem:
    with pytest.raises(Refused) as refused:
        surface.check(body)
    return refused.value.problem


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(
    "name",
    """api_base base_url api_key api_version api_type organization custom_llm_provider extra_headers azure_endpoint
    aws_secret_access_key vertex_credentials API_BASE apiKey base-url input_cost_per_token fallbacks""".split(),
)
def test_nothing_sent_chooses_a_host_a_key_or_a_price(surface: Any, name: str) -> None:
    problem = refusal(surface, BODIES[surface] | {name: "http://169.254.169.254"})
    assert (problem.status, problem.code, problem.param) == (400, "parameter_not_allowed", name)
    body = surface.error_body(problem)
    if surface is messages:
        TypeAdapter(anthropic.types.ErrorResponse).validate_python(body)
        assert body["type"] == "error"
        assert body["error"].keys() == {"type", "message"}
        assert body["error"]["type"] == "invalid_request_error"
        assert "parameter_not_allowed" in body["error"]["message"]
    else:
        assert body == {
            "error": {
                "message": problem.message,
                "type": "invalid_request_error",
                "param": name,
                "code": "parameter_not_allowed",
            }
        }


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("model", [None, "", "  ", 7, "m" * 300, "a\nb", "a\x00", ["m"], {}])
def test_a_model_is_a_name(surface: Any, model: Any) -> None:
    assert refusal(surface, BODIES[surface] | {"model": model}).param == "model"


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("body", [None, [], "x", 7, {str(place): 1 for place in range(300)}])
def test_a_request_is_an_object_of_bounded_width(surface: Any, body: Any) -> None:
    assert refusal(surface, body if not body or type(body) is not dict else BODIES[surface] | body).status == 400


LIMITS = [
    (chat, "max_tokens"),
    (chat, "max_completion_tokens"),
    (completions, "max_tokens"),
    (messages, "max_tokens"),
    (responses, "max_output_tokens"),
]


@pytest.mark.parametrize(("surface", "name"), LIMITS)
@pytest.mark.parametrize("value", [-1, 0, 1_000_000_000, 1e9, 2.5, "9", True, [9]])
def test_a_limit_of_output_is_a_sane_number(surface: Any, name: str, value: Any) -> None:
    problem = refusal(surface, BODIES[surface] | {name: value})
    assert (problem.status, problem.param) == (400, name)


@pytest.mark.parametrize(("surface", "name"), LIMITS)
def test_what_is_asked_is_told_to_routing_and_money(surface: Any, name: str) -> None:
    asked = surface.check(BODIES[surface] | {name: 55, "stream": True, "stream_options": {"include_usage": True}})
    assert asked == Asked("m", is_stream=True, max_output_tokens=55, choices=1, wants_usage=True)


@pytest.mark.parametrize(
    ("surface", "more", "param"),
    [
        (chat, {"n": 1000}, "n"),
        (chat, {"n": 0}, "n"),
        (chat, {"n": True}, "n"),
        (completions, {"n": 1000}, "n"),
        (completions, {"best_of": 1000}, "best_of"),
        (chat, {"messages": HELLO * 10_000}, "messages"),
        (messages, {"messages": HELLO * 10_000}, "messages"),
        (responses, {"input": HELLO * 10_000}, "input"),
        (completions, {"prompt": ["x"] * 10_000}, "prompt"),
        (embeddings, {"input": ["x"] * 10_000}, "input"),
        (embeddings, {"input": [1] * 100_000}, "input"),
        (embeddings, {"input": ["x", 7]}, "input[1]"),
        (embeddings, {"input": []}, "input"),
        (embeddings, {"input": {"a": 1}}, "input"),
        (embeddings, {"dimensions": -1}, "dimensions"),
        (embeddings, {"encoding_format": "hex"}, "encoding_format"),
        (chat, {"messages": []}, "messages"),
        (chat, {"messages": None}, "messages"),
        (chat, {"messages": "Hello"}, "messages"),
        (chat, {"messages": ["Hello"]}, "messages"),
        (chat, {"messages": [{"content": "Hello"}]}, "messages[0].role"),
        (messages, {"messages": [{"role": "user"}]}, "messages[0].content"),
        (messages, {"max_tokens": None}, "max_tokens"),
        (responses, {"input": None}, "input"),
        (responses, {"input": 7}, "input"),
        (completions, {"prompt": None}, "prompt"),
        (completions, {"prompt": 7}, "prompt"),
        (chat, {"stream": "yes"}, "stream"),
        (chat, {"stream_options": []}, "stream_options"),
        (chat, {"stream_options": {"include_usage": 1}}, "include_usage"),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_name(surface: Any, more: dict[str, Any], param: str) -> None:
    problem = refusal(surface, BODIES[surface] | more)
    assert (problem.status, problem.param) == (400, param)


def test_several_answers_are_counted_for_the_budget() -> None:
    assert chat.check(BODIES[chat] | {"n": 4}).choices == 4
    assert completions.check(BODIES[completions] | {"n": 2, "best_of": 3, "prompt": ["a", "b"]}).choices == 6
    assert completions.check(BODIES[completions] | {"prompt": [1, 2, 3]}).choices == 1
    assert chat.check(BODIES[chat] | {"max_tokens": 5, "max_completion_tokens": 7}).max_output_tokens == 7


def nested(levels: int) -> Any:
    deep: Any = 1
    for place in range(levels):
        deep = [deep] if place % 2 else {"a": deep}
    return deep


@pytest.mark.parametrize("surface", SURFACES)
def test_hostile_bodies_take_little_time(surface: Any) -> None:
    began = time.process_time()
    refusal(surface, BODIES[surface] | {"vendor": nested(900)})
    surface.check(BODIES[surface] | {"vendor": nested(90)})
    wide = BODIES[surface] | {"vendor": [[{}] * 100] * 1_000}
    surface.check(wide)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("surface", SURFACES)
def test_unknown_parameters_pass_to_a_provider_that_speaks_the_same(surface: Any) -> None:
    body = BODIES[surface] | {"vendor_option": {"x": 1}}
    surface.check(body)
    before = dict(body)
    outgoing = surface.forward(body, model="real")
    assert (outgoing.path, outgoing.body) == (surface.PATH, before | {"model": "real"})
    assert body == before
    if surface in (chat, completions):
        sent = surface.forward(body | {"stream": True, "stream_options": {"x": 1}}, model="real").body
        assert sent["stream_options"] == {"x": 1, "include_usage": True}


@pytest.mark.parametrize(
    ("problem", "openai_type", "openai_code", "anthropic_type"),
    [
        (Problem(429, "insufficient_quota", "Spent."), "insufficient_quota", "insufficient_quota", "billing_error"),
        (Problem(429, "rate_limit_error", "Slow."), "rate_limit_error", "rate_limit_exceeded", "rate_limit_error"),
        (Problem(401, "authentication_error", "Who?"), "authentication_error", None, "authentication_error"),
        (
            Problem(404, "not_found_error", "?", code="model_not_found"),
            "invalid_request_error",
            "model_not_found",
            "not_found_error",
        ),
        (Problem(413, "request_too_large", "Big."), "invalid_request_error", None, "request_too_large"),
        (Problem(503, "overloaded_error", "Busy."), "server_error", None, "overloaded_error"),
        (Problem(504, "timeout_error", "Late."), "server_error", None, "timeout_error"),
        (Problem(502, "api_error", "Oops."), "server_error", None, "api_error"),
    ],
)
def test_problems_are_told_in_both_families_words(
    problem: Problem, openai_type: str, openai_code: str | None, anthropic_type: str
) -> None:
    error = chat.error_body(problem)["error"]
    assert (error["type"], error["code"], error["message"]) == (openai_type, openai_code, problem.message)
    body = messages.error_body(problem)
    if anthropic_type != "request_too_large":  # documented, but none of the official types
        TypeAdapter(anthropic.types.ErrorResponse).validate_python(body)
    assert body["error"]["type"] == anthropic_type
