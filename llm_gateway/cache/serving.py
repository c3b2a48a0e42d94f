"""Serving: look for an answer before a provider is asked, give it, and keep a new one after."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from llm_gateway.cache import folding, keys, policy, replaying
from llm_gateway.cache.entries import MAX_BYTES, Entry
from llm_gateway.plane.accounts import COMPLETED
from llm_gateway.plane.calls import COST, PROVIDER
from llm_gateway.plane.exchange import EVENTS, JSON

if TYPE_CHECKING:
    from llm_gateway.plane.accounts import Account
    from llm_gateway.plane.exchange import Exchange
    from llm_gateway.plane.planes import Plane
    from llm_gateway.plane.relay import Order
    from llm_gateway.plane.routing import Target

T = TypeVar("T")
HEAVY_BYTES: Final = 64 * 1024  # a stream beyond it is folded, an answer replayed, in a thread
STAMPS: Final = (b"anthropic-version", b"anthropic-beta", b"openai-beta")  # headers that change answers


@dataclass(frozen=True, slots=True)
class Wish:
    """A call that the cache may answer: under which key, and how old the answer may be."""

    key: str
    organization_id: str
    epoch: int
    ttl_seconds: int


def wish(plane: "Plane", exchange: "Exchange", order: "Order", targets: Sequence["Target"]) -> Wish | None:
    """Return what the cache is asked for, None for a call that it has nothing to do with; raises Refused."""
    organization_id, catalog = exchange.organization_id, plane.catalog
    rule = catalog.caching.get(organization_id, policy.NO_RULE)
    seconds = policy.ttl_seconds(exchange, rule)
    if not rule.models and policy.SWITCH not in exchange.headers:
        return None
    if not policy.wanted(exchange, rule, order.asked.model, targets) or order.size > keys.MAX_BYTES:
        return None
    if not policy.allowed(catalog, organization_id):
        return None
    key = keys.of(
        organization_id,
        order.surface.PATH,
        order.body,
        model=order.asked.model,
        places=[f"{target.source.key} {target.source.base_url} {target.model}" for target in targets],
        stamp=" ".join(
            [order.stamp, *(f"{name!r}={exchange.headers[name]!r}" for name in STAMPS if name in exchange.headers)]
        ),
    )
    return Wish(key, organization_id, rule.epoch, seconds) if key else None


async def find(plane: "Plane", wish: Wish) -> Entry | None:
    """Return the answer that is kept, None without one."""
    return await plane.stock.get(
        wish.key, organization_id=wish.organization_id, epoch=wish.epoch, ttl_seconds=wish.ttl_seconds
    )


def origin(entry: Entry, targets: Sequence["Target"]) -> "Target":
    """Return who gave an answer: the key holds where the call may go, so it is one of these."""
    named = (one for one in targets if (one.source.name, one.model) == (entry.provider, entry.model))
    return next(named, targets[0])


async def serve(
    exchange: "Exchange",
    order: "Order",
    account: "Account",
    entry: Entry,
    *,
    target: "Target",
    envelop: Callable[[bytes, "Target"], bytes] | None,
) -> None:
    """Give a kept answer, as a whole or told as a stream, and close its account."""
    try:
        account.first_token()
        headers = [
            (PROVIDER, entry.provider.encode()),
            (b"x-moolai-cached", b"true"),
            (COST, b"0.000000"),
        ]
        if order.asked.is_stream:
            told = await _aside(len(entry.content), lambda: _told(order, entry))
            await exchange.begin(200, [EVENTS, *headers])
            await exchange.write(told)
            await exchange.end()
        else:
            content = entry.content if envelop is None else envelop(entry.content, target)
            await exchange.answer(200, content, [JSON, *headers])
    except BaseException:
        account.fail("interrupted")
        raise
    finally:
        account.close()


async def keep(plane: "Plane", wish: Wish, order: "Order", account: "Account") -> None:
    """Keep the answer that a client was just given, when it is whole, can be told again, and its call ended well."""
    target, content = account.target, order.recording.content if order.recording else None
    if account.status != COMPLETED or target is None or content is None:
        return
    if order.asked.is_stream:
        usage = None if account.is_estimated else account.usage
        sent = content
        folded = await _aside(len(sent), lambda: folding.fold(order.surface.PATH, sent, usage=usage))
        if folded is None or len(folded) > MAX_BYTES:
            return
        content = folded
    if not replaying.may_replay(content):
        return
    entry = Entry(
        organization_id=wish.organization_id,
        epoch=wish.epoch,
        provider=target.source.name,
        model=target.model,
        cost_usd_micros=account.cost_usd_micros,
        stored_at=time.time(),
        ttl_seconds=wish.ttl_seconds,
        content=content,
    )
    is_current = plane.catalog.caching.get(wish.organization_id, policy.NO_RULE).epoch == wish.epoch
    if is_current and policy.allowed(plane.catalog, wish.organization_id):
        await plane.stock.put(wish.key, entry)


def _told(order: "Order", entry: Entry) -> bytes:
    return replaying.replay(order.surface.PATH, entry.content, wants_usage=order.asked.wants_usage)


async def _aside(size: int, work: Callable[[], T]) -> T:
    return work() if size <= HEAVY_BYTES else await asyncio.to_thread(work)
