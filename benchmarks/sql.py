"""SQL statements per second under heartbeats, counted in PostgreSQL's own log (`log_statement = all`)."""

import re
import time
from collections import Counter

from benchmarks import generator
from benchmarks.report import Report
from benchmarks.stage import UNLIMITED, Product, Stage, logging_statements

STATEMENT = re.compile(r"LOG:  (?:statement|execute [^:]*): (.*(?:\n\t.*)*)")
SHAPES = {
    "flush of last_seen": re.compile(r"\s*UPDATE orchestrator_instances\s+SET last_seen"),
    "cursor read of events": re.compile(r'SELECT "events"'),
    "beat of the process (each 5 s)": re.compile(r'UPDATE "?\w*nodes"?'),
    "search for overdue messages (each 5 s)": re.compile(r"SELECT .*orchestrator_messages", re.DOTALL),
}
SOCKETS = 200


def measure(stage: Stage, *, is_quick: bool) -> Report:
    """Count what arrives at the database while sockets beat as quickly as they can, and without any socket."""
    seconds = 5 if is_quick else 20
    report = Report(f"SQL statements: {SOCKETS} sockets, closed loop, {seconds} s")
    product = stage.product("statements", env=UNLIMITED)
    rates: list[tuple[Counter[str], float]] = []

    def when_open() -> None:
        time.sleep(4)  # registrations and their events are over
        rates.append(_count(stage, product, seconds=seconds))

    options = ("-n", str(SOCKETS), "-w", "3", "-d", str(seconds + 4))
    result = generator.run("closed", product.target(), *options, when_open=when_open)
    found, elapsed = rates[0]
    report.rounds["product"] = [result | {"statements": dict(found), "elapsed": elapsed}]
    for name in SHAPES:
        bound = 1.05 if "each 5 s" not in name else None  # a tick of the next second may fall into the window
        report.add(name, found[name] / elapsed, "statements/s", most=bound)
    others = sum(found.values()) - sum(found[name] for name in SHAPES)
    report.add("all others", others / elapsed, "statements/s")
    report.add("heartbeats meanwhile", result["per_s"], "heartbeats/s")
    report.add("statements per 1,000,000 heartbeats", 1e6 * sum(found.values()) / elapsed / result["per_s"], "")
    known = "|".join(SHAPES)
    report.notes += [f"  {count} x {text}" for text, count in found.most_common() if text not in known]
    return report


def _count(stage: Stage, product: Product, *, seconds: float) -> tuple[Counter[str], float]:
    """Return how often each shape of statement ran in a window, and how long the window was."""
    log = stage.postgres.process
    with logging_statements(stage.postgres):
        time.sleep(0.5)
        skip, began = len(log.output()), time.monotonic()
        time.sleep(seconds)
        text, elapsed = log.output()[skip:], time.monotonic() - began
    return Counter(_shape(match[1]) for match in STATEMENT.finditer(text)), elapsed


def _shape(statement: str) -> str:
    for name, pattern in SHAPES.items():
        if pattern.match(statement):
            return name
    return " ".join(statement.split())[:100]
