"""Heartbeats per second, the whole session against a bare ASGI echo and a stock Channels echo of the same run."""

from benchmarks import generator
from benchmarks.report import Report
from benchmarks.stage import UNLIMITED, Stage

SOCKETS = 200
CROWDS = (100, 1_000, 10_000)


def measure(stage: Stage, *, is_quick: bool) -> Report:
    """Run all servers in turn, three times, and compare medians; then look how the cost grows with the sockets."""
    report = Report(f"Heartbeats: {SOCKETS} sockets, closed loop, each answered with heartbeat_ack")
    seconds = "2" if is_quick else "5"
    bare, stock = stage.baseline("bare"), stage.baseline("stock")
    postgres = stage.product("heartbeats", env=UNLIMITED)
    sqlite = stage.product("heartbeats_sqlite", engine="sqlite", env=UNLIMITED)
    targets = {"bare": bare, "stock": stock, "product": postgres.target(), "sqlite": sqlite.target()}
    for _ in range(1 if is_quick else 3):
        for name, target in targets.items():
            result = generator.run("closed", target, "-n", str(SOCKETS), "-w", "1.5", "-d", seconds)
            report.rounds.setdefault(name, []).append(result)
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
    report.add("moolai p50", report.median("product", "p50_ms"), "ms")
    report.add("moolai p99", report.median("product", "p99_ms"), "ms")
    busiest = max(entry["generator_core"] for entries in report.rounds.values() for entry in entries)
    report.add("the generator's core, at most", busiest * 100, "%")
    _grow(stage, report, is_quick=is_quick)
    return report


def _grow(stage: Stage, report: Report, *, is_quick: bool) -> None:
    """Measure the closed loop with more and more sockets, beside the bare echo with as many."""
    product, bare = stage.product("crowds", env=UNLIMITED), stage.baseline("bare")
    for crowd in CROWDS[:2] if is_quick else CROWDS:
        for name, target in (("bare", bare), ("product", product.target())):
            result = generator.run("closed", target, "-n", str(crowd), "-w", "3", "-d", "5")
            report.rounds.setdefault(f"{name} {crowd}", []).append(result)
        rate, limit = (report.median(f"{name} {crowd}", "per_s") for name in ("product", "bare"))
        report.add(f"{crowd:,} sockets: cost of a heartbeat", 1e6 / rate, "us")
        report.add(f"{crowd:,} sockets: moolai : bare ASGI echo", rate / limit, "x")
