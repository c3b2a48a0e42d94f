"""Event streams: 1,000 subscribers of one process, and one change to all of them, beside bare StreamWriters."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from benchmarks.generator import cores, on_core
from benchmarks.report import Report
from benchmarks.stage import Product, Stage, usage

ORCHESTRATOR = "bench-streams"
UNCOUNTED = {"RATE_LIMIT_API": "1000000/minute", "STREAMS_PER_CALLER": "10000"}  # the limits stay in the path
AT_ONCE = 20
SETTLE_SECONDS = 5.0
Change = Callable[[int], Awaitable[bytes]]


@dataclass
class Listener(asyncio.Protocol):
    """A subscriber: notes when the bytes it waits for arrive."""

    request: bytes
    open: asyncio.Event = field(default_factory=asyncio.Event)
    wanted: bytes = b""
    buffer: bytes = b""
    heard_at: float = 0.0
    on_heard: Callable[[], None] = lambda: None

    def connection_made(self, transport: Any) -> None:
        """Ask for the stream."""
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Look for what is waited for."""
        self.open.set()
        self.buffer = self.buffer[-400:] + data
        if self.wanted and self.wanted in self.buffer:
            self.heard_at, self.wanted, self.buffer = time.perf_counter(), b"", b""
            self.on_heard()


@dataclass
class Found:
    """What one server showed."""

    memory_kib: float
    idle_percent: float
    busy_ms: float  # CPU of the server for one change to all
    times_ms: list[float]

    def quantile(self, percent: int) -> float:
        """Return a quantile of the delivery times."""
        return statistics.quantiles(self.times_ms, n=100)[percent - 1]


def measure(stage: Stage, *, is_quick: bool) -> Report:
    """Open the subscribers, look at the server while nothing happens, then change one thing again and again."""
    count, changes, seconds = (200, 5, 5) if is_quick else (1_000, 40, 30)
    report = Report(f"Event streams: {count:,} subscribers of one process, {changes} changes to all of them")
    product = stage.product("streams", env=UNCOUNTED)
    bare = stage.baseline("writers")
    sizes = {"count": count, "changes": changes, "seconds": seconds}
    with on_core(cores()[1]):
        ours = asyncio.run(_product(product, **sizes))
        theirs = asyncio.run(_bare(bare.port, bare.pid, **sizes))
    _tell(report, ours, theirs)
    return report


def _tell(report: Report, ours: Found, theirs: Found) -> None:
    for name, found in (("moolai", ours), ("bare writers", theirs)):
        p50, p99 = found.quantile(50), found.quantile(99)
        report.rounds[name] = [{"memory_kib": found.memory_kib, "p50_ms": p50, "p99_ms": p99}]
        report.add(f"{name}: memory of a subscriber", found.memory_kib, "KiB")
        report.add(f"{name}: CPU while nothing happens", found.idle_percent, "% of a core")
        report.add(f"{name}: CPU of one change to all", found.busy_ms, "ms")
        report.add(f"{name}: from the call to the event, p50", p50, "ms")
        report.add(f"{name}: from the call to the event, p99", p99, "ms")
    report.add("memory, moolai : bare", ours.memory_kib / theirs.memory_kib, "x")
    report.add("CPU of one change, moolai : bare", ours.busy_ms / theirs.busy_ms, "x")
    report.add("p99, moolai : bare", ours.quantile(99) / theirs.quantile(99), "x")


async def _product(product: Product, **sizes: int) -> Found:
    port, bearer = product.server.port, {"Authorization": f"Bearer {product.api_secret}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=bearer) as http:
        body = {"orchestrator_id": ORCHESTRATOR, "organization_id": "bench", "name": "Streams"}
        async with http.post("/api/v1/controller/orchestrators", json=body) as answer:
            answer.raise_for_status()

        async def toggle(number: int) -> bytes:
            is_on = number % 2 == 0
            path = f"/api/v1/internal/orchestrators/{ORCHESTRATOR}/independence"
            async with http.put(path, json={"is_independent": is_on}) as answer:
                answer.raise_for_status()
            return b""

        request = f"GET /api/v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {bearer['Authorization']}\r\n\r\n"
        await _listen(port, request.encode(), count=20)  # what the first of them import is not booked to the others
        words = (b'"is_independent":true', b'"is_independent":false')
        return await _run(port, product.server.pid, request.encode(), toggle, words, **sizes)


async def _bare(port: int, pid: int, **sizes: int) -> Found:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:

        async def change(number: int) -> bytes:
            async with http.get(f"/change?{'on' if number % 2 == 0 else 'off'}{'x' * 400}") as answer:
                return await answer.read()

        request = b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        return await _run(port, pid, request, change, (b"onx", b"offx"), **sizes)


async def _listen(port: int, request: bytes, *, count: int) -> list[Listener]:
    """Open subscribers, a few at a time, and wait until each has heard something."""
    loop, room = asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE)

    async def one() -> Listener:
        async with room:
            _, listener = await loop.create_connection(lambda: Listener(request), "127.0.0.1", port)
            await asyncio.wait_for(listener.open.wait(), 60)
            return listener

    return list(await asyncio.gather(*(one() for _ in range(count))))


async def _run(
    port: int, pid: int, request: bytes, change: Change, words: tuple[bytes, bytes], *, count: int, changes: int,
    seconds: int,
) -> Found:  # fmt: skip
    await asyncio.sleep(2)
    empty = usage(pid, now=time.monotonic())
    listeners = await _listen(port, request, count=count)
    await asyncio.sleep(SETTLE_SECONDS)
    quiet = usage(pid, now=time.monotonic())
    await asyncio.sleep(seconds)
    before = usage(pid, now=time.monotonic())
    times: list[float] = []
    for number in range(changes):
        times += await _change(listeners, change, number, words[number % 2])
    after = usage(pid, now=time.monotonic())
    return Found(
        memory_kib=(quiet.resident_bytes - empty.resident_bytes) / 1024 / count,
        idle_percent=(before.cpu_seconds - quiet.cpu_seconds) / (before.at - quiet.at) * 100,
        busy_ms=(after.cpu_seconds - before.cpu_seconds) / changes * 1000,
        times_ms=times,
    )


async def _change(listeners: list[Listener], change: Change, number: int, wanted: bytes) -> list[float]:
    """Make one change; return how long after the call's beginning each subscriber had it, in ms."""
    done, left = asyncio.Event(), len(listeners)

    def heard() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    for listener in listeners:
        listener.wanted, listener.on_heard = wanted, heard
    began = time.perf_counter()
    await change(number)
    await asyncio.wait_for(done.wait(), 30)
    await asyncio.sleep(0.3)
    return [(listener.heard_at - began) * 1000 for listener in listeners]
