"""Connect and register: sockets opened per second, from the TCP connection to `handshake_ack`."""

import time

from benchmarks import generator
from benchmarks.report import Report
from benchmarks.stage import Stage


def measure(stage: Stage, *, is_quick: bool) -> Report:
    """Open many sockets at once: ids nobody saw before, and then the same ones again (a reconnect storm)."""
    count = 1_000 if is_quick else 5_000
    report = Report(f"Connects: {count:,} sockets at once, connect + register up to handshake_ack")
    engines = {"PostgreSQL": stage.product("connects"), "SQLite": stage.product("connects_sqlite", engine="sqlite")}
    for turn in range(1 if is_quick else 3):
        for engine, product in engines.items():
            for kind in ("new", "known"):
                result = generator.run("storm", product.target(f"round{turn}"), "-n", str(count), "-c", "256")
                report.rounds.setdefault(f"{engine}, {kind}", []).append(result)
                time.sleep(8)  # the sessions that end are booked behind us
    for name in report.rounds:
        rate = report.median(name, "opens_per_s")
        report.add(f"{name} ids", rate, "connects/s", least=600 if name.startswith("PostgreSQL") else None)
        report.add(f"{name} ids, p99", report.median(name, "open_p99_ms"), "ms")
    return report
