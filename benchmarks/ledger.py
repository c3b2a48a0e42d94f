"""The ledger of messages: 200 clients, 10,000 entries each way, while the web process and the worker are killed."""

import logging
import random
import sys
import time
from dataclasses import dataclass

from benchmarks.report import Report
from benchmarks.stage import Stage
from moolai.testing.ledger import Ledger, Verdict
from moolai.testing.product import Installation

TOKEN = "the-token-of-the-ledger"
ENVIRONMENT = {
    "DEV_BEARER_TOKEN": TOKEN,
    "HEARTBEAT_TTL_SEC": "60",
    "ENVIRONMENT": "development",
    "RATE_LIMIT_API": "1000000/minute",
}


@dataclass(frozen=True)
class Plan:
    """How large the run is."""

    clients: int
    entries: int  # each way, for each client
    web_kills: int
    worker_kills: int
    seconds: float  # over which the entries are spread


FULL = Plan(clients=200, entries=50, web_kills=20, worker_kills=5, seconds=150)
QUICK = Plan(clients=20, entries=20, web_kills=3, worker_kills=1, seconds=15)


def measure(stage: Stage, *, is_quick: bool) -> Report:
    """Run on durable PostgreSQL and Redis; every figure that counts a fault must be 0."""
    plan = QUICK if is_quick else FULL
    place = Installation(
        data_dir=stage.directory / "ledger",
        database_url=stage.postgres.create_database("ledger"),
        redis_url=stage.redis.url(),
        env=ENVIRONMENT,
    )
    try:
        place.manage("migrate", "--verbosity", "0")
        return _run(place, plan)
    finally:
        place.close()


def _run(place: Installation, plan: Plan) -> Report:
    total = plan.clients * plan.entries
    logging.getLogger("moolai.client").setLevel(logging.ERROR)
    report = Report(
        f"Ledger: {plan.clients} clients, {total:,} entries each way, "
        f"{plan.web_kills} × kill -9 of the web process and {plan.worker_kills} × of the worker"
    )
    web = place.serve()
    place.worker()
    place.beat()
    ledger = Ledger(
        place,
        urls=[web.ws_url()],
        api=web.url(),
        api_token=TOKEN,
        count=plan.clients,
        entries=plan.entries,
        seconds=plan.seconds,
    )
    with ledger:
        if not ledger.wait_connected(timeout_seconds=60):
            raise RuntimeError("not every client connected within 60 s")
        ledger.open_traffic()
        slowest = kill(place, ledger, web_kills=plan.web_kills, worker_kills=plan.worker_kills)
        killed_at = time.monotonic()
        if not ledger.wait_settled(timeout_seconds=300 + plan.seconds):
            report.notes.append("NOT EVERYTHING WAS SETTLED IN TIME")
        settled_seconds = time.monotonic() - killed_at
        up, down = ledger.compare()
        sessions = ledger.connections
    _tell(report, "up", up, promised="acknowledged")
    _tell(report, "down", down, promised="accepted (202)")
    report.add("down: sent more than once, and deduplicated by the client", down.sent_again, "entries")
    report.add("down: calls that were refused", len(ledger.refusals), "calls", most=0)
    report.notes += sorted(set(ledger.refusals))[:5]
    report.add("all clients back after a kill, at most", slowest, "s", most=15)
    report.add("sessions opened, all clients", sessions, "sessions")
    report.add("from the last kill to the last entry", settled_seconds, "s")
    return report


def kill(place: Installation, ledger: Ledger, *, web_kills: int, worker_kills: int) -> float:
    """Kill -9 and start again, in the midst of the traffic; return the longest time to the last client's return."""
    web = next(process for process in place.processes if process.name == "serve")
    worker = next(process for process in place.processes if process.name == "worker")
    slowest = 0.0
    for number in range(web_kills):
        time.sleep(random.uniform(1.0, 4.0))
        if number * worker_kills // web_kills != (number + 1) * worker_kills // web_kills:
            worker.kill()
            worker.start()
        web.kill()
        web.start()
        began = time.monotonic()
        if not ledger.wait_connected(timeout_seconds=60):
            raise RuntimeError(f"not every client is back 60 s after kill {number + 1}")
        slowest = max(slowest, time.monotonic() - began)
        sys.stderr.write(f"  kill {number + 1} of {web_kills}: all back after {time.monotonic() - began:.1f} s\n")
    return slowest


def _tell(report: Report, way: str, verdict: Verdict, *, promised: str) -> None:
    report.add(f"{way}: {promised}", verdict.promised, "entries")
    report.add(f"{way}: stored", verdict.stored, "entries")
    report.add(f"{way}: lost", verdict.lost, "entries", most=0)
    report.add(f"{way}: duplicates", verdict.duplicates, "entries", most=0)
    report.add(f"{way}: out of order", verdict.out_of_order, "entries", most=0)
