"""Measurements: rows a second into the table, and milliseconds for each query over many rows (BENCHMARK_ROWS).

50 orchestrators of 5 organizations with a sample each 30 s: 1,000,000 rows are a week, which is how long they are kept.
"""

import json
import os
import subprocess
import sys

from benchmarks.report import Report
from benchmarks.stage import Stage
from moolai.testing.product import PROJECT, Installation

ROWS = int(os.environ.get("BENCHMARK_ROWS", "1000000"))
QUICK_ROWS = 50_000
MOST_MS = 20.0


def measure(stage: Stage, *, is_quick: bool) -> Report:
    """Fill a durable PostgreSQL three ways, then ask what the console and the API ask, beside the naive queries."""
    count = QUICK_ROWS if is_quick else ROWS
    place = Installation(
        data_dir=stage.directory / "metrics",
        database_url=stage.postgres.create_database("metrics"),
        redis_url="",
        env={"LOG_LEVEL": "WARNING", "ENVIRONMENT": "development"},
    )
    place.manage("migrate", "--verbosity", "0")
    command = [sys.executable, "-m", "benchmarks.measurements", str(count)]
    done = subprocess.run(
        command, cwd=PROJECT, env=os.environ | place.env, stdout=subprocess.PIPE, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    report = Report(f"Measurements: {count:,} rows of 50 orchestrators, {found['hours']:,.0f} hours, PostgreSQL")
    rates = found["rates"]
    for name in ("save()", "bulk_create(500)", "storage.insert(1)"):
        report.add(f"ingest: {name}", rates[name], "rows/s")
    report.add("ingest: storage.insert(2,000)", rates["storage.insert(2000)"], "rows/s")
    report.add("  to save()", rates["storage.insert(2000)"] / rates["save()"], "x", least=25)
    report.add("  to bulk_create(500)", rates["storage.insert(2000)"] / rates["bulk_create(500)"], "x")
    report.add("ingest of all rows", found["filled"], "rows/s")
    report.add("roll-ups: samples into hours and days", found["rolled"], "rows/s")
    for name, took in found["sizes"].items():
        report.add(f"size: {name}", took, "MiB")
    for name, took in found["naive"].items():
        report.add(f"naive: {name}", took, "ms")
    for name, took in found["queries"].items():
        report.add(name, took, "ms", most=MOST_MS)
    for door in found["measured"]:
        whole = f"{door['statements']} statements; the whole call {door['call_ms']:.1f} ms, {door['kib']:.0f} KiB"
        report.add(f"{door['name']} ({whole})", door["sql_ms"], "ms", most=MOST_MS)
        report.add("  processor time of PostgreSQL", door["cpu_ms"], "ms", most=MOST_MS)
    for name, took in found["pruning"].items():
        report.add(name, took, "rows/s")
    for name, took in found["partitioned"].items():
        report.add(f"partitions: {name}", took, "ms")
    return report
