"""Prices: what a model's tokens cost, and one call's cost; pure, from the offline data of genai-prices.

Money is micro-dollars: tokens times dollars per million of them. Each call is rounded once, half up, from whole
numbers: those of a price over one denominator. A price that nobody knows is refused or estimated, never nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Protocol

HOUR_TIMES: Final = 2


class Used(Protocol):
    """The tokens of a call: `cached_input_tokens` are part of `input_tokens`, `cache_write_tokens` are not.

    `cache_write_hour_tokens` are a part of the last, which the cache keeps for an hour.
    """

    @property
    def input_tokens(self) -> int: ...  # noqa: D102 — named by what it is
    @property
    def output_tokens(self) -> int: ...  # noqa: D102
    @property
    def cached_input_tokens(self) -> int: ...  # noqa: D102
    @property
    def cache_write_tokens(self) -> int: ...  # noqa: D102
    @property
    def cache_write_hour_tokens(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Rates:
    """Dollars per million tokens."""

    input: Decimal
    output: Decimal
    cached_input: Decimal
    cache_write: Decimal
    whole: tuple[int, int, int, int, int] = field(init=False, repr=False, compare=False)
    """The four times the fifth, which makes whole numbers of them."""

    def __post_init__(self) -> None:
        """Bring the rates to one denominator, for exact sums that are quick."""
        ratios = [rate.as_integer_ratio() for rate in (self.input, self.output, self.cached_input, self.cache_write)]
        scale = math.lcm(*(below for _, below in ratios))
        whole = tuple(above * (scale // below) for above, below in ratios)
        object.__setattr__(self, "whole", (*whole, scale))


@dataclass(frozen=True, slots=True)
class UnitPrice(Rates):
    """What a model's tokens cost, and where that is from.

    `source` is `organization`, `installation`, `genai-prices`, `estimate` or `local`. `tiers` are (tokens, rates),
    ascending: rates that hold for all tokens of a call whose input is larger than that.
    """

    source: str
    tiers: tuple[tuple[int, Rates], ...] = ()
    context_tokens: int | None = None

    def at(self, input_tokens: int) -> Rates:
        """Return the rates for a call of this size."""
        found: Rates = self
        for start, rates in self.tiers:
            if input_tokens > start:
                found = rates
        return found


class UnknownPrice(Exception):
    """Nobody knows what the model costs, and the policy is to refuse such calls."""


_NOTHING: Final = Decimal(0)
LOCAL: Final = UnitPrice(_NOTHING, _NOTHING, _NOTHING, _NOTHING, "local")


def of(
    input_usd: Decimal | str,
    output_usd: Decimal | str,
    *,
    cached_input_usd: Decimal | str | None = None,
    cache_write_usd: Decimal | str | None = None,
    source: str,
) -> UnitPrice:
    """Return a price from dollars per million tokens; cached and written tokens cost what input does unless said."""
    plain = Decimal(input_usd)
    cached, write = (plain if price is None else Decimal(price) for price in (cached_input_usd, cache_write_usd))
    return UnitPrice(plain, Decimal(output_usd), cached, write, source)


def find(
    dialect: str,
    model: str,
    overrides: Mapping[str, UnitPrice],
    *,
    base_url: str = "",
    provider: str = "",
    is_local: bool = False,
) -> UnitPrice | None:
    """Return what a model of a provider costs, None when nobody knows.

    A local provider costs nothing, whatever is entered. Then an override counts, by `provider/model`, then by the model
    alone; then comes what genai-prices knows of the provider at `base_url` (the dialect's own without one). The first
    call loads its data, which takes a second: not on an event loop.
    """
    if is_local:
        return LOCAL
    override = overrides.get(f"{provider}/{model}") or overrides.get(model)
    return override if override is not None else _published(dialect, model, base_url, _today())


def models(dialect: str) -> tuple[str, ...]:
    """Return the models that genai-prices knows of a dialect's owner, by name; loads its data as `find` does."""
    return _models(dialect, _today())


@lru_cache(maxsize=16)
def _models(dialect: str, day: int) -> tuple[str, ...]:
    from genai_prices import data_snapshot  # as in `_published`

    found = (one for one in data_snapshot.get_snapshot().providers if one.id == dialect)
    return tuple(sorted({model.id for one in found for model in one.models}))


def _today() -> int:
    return datetime.now(UTC).date().toordinal()


@lru_cache(maxsize=4096)
def _published(dialect: str, model: str, base_url: str, day: int) -> UnitPrice | None:
    """Return what genai-prices says of a model on that day; a price of nothing counts as unknown."""
    from genai_prices import data_snapshot  # a second and 30 MB, needed where a price is looked up alone

    snapshot = data_snapshot.get_snapshot()
    try:
        if base_url:
            _, found = snapshot.find_provider_model(model, None, None, base_url)
        else:
            _, found = snapshot.find_provider_model(model, None, dialect, None)
    except LookupError:
        return None
    table = found.get_prices(datetime.now(UTC))
    price = _read(table, context_tokens=found.context_window)
    return price if price is not None and (price.input or price.output) else None


def _read(table: Any, *, context_tokens: int | None) -> UnitPrice | None:
    """Return the price in a table of genai-prices."""
    given = table.input_mtok
    if given is None:
        return None
    parts = (
        given,
        table.output_mtok or _NOTHING,
        _or(table.cache_read_mtok, given),
        _or(table.cache_write_mtok, given),
    )
    starts = sorted({tier.start for part in parts for tier in getattr(part, "tiers", ())})
    tiers = tuple((start, Rates(*(_rate(part, start + 1) for part in parts))) for start in starts)
    flat = Rates(*(_rate(part, 0) for part in parts))
    rates = (flat.input, flat.output, flat.cached_input, flat.cache_write)
    return UnitPrice(*rates, source="genai-prices", tiers=tiers, context_tokens=context_tokens)


def _or(part: Any, other: Any) -> Any:
    return other if part is None else part


def _rate(part: Any, input_tokens: int) -> Decimal:
    """Return the rate for a call of that size: the highest tier it is in counts for all its tokens."""
    if isinstance(part, Decimal):
        return part
    reached = [tier.price for tier in part.tiers if input_tokens > tier.start]
    return Decimal(reached[-1] if reached else part.base)


def known(price: UnitPrice | None, *, policy: str, estimate: UnitPrice) -> UnitPrice:
    """Return the price, or by the policy `estimate` what is assumed; raises UnknownPrice under `refuse`."""
    if price is not None:
        return price
    if policy == "estimate":
        return estimate
    raise UnknownPrice


def times(price: UnitPrice, factor: int) -> UnitPrice:
    """Return what is assumed of something that costs a multiple of a price."""
    tiers = tuple((start, Rates(*_multiplied(rates, factor))) for start, rates in price.tiers)
    return UnitPrice(*_multiplied(price, factor), source="estimate", tiers=tiers, context_tokens=price.context_tokens)


def _multiplied(rates: Rates, factor: int) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    return factor * rates.input, factor * rates.output, factor * rates.cached_input, factor * rates.cache_write


def cost(usage: Used, price: UnitPrice) -> int:
    """Return what a call cost in micro-dollars, rounded half up once.

    What a cache keeps for an hour costs HOUR_TIMES the input, as Anthropic publishes it; price lists do not say that.
    """
    plain, output, cached_input, cache_write, scale = price.at(usage.input_tokens + usage.cache_write_tokens).whole
    cached = min(usage.cached_input_tokens, usage.input_tokens)
    exact = plain * (usage.input_tokens - cached) + output * usage.output_tokens
    exact += cached_input * cached + cache_write * usage.cache_write_tokens
    exact += max(0, HOUR_TIMES * plain - cache_write) * usage.cache_write_hour_tokens
    return (2 * exact + scale) // (2 * scale)


def bound(input_tokens: int, output_tokens: int, price: UnitPrice) -> int:
    """Return the most that so many tokens may cost in micro-dollars: each at the highest rate."""
    most = _bound(price, input_tokens, output_tokens)
    for start, rates in price.tiers:
        if input_tokens > start:
            most = max(most, _bound(rates, input_tokens, output_tokens))
    return most


def _bound(rates: Rates, input_tokens: int, output_tokens: int) -> int:
    plain, output, cached_input, cache_write, scale = rates.whole
    return -(-(max(plain, cached_input, cache_write) * input_tokens + output * output_tokens) // scale)
