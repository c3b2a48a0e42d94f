"""Bounds: the most that a call may come to. It is reserved before anybody is asked."""

from django.conf import settings

from llm_gateway import references
from llm_gateway.money import prices
from llm_gateway.plane.relay import CHARACTERS_PER_TOKEN, Order
from llm_gateway.surfaces.limits import MAX_OUTPUT_TOKENS


def input_tokens(order: Order, price: prices.UnitPrice) -> int:
    """Return how many tokens a call may send: every byte is one; what is named fills the context at most."""
    named = references.tokens(order.body)
    return order.size + (min(named, price.context_tokens or named) if named else 0)


def output_tokens(order: Order, price: prices.UnitPrice) -> int:
    """Return how many tokens all answers of a call may have; one whose caller does not say may become longer."""
    if order.is_embedding:
        return 0
    each = order.asked.max_output_tokens
    if each is None:
        each = min(price.context_tokens or MAX_OUTPUT_TOKENS, settings.LLM_RESERVE_OUTPUT_TOKENS)
    return each * order.asked.choices


def usd_micros(order: Order, price: prices.UnitPrice) -> int:
    """Return the most that a call may cost in micro-dollars."""
    return prices.bound(input_tokens(order, price), output_tokens(order, price), price)


def tokens(order: Order) -> int:
    """Return the tokens that a call takes from what may be used in a minute."""
    output = 0 if order.is_embedding else (order.asked.max_output_tokens or 0) * order.asked.choices
    return -(-order.size // CHARACTERS_PER_TOKEN) + output
