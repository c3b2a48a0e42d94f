"""Pricing: what a provider's model costs, kept in memory; the published prices are read in a thread, once a day."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from llm_gateway.hosts import OWNERS
from llm_gateway.money import prices
from llm_gateway.plane.routing import Target

DAY_SECONDS: Final = 86_400
MAX_KEPT: Final = 20_000
Overrides = Mapping[str, prices.UnitPrice]


class Pricing:
    """The prices of one process; `run` works in a thread, `overrides` gives an organization's own."""

    def __init__(self, run: Callable[[Callable[[], Any]], Any], overrides: Callable[[str], Overrides]) -> None:
        self.run, self.overrides = run, overrides
        self._published: dict[tuple[int, str, str, str, str], prices.UnitPrice | None] = {}

    async def of(self, organization_id: str, target: Target) -> prices.UnitPrice | None:
        """Return what a target costs an organization; None when nobody knows."""
        source = target.source
        own = self.overrides(organization_id)
        found = own.get(f"{source.name}/{target.model}") or own.get(target.model)
        if found is not None:
            return found
        if source.is_local:
            return prices.LOCAL
        return await self._public(target)

    async def _public(self, target: Target) -> prices.UnitPrice | None:
        source = target.source
        base_url = "" if source.base_url == OWNERS.get(source.dialect) else source.base_url
        key = (int(time.time()) // DAY_SECONDS, source.dialect, target.model, base_url, source.name)
        if key not in self._published:
            if len(self._published) >= MAX_KEPT:
                self._published.clear()
            found = await self.run(lambda: _look_up(source.dialect, target.model, base_url))
            self._published[key] = found
        return self._published[key]


def _look_up(dialect: str, model: str, base_url: str) -> prices.UnitPrice | None:
    """Return the published price at the address, else that of the dialect's owner: a proxy sells what they do."""
    found = prices.find(dialect, model, {}, base_url=base_url)
    return found if found is not None or not base_url else prices.find(dialect, model, {})
