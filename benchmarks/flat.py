"""20,000 streams through the gateway with budget, limits and ledger on: what the web process's memory does meanwhile.

Every tenth client of a stream hangs up instead of reading it. Memory is looked at every 2,000 streams; the first 2,000
fill what is kept on purpose (connections, callers, prices, parsed names), what comes after is growth.
"""

import asyncio
import json
import time
from typing import Any, Final

import uvloop

from benchmarks.gateway import BODY, LIMITS, Client, Round
from benchmarks.generator import cores, on_core
from benchmarks.report import Report
from benchmarks.stage import Product, Stage, usage

STREAMS: Final = 20_000
EVERY: Final = 2_000
CONNECTIONS: Final = 16
LEAVES: Final = 10  # one in so many
MIB: Final = 1024 * 1024


class Leaver(Client):
    """A client that hangs up now and then, and comes back."""

    left = 0
    connect: Any = None

    def ask(self) -> None:
        """Make a call, or make one and leave."""
        super().ask()
        if self.found.calls % LEAVES == 0 and self.found.calls:
            self.found.calls += 1
            Leaver.left += 1
            self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Come back."""
        if self.connect is not None:
            self.connect()


def measure(stage: Stage, *, is_quick: bool) -> Report:
    """Stream, and look at the memory."""
    total, every = (STREAMS // 10, EVERY // 10) if is_quick else (STREAMS, EVERY)
    report = Report(f"Gateway: memory over {total} streams")
    provider = stage.baseline("provider", is_behind=True)
    address = f"http://127.0.0.1:{provider.port}/v1"
    product = stage.product("flat", env={"OPENAI_BASE_URL": address, "OPENAI_API_KEY": "sk-benchmark-0123456789"})
    product.installation.manage("shell", "--verbosity", "0", "-c", LIMITS)
    with on_core(cores()[1]):
        found = uvloop.run(_stream(product, total=total, every=every))
    for count, mib in found:
        report.add(f"memory after {count} streams", mib, "MiB", most=160 if count == total else None)
    steady = [mib for count, mib in found if count >= every]
    report.add(f"growth from {every} to {total} streams", steady[-1] - steady[0], "MiB", most=4)
    report.add("of them left by their client", Leaver.left, "streams")
    counted = "from llm_gateway.models import Call; print('N', Call.objects.count())"
    time.sleep(2)  # the ledger is a second behind
    output = product.installation.manage("shell", "--verbosity", "0", "-c", counted).stdout
    report.add("calls in the ledger", float(output.rpartition("N ")[2]), "calls")
    report.rounds["memory"] = [{"streams": count, "mib": mib} for count, mib in found]
    return report


async def _stream(product: Product, *, total: int, every: int) -> list[tuple[int, float]]:
    body = json.dumps(BODY | {"stream": True}).encode()
    port, pid = product.server.port, product.server.pid
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {product.api_secret}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    found, loop = Round(), asyncio.get_running_loop()
    is_over, tasks = False, set[asyncio.Task[Any]]()

    def connect() -> None:
        if not is_over:
            task = loop.create_task(loop.create_connection(client, "127.0.0.1", port))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    def client() -> Leaver:
        one = Leaver(head.encode() + body, found)
        one.connect = connect
        return one

    samples = [(0, usage(pid, now=0).resident_bytes / MIB)]
    for _ in range(CONNECTIONS):
        connect()
    while samples[-1][0] < total:
        await asyncio.sleep(0.02)
        found.times_ms.clear()
        if found.calls >= samples[-1][0] + every:
            samples.append((samples[-1][0] + every, usage(pid, now=0).resident_bytes / MIB))
    is_over = True
    return samples
