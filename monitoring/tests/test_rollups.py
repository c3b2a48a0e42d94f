"""Roll-ups: whatever comes late, twice or in any order, they are what one computation from all samples gives."""

import random
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, connections

from monitoring.metrics import rollups, storage
from monitoring.models import ALL, MetricMark, MetricRollup, SystemMetric
from monitoring.tests.samples import NOW, sample

pytestmark = pytest.mark.django_db
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LATER = datetime.now(UTC) + 3 * DAY


def stored() -> dict[tuple[str, str, str, datetime], Any]:
    keys = ("resolution", "organization_id", "orchestrator_id", "start_at")
    return {tuple(row[:4]): row[4:] for row in MetricRollup.objects.values_list(*keys, "samples", "columns")}


def settle() -> None:
    """Run until nothing waits: days wait for the next full hour."""
    for number in range(4):
        rollups.run(now=LATER + number * HOUR)
    assert not MetricMark.objects.exists()


def from_scratch() -> dict[tuple[str, str, str, datetime], Any]:
    MetricRollup.objects.all().delete()
    rollups.mark_all(now=LATER)
    settle()
    return stored()


def test_an_hour_comes_to_what_its_samples_are() -> None:
    at = NOW.replace(minute=0)
    storage.insert([sample(at, cpu_usage_percent=10.0), sample(at + timedelta(minutes=59), cpu_usage_percent=30.0)])
    storage.insert([sample(at + HOUR, cpu_usage_percent=99.0)])
    settle()
    samples, columns = stored()["hourly", "acme", "orch-1", at]
    assert samples == 2
    assert columns["cpu_usage_percent"][:4] == [2, 40.0, 10.0, 30.0]
    assert list(columns) == ["cpu_usage_percent"]


def test_there_is_a_row_for_each_organization_and_one_for_all() -> None:
    for organization, orchestrator in (("acme", "one"), ("acme", "two"), ("globex", "three"), ("acme", "")):
        storage.insert([sample(NOW, organization=organization, orchestrator=orchestrator, memory_percent=8.0)])
    settle()
    hour, day = NOW.replace(minute=0), NOW.replace(hour=0, minute=0)
    found = stored()
    assert found["hourly", "acme", ALL, hour][0] == found["daily", "acme", ALL, day][0] == 3
    assert found["hourly", ALL, ALL, hour][0] == found["daily", ALL, ALL, day][0] == 4
    assert found["daily", "globex", "three", day][1]["memory_percent"][:4] == [1, 8.0, 8.0, 8.0]


def test_an_hour_that_still_runs_waits_for_its_end() -> None:
    storage.insert([sample(NOW, cpu_usage_percent=1.0)])
    mark = MetricMark.objects.get()
    assert mark.due_at >= NOW.replace(minute=0) + HOUR
    MetricMark.objects.update(due_at=NOW.replace(minute=0) + HOUR)
    assert rollups.run(now=NOW) == 0
    assert rollups.run(now=NOW + HOUR) > 0


def test_marks_of_one_hour_are_put_together_while_they_wait() -> None:
    now = datetime.now(tz=NOW.tzinfo)
    for number in range(10):
        storage.insert([sample(now, orchestrator=f"orch-{number % 3}")])
    assert MetricMark.objects.count() == 10
    assert rollups.run(now=now - DAY) == 0
    [mark] = MetricMark.objects.all()
    assert mark.sources == [["acme", f"orch-{number}"] for number in range(3)]


def test_late_and_duplicate_samples_in_any_order_give_what_one_computation_gives() -> None:
    random.seed(5)
    rows = [
        sample(
            NOW - timedelta(seconds=random.randrange(100_000)),
            organization=random.choice(["acme", "globex"]),
            orchestrator=random.choice(["one", "two", ""]),
            cpu_usage_percent=random.choice([None, random.uniform(0, 100)]),
            iops_read=random.lognormvariate(3, 3),
        )
        for _ in range(300)
    ]
    arrivals = [*rows, *random.sample(rows, 60)]
    random.shuffle(arrivals)
    while arrivals:
        storage.insert(arrivals[:37])
        del arrivals[:37]
        rollups.run(now=LATER + random.randrange(3) * HOUR)
    settle()
    found = stored()
    assert SystemMetric.objects.count() == 300
    assert found["daily", ALL, ALL, NOW.replace(hour=0, minute=0)][0] > 100
    assert found == from_scratch()


def test_computing_again_changes_nothing() -> None:
    storage.insert([sample(NOW - HOUR * number, cpu_usage_percent=float(number)) for number in range(30)])
    settle()
    before = list(MetricRollup.objects.order_by("pk").values())
    rollups.mark_all(now=LATER)
    settle()
    assert list(MetricRollup.objects.order_by("pk").values()) == before


def test_an_hour_whose_samples_retention_let_go_keeps_what_it_was() -> None:
    storage.insert([sample(NOW, cpu_usage_percent=5.0), sample(NOW, cpu_usage_percent=7.0)])
    settle()
    before = stored()
    SystemMetric.objects.all().delete()
    storage.insert([sample(NOW, cpu_usage_percent=99.0)])
    settle()
    assert stored() == before


def test_the_budget_of_time_is_kept_and_the_rest_waits() -> None:
    storage.insert([sample(NOW, orchestrator=f"orch-{number}", cpu_usage_percent=1.0) for number in range(120)])
    assert rollups.run(now=LATER, budget_seconds=0) == 0
    assert MetricMark.objects.exists()
    settle()
    assert stored()["hourly", "acme", ALL, NOW.replace(minute=0)][0] == 120


@pytest.mark.django_db(transaction=True)
def test_two_workers_and_writers_at_once_lose_nothing() -> None:
    stop = threading.Event()
    random.seed(11)

    def work(job: Any) -> None:
        try:
            while not stop.is_set():
                job()
        finally:
            connections.close_all()

    workers = [threading.Thread(target=work, args=[lambda: rollups.run(now=LATER)]) for _ in range(2)]
    for thread in workers:
        thread.start()
    for _ in range(25):
        moments = [NOW - timedelta(minutes=random.randrange(600)) for _ in range(8)]
        storage.insert([sample(at, cpu_usage_percent=random.uniform(0, 100)) for at in moments])
    stop.set()
    for thread in workers:
        thread.join(timeout=30)
    settle()
    found = stored()
    assert found["hourly", ALL, ALL, NOW.replace(minute=0)][0] > 0
    assert sum(row[0] for key, row in found.items() if key[0] == "hourly" and key[1] == ALL) == 200
    assert found == from_scratch()


@pytest.mark.once("postgres")
@pytest.mark.django_db(transaction=True)
def test_samples_that_are_stored_while_their_hour_is_computed_are_in_the_next_run() -> None:
    """The writer's transaction is open while the run reads: its mark must outlive the run."""
    storage.insert([sample(NOW, cpu_usage_percent=1.0)])
    opened, go_on = threading.Event(), threading.Event()

    def write() -> None:
        from django.db import transaction

        with transaction.atomic():
            storage.insert([sample(NOW, cpu_usage_percent=3.0)])
            opened.set()
            go_on.wait(10)
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    assert opened.wait(10)
    settle()
    go_on.set()
    writer.join(10)
    settle()
    assert stored()["hourly", "acme", "orch-1", NOW.replace(minute=0)][0] == 2
