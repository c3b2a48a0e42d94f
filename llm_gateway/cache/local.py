"""The entries that one process holds in memory: the ones used least lately go first when there are too many bytes."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from llm_gateway.cache import counts
from llm_gateway.cache.entries import Entry


class Local:
    """Entries by key, at most `max_bytes` of them; lives on one event loop. `clock` gives seconds since 1970."""

    def __init__(self, max_bytes: int, *, clock: Callable[[], float] = time.time) -> None:
        self.max_bytes, self.clock = max_bytes, clock
        self.bytes = 0
        self._entries: OrderedDict[str, Entry] = OrderedDict()

    def __len__(self) -> int:
        """Return how many entries there are."""
        return len(self._entries)

    def get(self, key: str) -> Entry | None:
        """Return the entry of a key, which now was used last; an old one goes."""
        found = self._entries.get(key)
        if found is None:
            return None
        if not found.is_fresh(self.clock(), ttl_seconds=found.ttl_seconds):
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return found

    def put(self, key: str, entry: Entry) -> None:
        """Keep an entry, and let go of those used least lately until it fits; one that can never fit is not kept."""
        self._drop(key)
        if entry.size > self.max_bytes:
            return
        self._entries[key] = entry
        self._count(1, entry.size)
        while self.bytes > self.max_bytes:
            self._drop(next(iter(self._entries)))
            counts.add("evicted")

    def keep(self, epochs: Mapping[str, int]) -> None:
        """Let go of what organizations emptied or may not keep: `epochs` has those that are not 0, -1 for nothing."""
        for key, entry in list(self._entries.items()):
            if entry.epoch != epochs.get(entry.organization_id, 0):
                self._drop(key)

    def _drop(self, key: str) -> None:
        found = self._entries.pop(key, None)
        if found is not None:
            self._count(-1, -found.size)

    def _count(self, entries: int, size: int) -> None:
        self.bytes += size
        counts.add("entries", entries)
        counts.add("bytes", size)
