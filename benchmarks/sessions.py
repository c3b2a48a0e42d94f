"""10,000 sessions with a heartbeat each 30 s: memory for each, and the share of a core."""

import time

from benchmarks import generator
from benchmarks.report import Report
from benchmarks.stage import Stage, Usage, usage

INTERVAL_SECONDS = 30
SETTLE_SECONDS = 10.0


def measure(stage: Stage, *, is_quick: bool) -> Report:
    """Open the sessions, let them beat, and read the server's memory and CPU time around that."""
    count, seconds = (2_000, 20) if is_quick else (10_000, 60)
    report = Report(f"Sessions: {count:,} open, a heartbeat each {INTERVAL_SECONDS} s, PostgreSQL")
    product = stage.product("sessions")
    _warm(product.target("warm"))
    pid = product.server.pid
    empty = usage(pid, now=time.monotonic())
    seen: list[Usage] = []

    def when_open() -> None:
        time.sleep(SETTLE_SECONDS)
        seen.append(usage(pid, now=time.monotonic()))
        time.sleep(seconds)
        seen.append(usage(pid, now=time.monotonic()))

    options = ("-n", str(count), "-i", str(INTERVAL_SECONDS), "-d", str(seconds + SETTLE_SECONDS + 1))
    result = generator.run("interval", product.target("idle"), *options, when_open=when_open)
    before, after = seen
    share = (after.cpu_seconds - before.cpu_seconds) / (after.at - before.at)
    report.rounds["product"] = [result]
    report.add("memory of a session", (after.resident_bytes - empty.resident_bytes) / 1024 / count, "KiB", most=32)
    report.add("CPU", share * 100, "% of a core", most=10)
    report.add("CPU of a heartbeat, all included", share / (count / INTERVAL_SECONDS) * 1e6, "us")
    report.add("heartbeat to heartbeat_ack, p50", result["p50_ms"], "ms")
    report.add("heartbeat to heartbeat_ack, p99", result["p99_ms"], "ms")
    report.add("the empty server", empty.resident_bytes / 1024**2, "MiB")
    return report


def _warm(target: generator.Target) -> None:
    """Let the server import and cache what its first sessions need, so that it is not booked to the others."""
    generator.run("storm", target, "-n", "50")
    time.sleep(2)
