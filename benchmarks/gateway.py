"""The gateway beside a bare ASGI application that passes the same calls on with aiohttp, both on one core.

The provider answers at once (`baselines provider`), and shares the other core with the generator. The product's call
has its key checked, a budget and limits reserved, a price looked up, and stands in the ledger. CPU time per call says
what a noisy machine does not change.
"""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any, Final

import uvloop

from benchmarks.generator import cores, on_core
from benchmarks.report import Report
from benchmarks.stage import Stage, usage

MODEL: Final = "gpt-4o-mini"
BODY: Final[dict[str, Any]] = {"model": MODEL, "messages": [{"role": "user", "content": "How are you?"}]}
LIMITS: Final = """
from orgs import spending
from orgs.models import Organization
spending.put(Organization.objects.get(pk="bench"), acting_user=None, budget_usd=1000, requests_per_minute=100000000)
"""
SIZES: Final = ((1, False), (16, False), (64, False), (16, True))
ROUNDS: Final = 3


@dataclass
class Round:
    """What one round of calls came to."""

    calls: int = 0
    failed: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    times_ms: list[float] = field(default_factory=list)

    def as_json(self) -> dict[str, float]:
        """Return the figures."""
        times = sorted(self.times_ms) or [0.0]
        return {
            "calls_per_second": self.calls / self.seconds,
            "cpu_us_per_call": self.cpu_seconds / max(1, self.calls) * 1e6,
            "p50_ms": times[len(times) // 2],
            "failed": self.failed,
        }


class Client(asyncio.Protocol):
    """One connection that makes a call as soon as the last one is answered."""

    def __init__(self, request: bytes, found: Round) -> None:
        self.request, self.found, self.buffer, self.began = request, found, b"", 0.0
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """Make the first call."""
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        """Make a call."""
        self.buffer, self.began = b"", time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Look whether the answer is whole."""
        self.buffer += data
        if not self.is_whole():
            return
        self.found.calls += 1
        self.found.failed += not self.buffer.startswith(b"HTTP/1.1 200")
        self.found.times_ms.append((time.perf_counter() - self.began) * 1000)
        self.ask()

    def is_whole(self) -> bool:
        """Whether the buffer holds an answer to its end."""
        head, separator, rest = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return False
        length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        return len(rest) >= int(length) if length else rest.endswith(b"0\r\n\r\n")


def measure(stage: Stage, *, is_quick: bool) -> Report:
    """Call both in turn, and compare."""
    seconds, rounds = (2.0, 1) if is_quick else (6.0, ROUNDS)
    report = Report("Gateway: chat completions over an instant provider")
    provider = stage.baseline("provider", is_behind=True)
    address = f"http://127.0.0.1:{provider.port}/v1"
    product = stage.product("gateway", env={"OPENAI_BASE_URL": address, "OPENAI_API_KEY": "sk-benchmark-0123456789"})
    product.installation.manage("shell", "--verbosity", "0", "-c", LIMITS)
    bare = stage.baseline("pass", env={"UPSTREAM": address})
    servers = {
        "moolai": (product.server.port, product.server.pid, product.api_secret),
        "bare": (bare.port, bare.pid, "x"),
    }
    with on_core(cores()[1]):
        for _ in range(rounds):
            for count, is_stream in SIZES:
                for name, (port, pid, key) in servers.items():
                    found = uvloop.run(play(port, pid, key, count=count, is_stream=is_stream, seconds=seconds))
                    report.rounds.setdefault(title(name, count, is_stream), []).append(found.as_json())
    _tell(report)
    return report


def title(name: str, count: int, is_stream: bool) -> str:
    return f"{name}, c={count}{', streaming' if is_stream else ''}"


def _tell(report: Report) -> None:
    for count, is_stream in SIZES:
        ours, theirs = (title(name, count, is_stream) for name in ("moolai", "bare"))
        for name in (ours, theirs):
            report.add(name, report.median(name, "calls_per_second"), "calls/s")
            report.add(f"{name}: CPU of a call", report.median(name, "cpu_us_per_call"), "us")
        if sum(entry["failed"] for entry in report.rounds[ours]):
            report.notes.append(f"{ours}: some calls FAILED")
        ratio = report.median(ours, "calls_per_second") / report.median(theirs, "calls_per_second")
        least = {(16, False): 0.6, (16, True): 0.7}.get((count, is_stream))
        report.add(f"calls/s, moolai : bare, c={count}{', streaming' if is_stream else ''}", ratio, "x", least=least)
        if count == 1:
            added = report.median(ours, "p50_ms") - report.median(theirs, "p50_ms")
            report.add("p50 that moolai adds to bare, c=1", added, "ms")


async def play(
    port: int, pid: int, key: str, *, count: int, is_stream: bool, seconds: float, headers: str = ""
) -> Round:
    """Make calls over `count` connections; `headers` are whole lines."""
    body = json.dumps(BODY | ({"stream": True} if is_stream else {})).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    )
    warm, found = Round(), Round()
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: Client(head.encode() + body, warm), "127.0.0.1", port))[1]
        for _ in range(count)
    ]
    await asyncio.sleep(1)
    before = usage(pid, now=time.monotonic())
    for client in clients:
        client.found = found
    await asyncio.sleep(seconds)
    after = usage(pid, now=time.monotonic())
    for client in clients:
        client.found = Round()
        client.transport.abort()
    found.seconds, found.cpu_seconds = after.at - before.at, after.cpu_seconds - before.cpu_seconds
    return found
