"""Bounds: the most that a call may come to. It is reserved before anybody is asked."""

from llm_gateway.money import prices
from llm_gateway.plane.relay import CHARACTERS_PER_TOKEN, Order


def usd_micros(order: Order, price: prices.UnitPrice) -> int:
    """Return the most that a call may cost in micro-dollars."""
    asked = order.asked
    if order.is_embedding:
        return prices.bound(order.size, 0, price)
    if asked.max_output_tokens is not None:
        return prices.bound(order.size, asked.max_output_tokens * asked.choices, price)
    return prices.bound(order.size, None, price) * asked.choices


def tokens(order: Order) -> int:
    """Return the tokens that a call takes from what may be used in a minute."""
    output = 0 if order.is_embedding else (order.asked.max_output_tokens or 0) * order.asked.choices
    return -(-order.size // CHARACTERS_PER_TOKEN) + output
