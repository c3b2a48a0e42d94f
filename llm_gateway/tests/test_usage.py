from typing import Any

import pytest
from anthropic.types import Usage as AnthropicUsage
from openai.types import CompletionUsage
from openai.types.responses import ResponseUsage

from llm_gateway import usage
from llm_gateway.tests import recorded
from llm_gateway.usage import Usage

pytestmark = pytest.mark.once

FULL = Usage(120, 45, cached_input_tokens=100, cache_write_tokens=10, reasoning_tokens=20)


def test_the_same_call_counts_the_same_whoever_tells_of_it() -> None:
    assert usage.of_anthropic(recorded.ANTHROPIC_ANSWER["usage"]) == FULL
    without_writes = Usage(120, 45, cached_input_tokens=100, reasoning_tokens=20)
    assert usage.of_openai(recorded.OPENAI_USAGE) == without_writes
    assert usage.of_google(recorded.GOOGLE_USAGE) == without_writes


def test_usage_survives_each_form_and_the_official_types_take_it() -> None:
    CompletionUsage.model_validate(FULL.to_openai(), strict=True)
    ResponseUsage.model_validate(FULL.to_responses(), strict=True)
    AnthropicUsage.model_validate(FULL.to_anthropic(), strict=True)
    assert usage.of_openai(FULL.to_openai()) == usage.of_openai(FULL.to_responses()) == FULL
    assert usage.of_anthropic(FULL.to_anthropic()) == Usage(120, 45, 100, 10)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135}, Usage(32, 103)),  # reasoning beside it
        ({"prompt_tokens": 8, "total_tokens": 8}, Usage(8, 0)),  # embeddings
        ({"prompt_tokens": 5, "completion_tokens": 2}, Usage(5, 2)),
        ({"prompt_tokens": 5.0, "completion_tokens": 2, "prompt_tokens_details": None}, Usage(5, 2)),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 99}}, Usage(5, 0, 5)),
        ({"prompt_tokens": -5, "completion_tokens": "7", "total_tokens": True}, None),
        ({"prompt_tokens": 1e300, "completion_tokens": 2**70}, None),
        ({}, None),
        ([], None),
        (None, None),
    ],
)
def test_counts_are_believed_only_when_they_are_counts(told: Any, expected: Usage | None) -> None:
    assert usage.of_openai(told) == expected


@pytest.mark.parametrize("told", [None, [], {}, "7", {"x": 1}])
def test_no_usage_is_none_not_zero(told: Any) -> None:
    assert usage.of_anthropic(told) is None
    assert usage.of_google(told) is None


def test_what_is_written_for_an_hour_is_a_part_of_what_is_written() -> None:
    told: dict[str, Any] = {"input_tokens": 5, "output_tokens": 2, "cache_creation_input_tokens": 100}
    parts = {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40}
    found = usage.of_anthropic(told | {"cache_creation": parts})
    assert found == Usage(105, 2, cache_write_tokens=100, cache_write_hour_tokens=40)
    assert usage.of_anthropic(told | {"cache_creation": {"ephemeral_1h_input_tokens": 400}}) == Usage(
        105, 2, cache_write_tokens=100, cache_write_hour_tokens=100
    )
    assert usage.of_anthropic(told | {"cache_creation": None}) == Usage(105, 2, cache_write_tokens=100)
    assert (Usage(cache_write_hour_tokens=3) + Usage(cache_write_hour_tokens=4)).cache_write_hour_tokens == 7
