"""Prices: what is known, what is not, overrides, tiers, and sums that are exact to the micro-dollar."""

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_gateway.money import prices, windows
from llm_gateway.money.prices import LOCAL, Rates, UnitPrice, UnknownPrice
from llm_gateway.plane.catalog import Source
from llm_gateway.plane.pricing import Pricing
from llm_gateway.plane.routing import Target

pytestmark = pytest.mark.once


@dataclass(frozen=True)
class Used:
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_hour_tokens: int = 0


rates = st.decimals(min_value=0, max_value=10_000, places=6)
tokens = st.integers(min_value=0, max_value=2_000_000)


@settings(max_examples=200, deadline=None)
@given(rates, rates, rates, rates, tokens, tokens, tokens, tokens)
def test_a_call_is_rounded_half_up_once(
    one: Decimal, two: Decimal, three: Decimal, four: Decimal, fresh: int, output: int, cached: int, written: int
) -> None:
    price = prices.of(one, two, cached_input_usd=three, cache_write_usd=four, source="organization")
    usage = Used(fresh + cached, output, cached, written)
    exact = sum(
        (Fraction(rate) * count for rate, count in ((one, fresh), (two, output), (three, cached), (four, written))),
        Fraction(0),
    )
    found = prices.cost(usage, price)
    assert found == floor(exact + Fraction(1, 2))
    assert prices.bound(fresh + cached + written, output, price) >= found


@pytest.mark.parametrize(("rate", "count", "micros"), [("0.5", 1, 1), ("0.5", 3, 2), ("0.4", 1, 0), ("0.499999", 1, 0)])
def test_half_a_micro_dollar_is_rounded_up(rate: str, count: int, micros: int) -> None:
    assert prices.cost(Used(count), prices.of(rate, "0", source="organization")) == micros


def test_published_prices_are_found_by_dialect_or_address() -> None:
    found = prices.find("openai", "gpt-4o", {})
    assert found is not None
    assert (found.input, found.output, found.cached_input) == (Decimal("2.5"), Decimal(10), Decimal("1.25"))
    assert (found.source, found.context_tokens) == ("genai-prices", 128_000)
    assert prices.find("openai", "gpt-4o", {}, base_url="https://api.openai.com/v1") == found
    assert prices.find("openai", "deepseek-chat", {}, base_url="https://api.deepseek.com/v1") is not None
    assert prices.cost(Used(1000, 500, 200), found) == 800 * 2.5 + 200 * 1.25 + 500 * 10


async def test_published_models_are_read_beside_the_loop_and_once() -> None:
    threads: list[str] = []

    async def run(work: Any) -> Any:
        threads.append("asked")
        if len(threads) == 1:
            raise TimeoutError
        return await asyncio.to_thread(work)

    pricing = Pricing(run, lambda _: {})
    assert await pricing.models("anthropic") == ()
    found = [await pricing.models("anthropic") for _ in range(3)]
    assert ("claude-sonnet-4-5" in found[0], found[0] is found[2], len(threads)) == (True, True, 2)
    assert not {"gpt-image-1", "whisper-1", "ada"} & set(await pricing.models("openai"))
    assert {"gpt-4o", "text-embedding-3-small", "o3"} <= set(await pricing.models("openai"))
    assert not [name for name in await pricing.models("google") if name.startswith("claude")]


def test_what_nobody_knows_is_refused_or_estimated_and_never_free() -> None:
    for model, base_url in (("no-such-model", ""), ("gpt-4o", "http://10.0.0.7:8000/v1")):
        assert prices.find("openai", model, {}, base_url=base_url) is None
    estimate = prices.of("15", "75", source="estimate")
    with pytest.raises(UnknownPrice):
        prices.known(None, policy="refuse", estimate=estimate)
    assert prices.known(None, policy="estimate", estimate=estimate) is estimate
    assert prices.known(LOCAL, policy="refuse", estimate=estimate) is LOCAL


def test_own_prices_count_before_published_ones_and_local_providers_cost_nothing() -> None:
    own, other = prices.of("1", "2", source="organization"), prices.of("3", "4", source="installation")
    overrides = {"gpt-4o": other, "mine/gpt-4o": own}
    assert prices.find("openai", "gpt-4o", overrides, provider="mine") is own
    assert prices.find("openai", "gpt-4o", overrides, provider="yours") is other
    assert prices.find("openai", "llama3", {}, is_local=True) is LOCAL
    assert prices.find("openai", "gpt-4o", overrides, is_local=True) is LOCAL
    assert prices.find("openai", "gpt-4o", overrides, provider="mine", is_local=True) is LOCAL
    home = Source("prv_1", "mine", "openai", "http://10.0.0.7/v1", "", is_local=True)
    assert Pricing(print, lambda _: overrides).known("acme", Target(home, "gpt-4o")) is LOCAL
    assert prices.cost(Used(10**6, 10**6), LOCAL) == 0
    assert prices.of("1", "2", source="organization") == UnitPrice(
        Decimal(1), Decimal(2), Decimal(1), Decimal(1), "organization"
    )


def test_a_large_call_costs_what_its_tier_says_for_all_its_tokens() -> None:
    found = prices.find("google", "gemini-2.5-pro", {})
    assert found is not None
    start, larger = found.tiers[0]
    assert isinstance(larger, Rates)
    assert larger.input > found.input
    assert prices.cost(Used(start), found) == start * found.input
    assert prices.cost(Used(start + 1), found) == floor((start + 1) * larger.input + Decimal("0.5"))
    assert prices.bound(start + 1, 10, found) >= prices.cost(Used(start + 1, 10), found)


def test_what_is_written_to_a_cache_for_an_hour_costs_twice_the_input() -> None:
    found = prices.find("anthropic", "claude-sonnet-4-5", {})
    assert found is not None
    assert found.cache_write == found.input * Decimal("1.25")
    assert prices.cost(Used(0, 0, 0, 1000), found) == 1250 * found.input
    assert prices.cost(Used(0, 0, 0, 1000, 400), found) == (600 * Decimal("1.25") + 400 * 2) * found.input
    own = prices.of("1", "2", cache_write_usd="3", source="organization")
    assert prices.cost(Used(0, 0, 0, 1000, 400), own) == 3000  # never less than the others
    assert prices.cost(Used(0, 0, 0, 1000, 400), LOCAL) == 0


def test_a_multiple_of_a_price_is_one_of_every_rate_in_every_tier() -> None:
    found = prices.find("google", "gemini-2.5-pro", {})
    assert found is not None
    dear = prices.times(found, 2)
    for used in (Used(10, 20), Used(300_000, 20, 1000, 500)):
        assert prices.cost(used, dear) == pytest.approx(2 * prices.cost(used, found), abs=1)
    assert (dear.source, dear.context_tokens) == ("estimate", found.context_tokens)


def test_windows_begin_at_utc_days_iso_weeks_and_months() -> None:
    saturday = 1_795_219_200  # 2026-11-21 00:00 UTC
    for window, start, end in (
        ("minute", saturday + 60, saturday + 120),
        ("day", saturday, saturday + 86_400),
        ("week", saturday - 5 * 86_400, saturday + 2 * 86_400),
        ("month", saturday - 20 * 86_400, saturday + 10 * 86_400),
        ("total", 0, windows.FOREVER),
    ):
        at = saturday + 61.5
        assert (windows.start(window, at), windows.end(window, at)) == (start, end)
        if window != "total":
            assert (windows.start(window, end), windows.start(window, end - 0.001)) == (end, start)
