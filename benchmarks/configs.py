"""Configurations: from `PUT …/config` to the last of many clients that has applied it, and to the end of the watch."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp

from benchmarks.generator import cores, on_core
from benchmarks.report import Report
from benchmarks.stage import Product, Stage
from orchestrators.client.fleet import Fleet

MOST_SECONDS = 5.0
CONFIG = "/api/v1/orchestrators/bench/config"
Condition = Callable[[], Coroutine[Any, Any, bool]]


def measure(stage: Stage, *, is_quick: bool) -> Report:
    """Publish a few configurations to a fleet of reference clients in one process, for each database."""
    size, rounds = (100, 2) if is_quick else (1000, 5)
    report = Report(f"Configurations: {size} clients of one process, PUT to the last one applied")
    products = {
        "SQLite": stage.product("configs_sqlite", engine="sqlite"),
        "PostgreSQL and Redis": stage.product("configs", has_redis=True),
    }
    for name, product in products.items():
        with on_core(cores()[1]):
            report.rounds[name] = asyncio.run(_converge(product, size=size, rounds=rounds))
        report.add(f"{name}, applied by all", report.median(name, "applied_seconds"), "s", most=MOST_SECONDS)
        report.add(f"{name}, PUT answered", report.median(name, "answered_seconds"), "s")
        report.add(f"{name}, rollout completed", report.median(name, "completed_seconds"), "s")
    return report


async def _converge(product: Product, *, size: int, rounds: int) -> list[dict[str, float]]:
    fleet = Fleet(f"ws://127.0.0.1:{product.server.port}/ws", size, api_key=product.secret, prefix="bench")
    stop, found = asyncio.Event(), []
    headers = {"Authorization": f"Bearer {product.api_secret}"}
    with contextlib.redirect_stdout(sys.stderr):
        running = asyncio.create_task(fleet.run(stop, as_json=True))
        try:
            async with aiohttp.ClientSession(product.server.url(), headers=headers) as http:
                await _until(_applied(fleet, size))
                found = [await _round(fleet, http, number) for number in range(rounds)]
        finally:
            stop.set()
            await running
    return found


async def _round(fleet: Fleet, http: aiohttp.ClientSession, number: int) -> dict[str, float]:
    wanted = fleet.progress().configs_applied + len(fleet.clients)
    document = {"features": {"round": number}, "llm": {"models": [f"model-{index}" for index in range(20)]}}
    began = time.perf_counter()
    async with http.put(CONFIG, json={"config": document}) as response:
        if response.status != 200:
            raise RuntimeError(f"PUT was answered {response.status}: {await response.text()}")
    answered = time.perf_counter() - began
    await _until(_applied(fleet, wanted))
    applied = time.perf_counter() - began
    await _until(lambda: _is_completed(http))
    completed = time.perf_counter() - began
    return {"answered_seconds": answered, "applied_seconds": applied, "completed_seconds": completed}


def _applied(fleet: Fleet, wanted: int) -> Condition:
    async def condition() -> bool:
        return fleet.progress().configs_applied >= wanted

    return condition


async def _is_completed(http: aiohttp.ClientSession) -> bool:
    async with http.get(f"{CONFIG}/rollouts?page_size=1") as response:
        body = await response.json()
    return bool(body["data"]["items"][0]["status"] == "completed")


async def _until(condition: Condition) -> None:
    async with asyncio.timeout(120):
        while not await condition():  # noqa: ASYNC110 - what is waited for is in another process
            await asyncio.sleep(0.02)
