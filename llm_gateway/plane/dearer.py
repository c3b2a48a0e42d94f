"""Dearer: what a request may ask of a provider at a multiple of the model's price, which price lists leave out."""

from typing import Final, NamedTuple

from llm_gateway.plane.relay import Order
from llm_gateway.plane.routing import Target


class Dearer(NamedTuple):
    """A parameter, its value, and how many times the price it costs at most."""

    name: str
    value: str
    times: int


# OpenAI's priority processing is published at 1.7 to 2 times the price, Anthropic's fast mode at 6 times.
KNOWN: Final = (Dearer("service_tier", "priority", 2), Dearer("speed", "fast", 6))


def found(order: Order, target: Target) -> Dearer | None:
    """Return what a target is asked for that is dearer; what is translated for it leaves all of these out."""
    if not order.passes(target):
        return None
    return next((one for one in KNOWN if order.body.get(one.name) == one.value), None)
