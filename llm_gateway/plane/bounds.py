"""Bounds: the most that a call may come to. It is reserved before anybody is asked."""

from llm_gateway.money import prices
from llm_gateway.plane.relay import CHARACTERS_PER_TOKEN, Order


def output_tokens(order: Order, price: prices.UnitPrice) -> int:
    """Return how many tokens all answers of a call may have."""
    asked = order.asked
    if order.is_embedding:
        return 0
    each = asked.max_output_tokens
    return asked.choices * (prices.unsaid(price) if each is None else each)


def usd_micros(order: Order, price: prices.UnitPrice) -> int:
    """Return the most that a call may cost in micro-dollars."""
    return prices.bound(order.size, output_tokens(order, price), price)


def tokens(order: Order) -> int:
    """Return the tokens that a call takes from what may be used in a minute."""
    output = 0 if order.is_embedding else (order.asked.max_output_tokens or 0) * order.asked.choices
    return -(-order.size // CHARACTERS_PER_TOKEN) + output
