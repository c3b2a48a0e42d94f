"""Messages down: from `POST …/messages` to the frame at the client."""

import asyncio
import statistics
import time
from typing import Any

import aiohttp

from benchmarks.generator import cores, on_core
from benchmarks.report import Report
from benchmarks.stage import Product, Stage

ORCHESTRATOR = "bench-messages"
UNCOUNTED = {"RATE_LIMIT_API": "1000000/minute"}  # the limit stays in the path


def measure(stage: Stage, *, is_quick: bool) -> Report:
    """Send messages one at a time through the API of one process to a session held by the same, or by another one."""
    count = 50 if is_quick else 300
    report = Report(f"Messages: {count}, one at a time, POST to frame at the client")
    embedded = stage.product("messages_sqlite", engine="sqlite", env=UNCOUNTED)
    distributed = stage.product("messages", has_redis=True, env=UNCOUNTED)
    with on_core(cores()[0]):
        other = distributed.installation.serve()
    places = {
        "embedded (SQLite, one process)": (embedded, embedded.server.port),
        "PostgreSQL and Redis, one process": (distributed, distributed.server.port),
        "PostgreSQL and Redis, two processes": (distributed, other.port),
    }
    for name, (product, port) in places.items():
        with on_core(cores()[1]):
            times = asyncio.run(_exchange(product, api_port=port, count=count))
        cuts = statistics.quantiles(times, n=100)
        report.rounds[name] = [{"p50_ms": cuts[49], "p99_ms": cuts[98]}]
        report.add(f"{name}, p50", cuts[49], "ms")
        report.add(f"{name}, p99", cuts[98], "ms")
    return report


async def _exchange(product: Product, *, api_port: int, count: int) -> list[float]:
    """Return the times in ms from just before the POST to the frame, after ten that do not count."""
    url = f"http://127.0.0.1:{api_port}/api/v1/internal/orchestrators/{ORCHESTRATOR}/messages"
    bearer = {"Authorization": f"Bearer {product.secret}"}
    times = []
    async with aiohttp.ClientSession() as http, http.ws_connect(product.server.ws_url(), headers=bearer) as socket:
        await socket.send_json({"type": "register", "orchestrator_id": ORCHESTRATOR, "capabilities": ["config"]})
        answer = await socket.receive_json()
        if not answer["success"]:
            raise RuntimeError(f"register was refused: {answer}")
        for number in range(count + 10):
            began = time.perf_counter()
            posting = asyncio.create_task(_post(http, url, product.api_secret, number))
            frame = await _next_message(socket)
            times.append((time.perf_counter() - began) * 1000)
            await posting
            await socket.send_json({"type": "ack", "message_id": frame["message_id"], "success": True})
            await asyncio.sleep(0.02)
    return times[10:]


async def _post(http: aiohttp.ClientSession, url: str, secret: str, number: int) -> None:
    body = {"message_type": "bench", "message_content": {"number": number}}
    async with http.post(url, json=body, headers={"Authorization": f"Bearer {secret}"}) as response:
        if response.status != 202:
            raise RuntimeError(f"POST was answered {response.status}: {await response.text()}")


async def _next_message(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    while True:
        frame: dict[str, Any] = await socket.receive_json(timeout=15)
        if frame["type"] == "bench":
            return frame
