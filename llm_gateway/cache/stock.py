"""The stock: what a process has at hand, and what it shares with the others."""

import asyncio
import time
from collections.abc import Mapping

from django.conf import settings

from llm_gateway.cache import counts
from llm_gateway.cache.entries import Entry
from llm_gateway.cache.local import Local
from llm_gateway.cache.shared import Shared, forget


class Stock:
    """The entries of a process and those of all; lives on one event loop."""

    def __init__(self) -> None:
        self.local, self.shared = Local(settings.LLM_CACHE_BYTES), Shared(settings.REDIS_URL)
        self._barred: set[str] = set()

    async def get(self, key: str, *, organization_id: str, epoch: int, ttl_seconds: int) -> Entry | None:
        """Return a fresh entry and count the hit; None counts as a miss."""
        entry = self._known(key, organization_id, epoch, ttl_seconds)
        if entry is None and self.shared.is_awake:
            entry = await self.shared.get(key, organization_id=organization_id, epoch=epoch)
            if entry is not None and entry.is_fresh(time.time(), ttl_seconds=ttl_seconds):
                counts.add("shared_hits")
                self.local.put(key, entry)
            else:
                entry = None
        counts.add("misses" if entry is None else "hits")
        if entry is not None:
            counts.add("saved_usd_micros", entry.cost_usd_micros)
        return entry

    def _known(self, key: str, organization_id: str, epoch: int, ttl_seconds: int) -> Entry | None:
        entry = self.local.get(key)
        if entry is None or entry.organization_id != organization_id or entry.epoch != epoch:
            return None
        return entry if entry.is_fresh(time.time(), ttl_seconds=ttl_seconds) else None

    async def put(self, key: str, entry: Entry) -> None:
        """Keep an answer."""
        counts.add("stored")
        self.local.put(key, entry)
        if self.shared.is_awake:
            await self.shared.put(key, entry)

    async def keep(self, epochs: Mapping[str, int]) -> None:
        """Let go of what organizations emptied (`epochs` has those whose epoch is not 0) or may not keep (-1)."""
        self.local.keep(epochs)
        barred = {name for name, epoch in epochs.items() if epoch < 0}
        for name in barred - self._barred:
            await asyncio.to_thread(forget, name)
        self._barred = barred

    async def close(self) -> None:
        """Forget everything, and close the connections to Redis."""
        await self.shared.close()
