"""Pricing: what a provider's model costs, kept in memory; the published prices are read in a thread, once a day."""

import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from llm_gateway.hosts import OWNERS
from llm_gateway.money import prices
from llm_gateway.plane.routing import Target, family

DAY_SECONDS: Final = 86_400
MAX_KEPT: Final = 20_000
_NOT_TEXT: Final = re.compile(r"image|banana|audio|realtime|transcribe|tts|-live|robotics|vision|-$")
Overrides = Mapping[str, prices.UnitPrice]
Key = tuple[int, str, str, str]  # the day, the dialect, the model, the address where it is not the owner's


class Pricing:
    """The prices of one process; `run` works in a thread, `overrides` gives an organization's own."""

    def __init__(self, run: Callable[[Callable[[], Any]], Any], overrides: Callable[[str], Overrides]) -> None:
        self.run, self.overrides = run, overrides
        self._published: dict[Key, prices.UnitPrice | None] = {}
        self._models: dict[tuple[int, str], tuple[str, ...]] = {}

    def known(self, organization_id: str, target: Target) -> prices.UnitPrice | None:
        """Return what a target costs where that is in memory; None means to ask `of`."""
        source = target.source
        if source.is_local:
            return prices.LOCAL
        own = self.overrides(organization_id)
        if own and (found := own.get(f"{source.name}/{target.model}") or own.get(target.model)) is not None:
            return found
        return self._published.get(_key(target))

    async def of(self, organization_id: str, target: Target) -> prices.UnitPrice | None:
        """Return what a target costs an organization; None when nobody knows."""
        found = self.known(organization_id, target)
        return found if found is not None else await self._public(target)

    async def models(self, dialect: str) -> tuple[str, ...]:
        """Return the models for text that are published of a dialect's owner; none while they cannot be read."""
        key = int(time.time()) // DAY_SECONDS, dialect
        found = self._models.get(key)
        if found is None:
            try:
                found = await self.run(partial(_for_text, dialect))
            except TimeoutError:
                return ()
            self._models = {kept: names for kept, names in self._models.items() if kept[0] == key[0]} | {key: found}
        return found

    async def _public(self, target: Target) -> prices.UnitPrice | None:
        key = _key(target)
        if key not in self._published:
            if len(self._published) >= MAX_KEPT:
                self._published.clear()
            found = await self.run(partial(_look_up, *key[1:]))
            self._published[key] = found
        return self._published[key]


def _for_text(dialect: str) -> tuple[str, ...]:
    """Return the published models that a bare name leads to; those that make or take sound and pictures alone not."""
    return tuple(name for name in prices.models(dialect) if family(name) == dialect and not _NOT_TEXT.search(name))


def _key(target: Target) -> Key:
    source = target.source
    base_url = "" if source.base_url == OWNERS.get(source.dialect) else source.base_url
    return int(time.time()) // DAY_SECONDS, source.dialect, target.model, base_url


def _look_up(dialect: str, model: str, base_url: str) -> prices.UnitPrice | None:
    """Return the published price at the address, else that of the dialect's owner: a proxy sells what they do."""
    found = prices.find(dialect, model, {}, base_url=base_url)
    return found if found is not None or not base_url else prices.find(dialect, model, {})
