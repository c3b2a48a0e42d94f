"""Heartbeats per second, the whole session against a bare ASGI echo and a stock Channels echo of the same run."""

import time
from typing import Any

from benchmarks import generator
from benchmarks.generator import Target
from benchmarks.report import Report
from benchmarks.stage import UNLIMITED, Stage, Usage, usage

SOCKETS = 200
CROWDS = (100, 1_000, 10_000)
WARM_UP_SECONDS = 1.5


def measure(stage: Stage, *, is_quick: bool) -> Report:
    """Run all servers in turn, three times, and compare medians; then look how the cost grows with the sockets."""
    report = Report(f"Heartbeats: {SOCKETS} sockets, closed loop, each answered with heartbeat_ack")
    seconds = 2.0 if is_quick else 4.0
    bare, stock = stage.baseline("bare"), stage.baseline("stock")
    postgres = stage.product("heartbeats", env=UNLIMITED)
    sqlite = stage.product("heartbeats_sqlite", engine="sqlite", env=UNLIMITED)
    targets = {"bare": bare, "stock": stock, "product": postgres.target(), "sqlite": sqlite.target()}
    for _ in range(1 if is_quick else 5):
        for name, target in targets.items():
            report.rounds.setdefault(name, []).append(_round(target, sockets=SOCKETS, seconds=seconds))
    names = {
        "bare": "bare ASGI echo",
        "stock": "stock Channels echo",
        "product": "moolai on PostgreSQL",
        "sqlite": "moolai on SQLite",
    }
    for key, name in names.items():
        report.add(name, report.median(key, "per_s"), "heartbeats/s")
    rate = report.median("product", "per_s")
    report.add("moolai : bare ASGI echo", rate / report.median("bare", "per_s"), "x", least=0.8)
    report.add("moolai : stock Channels echo", rate / report.median("stock", "per_s"), "x", least=3.5)
    for key in ("bare", "stock", "product"):
        report.add(f"CPU of a heartbeat, {names[key]}", report.median(key, "server_us"), "us")
    report.add("moolai p50", report.median("product", "p50_ms"), "ms")
    report.add("moolai p99", report.median("product", "p99_ms"), "ms")
    busiest = max(entry["generator_core"] for entries in report.rounds.values() for entry in entries)
    report.add("the generator's core, at most", busiest * 100, "%")
    _grow(stage, report, is_quick=is_quick)
    return report


def _grow(stage: Stage, report: Report, *, is_quick: bool) -> None:
    """Measure the closed loop with more and more sockets, beside the bare echo with as many."""
    targets = {"product": stage.product("crowds", env=UNLIMITED).target(), "bare": stage.baseline("bare")}
    crowds = CROWDS[:2] if is_quick else CROWDS
    for _ in range(1 if is_quick else 3):
        for crowd in crowds:
            for name, target in targets.items():
                report.rounds.setdefault(f"{name} {crowd}", []).append(_round(target, sockets=crowd, seconds=4.0))
    for name, title in (("product", "moolai"), ("bare", "bare ASGI echo")):
        for crowd in crowds:
            report.add(
                f"CPU of a heartbeat, {crowd:,} sockets, {title}", report.median(f"{name} {crowd}", "server_us"), "us"
            )


def _round(target: Target, *, sockets: int, seconds: float) -> dict[str, Any]:
    """Run the closed loop once; `server_us` is the server's CPU time for one heartbeat, which noise disturbs least."""
    seen: list[Usage] = []

    def when_open() -> None:
        time.sleep(WARM_UP_SECONDS)
        seen.append(usage(target.pid, now=time.monotonic()))
        time.sleep(seconds)
        seen.append(usage(target.pid, now=time.monotonic()))

    options = ("-n", str(sockets), "-w", str(WARM_UP_SECONDS), "-d", str(seconds))
    result = generator.run("closed", target, *options, when_open=when_open)
    before, after = seen
    share = (after.cpu_seconds - before.cpu_seconds) / (after.at - before.at)
    return result | {"server_us": share / result["per_s"] * 1e6}
