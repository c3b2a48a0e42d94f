"""Pricing: what a provider's model costs, kept in memory; the published prices are read in a thread, once a day."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from llm_gateway.hosts import OWNERS
from llm_gateway.money import prices
from llm_gateway.plane.routing import Target

DAY_SECONDS: Final = 86_400
MAX_KEPT: Final = 20_000
Overrides = Mapping[str, prices.UnitPrice]
Key = tuple[int, str, str, str]  # the day, the dialect, the model, the address where it is not the owner's


class Pricing:
    """The prices of one process; `run` works in a thread, `overrides` gives an organization's own."""

    def __init__(self, run: Callable[[Callable[[], Any]], Any], overrides: Callable[[str], Overrides]) -> None:
        self.run, self.overrides = run, overrides
        self._published: dict[Key, prices.UnitPrice | None] = {}

    def known(self, organization_id: str, target: Target) -> prices.UnitPrice | None:
        """Return what a target costs where that is in memory; None means to ask `of`."""
        source = target.source
        own = self.overrides(organization_id)
        if own and (found := own.get(f"{source.name}/{target.model}") or own.get(target.model)) is not None:
            return found
        return prices.LOCAL if source.is_local else self._published.get(_key(target))

    async def of(self, organization_id: str, target: Target) -> prices.UnitPrice | None:
        """Return what a target costs an organization; None when nobody knows."""
        found = self.known(organization_id, target)
        return found if found is not None else await self._public(target)

    async def _public(self, target: Target) -> prices.UnitPrice | None:
        key = _key(target)
        if key not in self._published:
            if len(self._published) >= MAX_KEPT:
                self._published.clear()
            found = await self.run(partial(_look_up, *key[1:]))
            self._published[key] = found
        return self._published[key]


def _key(target: Target) -> Key:
    source = target.source
    base_url = "" if source.base_url == OWNERS.get(source.dialect) else source.base_url
    return int(time.time()) // DAY_SECONDS, source.dialect, target.model, base_url


def _look_up(dialect: str, model: str, base_url: str) -> prices.UnitPrice | None:
    """Return the published price at the address, else that of the dialect's owner: a proxy sells what they do."""
    found = prices.find(dialect, model, {}, base_url=base_url)
    return found if found is not None or not base_url else prices.find(dialect, model, {})
