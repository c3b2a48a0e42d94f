"""Gaps: paths of OpenAI's API that a compatible server does not have, learned from its own refusals.

Such a call is translated into a chat completion instead, and so are the next ones for a while.
"""

import re
import time
from collections.abc import Callable
from typing import Final

from llm_gateway.hosts import OWNERS
from llm_gateway.plane.relay import Order
from llm_gateway.plane.routing import Target
from llm_gateway.problems import Problem

KEEP_SECONDS: Final = 600.0
MAX_KEPT: Final = 5_000
TRANSLATED: Final = frozenset({"/responses", "/completions"})
ABSENT: Final = frozenset({404, 405, 501})
# A 404 that names one of these is about the thing, not about the path.
_THINGS: Final = re.compile(r"model|deployment|previous|resp_|response (with|id)", re.IGNORECASE)
Gap = tuple[str, str, str]  # the provider, its address, the path


class Gaps:
    """What one process knows of the paths that providers lack."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        self._until: dict[Gap, float] = {}

    def apply(self, order: Order, target: Target) -> None:
        """Have an order translated for a provider that is known to lack its path."""
        if self._until and self._until.get(_gap(order, target), 0.0) > self.monotonic():
            order.translate(target)

    def learn(self, order: Order, target: Target, problem: Problem) -> bool:
        """Note that a provider lacks the order's path, if that is its problem; return whether to ask it again."""
        if problem.status not in ABSENT or order.surface.PATH not in TRANSLATED or not order.passes(target):
            return False
        if target.source.base_url == OWNERS["openai"]:
            return False
        if problem.status == 404 and (problem.param or _THINGS.search(f"{problem.message} {problem.code}")):
            return False
        if len(self._until) >= MAX_KEPT:
            self._until.clear()
        self._until[_gap(order, target)] = self.monotonic() + KEEP_SECONDS
        order.translate(target)
        return True


def _gap(order: Order, target: Target) -> Gap:
    return target.source.key, target.source.base_url, order.surface.PATH
