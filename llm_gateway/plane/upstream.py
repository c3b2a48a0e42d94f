"""Upstream: connections to providers, at the addresses that were checked and no other.

One pooled session for all providers under the same rules: no redirects, no proxies, no cookies. What a name means is
looked up and checked in a thread, and again every CHECK_SECONDS beside the calls.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from llm_gateway.plane.catalog import Source
from llm_gateway.plane.posting import Poster
from moolai.errors import AppError
from orgs import destinations, outgoing

logger = logging.getLogger(__name__)
CHECK_SECONDS: Final = 30.0
STALE_SECONDS: Final = 120.0
CONNECT_SECONDS: Final = 5.0
KEEP_SECONDS: Final = 30.0
READ_BUFFER_BYTES: Final = 128 * 1024
MAX_SESSIONS: Final = 64
Rules = tuple[str, ...] | None


class NoAddress(Exception):
    """The provider's name has no address just now, or may not be called (any more)."""


class Checked(AbstractResolver):
    """Answers a name with the addresses that were checked for it, and nothing else."""

    def __init__(self) -> None:
        self.addresses: dict[tuple[str, int], tuple[str, ...]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a checked host (aiohttp)."""
        found = self.addresses.get((host, port), ())
        if not found:
            raise OSError("this host was not checked")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in found
        ]

    async def close(self) -> None:
        """There is nothing to close."""


class Line:
    """The session of all providers under the same rules."""

    def __init__(self, rules: Rules) -> None:
        self.rules, self.resolver = rules, Checked()
        self.checked_at: dict[str, float] = {}
        self.checking: dict[str, asyncio.Future[None]] = {}
        connector = aiohttp.TCPConnector(
            resolver=self.resolver, use_dns_cache=False, limit=0, keepalive_timeout=KEEP_SECONDS, ssl=outgoing.trust()
        )
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        self.session = Poster(connector, timeout=timeout, read_bytes=READ_BUFFER_BYTES)

    def is_ready(self, base_url: str) -> bool:
        """Whether the address was checked a moment ago."""
        checked_at = self.checked_at.get(base_url)
        return checked_at is not None and time.monotonic() - checked_at < CHECK_SECONDS

    async def ready(self, base_url: str, run: Callable[..., Any]) -> None:
        """See to it that the address was checked lately; raises NoAddress."""
        age = time.monotonic() - self.checked_at.get(base_url, -STALE_SECONDS)
        if age < CHECK_SECONDS:
            return
        work = self.checking.get(base_url)
        if work is None:
            work = self.checking[base_url] = asyncio.ensure_future(self._check(base_url, run))
            work.add_done_callback(lambda done: self._done(base_url, done))
        if age >= STALE_SECONDS:
            await asyncio.shield(work)

    def _done(self, base_url: str, done: "asyncio.Future[None]") -> None:
        self.checking.pop(base_url, None)
        if not done.cancelled() and done.exception() is not None:
            logger.info("a provider's address is not called: %s", done.exception())

    async def _check(self, base_url: str, run: Callable[..., Any]) -> None:
        try:
            found = await run(lambda: look_up(base_url, self.rules))
        except AppError as error:
            self.checked_at.pop(base_url, None)
            self._forget(base_url)
            raise NoAddress(error.detail) from None
        except destinations.Unresolved as error:
            raise NoAddress(str(error)) from None
        self.resolver.addresses[found.host, found.port] = found.addresses
        self.checked_at[base_url] = time.monotonic()

    def _forget(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        host, port = parts.hostname or "", parts.port or destinations.WEB.get(parts.scheme, 0)
        self.resolver.addresses.pop((host, port), None)


def look_up(base_url: str, rules: Rules) -> destinations.Destination:
    """Check an address as it is to be called now (blocking); raises what `destinations` does."""
    if rules is None:
        return destinations.trusted(base_url)
    return destinations.resolve(base_url, allowed_networks=rules)


def _close_soon(line: Line) -> None:
    task = asyncio.ensure_future(line.session.close())
    _closing.add(task)
    task.add_done_callback(_closing.discard)


_closing: set["asyncio.Future[None]"] = set()


class Lines:
    """The sessions of one event loop: one for nearly all, another for each set of networks that is allowed."""

    def __init__(self, run: Callable[..., Any]) -> None:
        self.run = run
        self._lines: dict[Rules, Line] = {}

    async def session(self, source: Source) -> Poster:
        """Return the session for a provider whose address is checked; raises NoAddress."""
        line = self._lines.get(source.networks)
        if line is not None and line.is_ready(source.base_url):
            return line.session
        if line is None:
            line = self._lines[source.networks] = Line(source.networks)
            await self._close_surplus()
        await line.ready(source.base_url, self.run)
        return line.session

    async def _close_surplus(self) -> None:
        while len(self._lines) > MAX_SESSIONS:
            oldest = self._lines.pop(next(rules for rules in self._lines if rules))
            asyncio.get_running_loop().call_later(600, _close_soon, oldest)

    async def close(self) -> None:
        """Close every connection."""
        for line in self._lines.values():
            await line.session.close()
        self._lines.clear()
