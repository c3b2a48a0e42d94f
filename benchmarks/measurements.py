"""What `benchmarks.metrics` measures, in a process of its own with Django: prints one line of JSON."""

import json
import os
import random
import statistics as numbers
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moolai.settings")
django.setup()

from django.db import connection  # noqa: E402
from django.utils import timezone  # noqa: E402

from benchmarks import doors  # noqa: E402
from monitoring.metrics import latest, retention, rollups, series, statistics, storage  # noqa: E402
from monitoring.models import NUMBERS, MetricMark, MetricRollup, SystemMetric  # noqa: E402
from orgs.retention import delete_batch  # noqa: E402

FLEET, ORGANIZATIONS, EVERY = 50, 5, timedelta(seconds=30)
CHUNK, ROUNDS = 2_000, 40
CPU, MEMORY = "cpu_usage_percent", "memory_percent"
FOUR = [CPU, "cpu_load_1min", "cpu_load_5min", "cpu_load_15min"]
NOW = timezone.now()
VALUES = [[random.lognormvariate(3, 1) for _ in NUMBERS] for _ in range(5_000)]


def rows(count: int, *, until: datetime = NOW) -> Iterator[SystemMetric]:
    """Yield the fleet's samples, oldest first, the last one of each at `until`."""
    rounds = count // FLEET
    for turn in range(rounds):
        at = until - EVERY * (rounds - 1 - turn)
        for orchestrator in range(FLEET):
            yield SystemMetric(
                metric_id=uuid.uuid4().hex,
                organization_id=f"org-{orchestrator % ORGANIZATIONS}",
                orchestrator_id=f"orch-{orchestrator}",
                timestamp=at + timedelta(milliseconds=orchestrator * 500),
                created_at=at,
                collected_by="orchestrator",
                **dict(zip(NUMBERS, VALUES[(turn * 7 + orchestrator) % len(VALUES)], strict=True)),
            )


def rate(store: Callable[[list[SystemMetric]], Any], count: int) -> float:
    """Return how many rows a second are stored, in the middle of three rounds into an empty table."""
    found = []
    for _ in range(3):
        empty()
        made = list(rows(count))
        started = time.perf_counter()
        store(made)
        found.append(len(made) / (time.perf_counter() - started))
    return numbers.median(found)


def empty() -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE user_system_performance, metric_rollups, metric_marks")


def save(made: list[SystemMetric]) -> None:
    for row in made:
        row.save()


def one_by_one(made: list[SystemMetric]) -> None:
    for row in made:
        storage.insert([row])


def chunks(made: Any) -> None:
    made = iter(made)
    while chunk := list(islice(made, CHUNK)):
        storage.insert(chunk)


def milliseconds(ask: Callable[[], Any], *, rounds: int = ROUNDS) -> float:
    """Return the quickest of several rounds, after one that warms up: what other work on the machine adds, varies."""
    ask()
    found = []
    for _ in range(rounds):
        started = time.perf_counter()
        ask()
        found.append((time.perf_counter() - started) * 1000)
    return min(found)


def sql(statement: str, *parameters: Any) -> Callable[[], Any]:
    def ask() -> Any:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall()

    return ask


def drawn(organizations: list[str] | None, orchestrator_id: str | None, span: timedelta) -> Callable[[], Any]:
    until = timezone.now()
    return lambda: series.read(
        organizations=organizations, orchestrator_id=orchestrator_id, columns=[CPU, MEMORY],
        since=until - span, until=until,
    )  # fmt: skip


def summed(organizations: list[str] | None, columns: list[str], span: timedelta) -> Callable[[], Any]:
    until = timezone.now()
    return lambda: statistics.summarize(organizations=organizations, columns=columns, since=until - span, until=until)


def naive() -> dict[str, float]:
    """Ask as one would without a thought."""
    day = NOW - timedelta(days=1)
    hourly = "SELECT date_trunc('hour', timestamp) AS h, avg(cpu_usage_percent) FROM user_system_performance WHERE "
    return {
        "latest row of each, DISTINCT ON": milliseconds(
            sql(
                "SELECT DISTINCT ON (orchestrator_id) * FROM user_system_performance "
                "ORDER BY orchestrator_id, timestamp DESC"
            ),
            rounds=3,
        ),
        "24 h by the hour from samples, one organization": milliseconds(
            sql(hourly + "organization_id = %s AND timestamp >= %s GROUP BY h", "org-1", day), rounds=3
        ),
        "24 h by the hour from samples, all": milliseconds(sql(hourly + "timestamp >= %s GROUP BY h", day), rounds=3),
    }  # fmt: skip


def queries() -> dict[str, float]:
    """Ask what the console and the API ask."""
    spans = {"1 h": timedelta(hours=1), "6 h": timedelta(hours=6), "24 h": timedelta(days=1),
             "7 d": timedelta(days=7), "30 d": timedelta(days=30)}  # fmt: skip
    scopes: dict[str, tuple[list[str] | None, str | None]] = {
        "one orchestrator": (["org-1"], "orch-1"), "one organization": (["org-1"], None), "all": (None, None),
    }  # fmt: skip
    asked: dict[str, Callable[[], Any]] = {
        "latest row of each, all": lambda: latest.rows(None),
        "latest row of each, one organization": lambda: latest.rows(["org-1"]),
    }
    asked |= {f"series {span}, {who}": drawn(*scopes[who], spans[span]) for who in scopes for span in spans}
    asked |= {
        f"statistics {span}, {len(columns)} column(s), {who}": summed(scopes[who][0], columns, spans[span])
        for who in ("one organization", "all")
        for span in ("1 h", "24 h", "7 d")
        for columns in ([CPU], FOUR)
    }
    return {name: milliseconds(ask) for name, ask in asked.items()}


def pruning() -> dict[str, float]:
    """Delete 20,000 rows as retention does."""
    rules = [rule for rule in retention.rules(now=NOW + timedelta(days=30)) if rule.name == "metrics"]
    started, gone = time.perf_counter(), 0
    while rules and gone < 20_000 and (deleted := delete_batch(rules[0])):
        gone += deleted
    return {"retention: deleted in batches of 1,000": gone / (time.perf_counter() - started)}


def partitioned() -> dict[str, float]:
    """Copy the samples into a table with a partition for each day; ask it, and drop its oldest day."""
    table = SystemMetric._meta.db_table
    ask = "SELECT avg(cpu_usage_percent), max(cpu_usage_percent) FROM {} WHERE organization_id = %s AND timestamp >= %s"
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute(f"CREATE TABLE by_day (LIKE {table}) PARTITION BY RANGE (timestamp)")
        days = [
            (NOW - timedelta(days=number)).replace(hour=0, minute=0, second=0, microsecond=0) for number in range(-1, 9)
        ]
        for number, day in enumerate(days):
            bounds = f"FROM ('{day.isoformat()}') TO ('{(day + timedelta(days=1)).isoformat()}')"
            cursor.execute(f"CREATE TABLE by_day_{number} PARTITION OF by_day FOR VALUES {bounds}")
        for columns in ("organization_id, timestamp DESC", "organization_id, orchestrator_id, timestamp DESC"):
            cursor.execute(f"CREATE INDEX ON by_day ({columns})")
        cursor.execute(f"INSERT INTO by_day SELECT * FROM {table}")
        cursor.execute("VACUUM ANALYZE by_day")
    arguments = ("org-1", NOW - timedelta(hours=1))
    found = {
        "1 h of one organization, one table": milliseconds(sql(ask.replace("{}", table), *arguments)),
        "1 h of one organization, a table for each day": milliseconds(sql(ask.replace("{}", "by_day"), *arguments)),
    }
    with connection.cursor() as cursor:
        started = time.perf_counter()
        cursor.execute("DROP TABLE by_day_8, by_day_7")
        return found | {"a day's table dropped in": (time.perf_counter() - started) * 1000}


def sizes() -> dict[str, float]:
    tables = [SystemMetric, MetricRollup, MetricMark]
    found = sql("SELECT " + ", ".join("pg_total_relation_size(%s::regclass)" for _ in tables),
                *(table._meta.db_table for table in tables))()[0]  # fmt: skip
    return {table._meta.db_table: size / 1024**2 for table, size in zip(tables, found, strict=True)}


def main(count: int) -> None:
    """Measure everything and print it."""
    rates = {
        "save()": rate(save, 1_000),
        "bulk_create(500)": rate(lambda made: SystemMetric.objects.bulk_create(made, batch_size=500), 10_000),
        "storage.insert(1)": rate(one_by_one, 500),
        "storage.insert(2000)": rate(chunks, 20_000),
    }
    empty()
    started = time.perf_counter()
    chunks(rows(count))
    filled = count / (time.perf_counter() - started)
    MetricMark.objects.filter(due_at__lte=NOW + timedelta(minutes=3)).update(due_at=NOW)
    started = time.perf_counter()
    while rollups.run(now=timezone.now()):
        pass
    MetricMark.objects.filter(resolution="daily").update(due_at=NOW)
    while rollups.run(now=timezone.now()):
        pass
    rolled = count / (time.perf_counter() - started)
    now = timezone.now()  # the samples of the time that this took: the running hour is to be as full as it would be
    chunks(rows(int((now - NOW) / EVERY) * FLEET, until=now))
    doors.fill(now)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE user_system_performance")
        cursor.execute("VACUUM ANALYZE metric_rollups")
    found: dict[str, Any] = {"rates": rates, "filled": filled, "rolled": rolled}
    found["hours"] = count / FLEET * EVERY.total_seconds() / 3600
    for ask in (sizes, naive, queries, doors.measured, partitioned, pruning):
        found[ask.__name__] = ask()
        sys.stderr.write(f"{ask.__name__}: {json.dumps(found[ask.__name__])}\n")
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
