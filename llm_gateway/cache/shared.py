"""The entries that all web processes share, in Redis; without one, or while it is silent, there are simply none.

All entries of an installation together keep to LLM_CACHE_SHARED_BYTES: those that end soonest go first. Redis holds
answers as they are; the questions are digests.
"""

import hashlib
import logging
import time
from typing import Any, Final

import redis
from django.conf import settings
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from llm_gateway.cache.entries import Entry, pack, unpack

logger = logging.getLogger(__name__)
TIMEOUT_SECONDS: Final = 0.25
PAUSE_SECONDS: Final = 5.0
AWAY: Final = (redis.RedisError, OSError, ValueError, RuntimeError)  # redis-py's words for a connection that is gone
# KEYS: entry, index (entry → when it ends), sizes (entry → bytes), total. ARGV: value, size, ttl, ends at, now, most.
PUT: Final = """
local function forget(key)
  redis.call('DECRBY', KEYS[4], redis.call('HGET', KEYS[3], key) or 0)
  redis.call('HDEL', KEYS[3], key)
  redis.call('ZREM', KEYS[2], key)
end
for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[5], 'LIMIT', 0, 100)) do forget(key) end
if redis.call('ZSCORE', KEYS[2], KEYS[1]) then forget(KEYS[1]) end
local size, most = tonumber(ARGV[2]), tonumber(ARGV[6])
while size + tonumber(redis.call('GET', KEYS[4]) or 0) > most do
  local first = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
  if not first then redis.call('DEL', KEYS[3], KEYS[4]) break end
  redis.call('UNLINK', first)
  forget(first)
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[4], KEYS[1])
redis.call('HSET', KEYS[3], KEYS[1], size)
redis.call('INCRBY', KEYS[4], size)
return 1
"""


class Shared:
    """Redis as one process of the data plane sees it; lives on one event loop."""

    def __init__(self, url: str) -> None:
        self._redis: Any = None
        self._asleep_until = 0.0 if url and settings.LLM_CACHE_SHARED_BYTES else float("inf")
        if url:
            pool = BlockingConnectionPool.from_url(  # who finds all of them busy waits for one
                url,
                socket_timeout=TIMEOUT_SECONDS,
                socket_connect_timeout=TIMEOUT_SECONDS,
                retry=Retry(NoBackoff(), 0),
                max_connections=64,
                timeout=TIMEOUT_SECONDS,
            )
            self._redis = Redis.from_pool(pool)

    @property
    def is_awake(self) -> bool:
        """Whether it is asked: not without a Redis, and not for some seconds after one failed."""
        return time.monotonic() >= self._asleep_until

    async def get(self, key: str, *, organization_id: str, epoch: int) -> Entry | None:
        """Return an organization's entry, None where there is none or nobody to ask."""
        if not self.is_awake:
            return None
        try:
            data = await self._redis.get(_name(organization_id, epoch, key))
        except AWAY:
            self._sleep()
            return None
        entry = unpack(data) if data else None
        if entry is None or entry.organization_id != organization_id or entry.epoch != epoch:
            return None
        return entry

    async def put(self, key: str, entry: Entry) -> None:
        """Share an entry; when that fails, other processes ask the provider themselves."""
        if not self.is_awake or entry.size > settings.LLM_CACHE_SHARED_BYTES:
            return
        now = time.time()
        seconds = max(1, int(entry.ttl_seconds))
        names = [_name(entry.organization_id, entry.epoch, key), *_books()]
        values = [pack(entry), entry.size, seconds, now + seconds, now, settings.LLM_CACHE_SHARED_BYTES]
        try:
            await self._redis.eval(PUT, len(names), *names, *values)
        except AWAY:
            self._sleep()

    async def close(self) -> None:
        """Close the connections."""
        if self._redis is not None:
            await self._redis.aclose()

    def _sleep(self) -> None:
        self._asleep_until = time.monotonic() + PAUSE_SECONDS
        logger.warning("Redis does not answer: each web process caches for itself")


def forget(organization_id: str) -> None:
    """Delete all shared entries of an organization (from a thread); what cannot be deleted now ends by itself.

    Nobody finds it in either case: its epoch is over.
    """
    if not settings.REDIS_URL:
        return
    index, sizes, total = _books()
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5.0, socket_connect_timeout=1.0) as client:
            for name, _ in client.zscan_iter(index, match=f"{_prefix(organization_id)}*", count=1000):
                size = int(client.hget(sizes, name) or 0)
                client.pipeline().unlink(name).hdel(sizes, name).zrem(index, name).decrby(total, size).execute()
    except AWAY:
        logger.warning("the shared cache of an organization could not be emptied: its entries end by themselves")


def _prefix(organization_id: str) -> str:
    """Return how the names of an organization's entries begin: an id may hold what a pattern takes for a wildcard."""
    return f"{settings.CHANNEL_PREFIX}.cache.{hashlib.sha256(organization_id.encode()).hexdigest()[:32]}."


def _name(organization_id: str, epoch: int, key: str) -> str:
    return f"{_prefix(organization_id)}{epoch}.{key}"


def _books() -> tuple[str, str, str]:
    """Return the names of the index, the sizes and the total."""
    root = f"{settings.CHANNEL_PREFIX}.cache"
    return f"{root}-index", f"{root}-sizes", f"{root}-bytes"
