"""With MONITORING_DATABASE_URL measurements live in a database of their own, and everything works as with one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from monitoring.models import Collection, MetricMark, MetricRollup, SystemMetric
from moolai.routers import MEASUREMENTS
from moolai.testing.product import Installation
from moolai.testing.world import World
from orgs.models import Organization

pytestmark = pytest.mark.services
SCENE = """
from datetime import timedelta
from django.core.management import call_command
from django.db import connections
from django.utils import timezone
from monitoring.metrics import collecting, latest, rollups, series, statistics, storage
from monitoring.models import Collection, MetricMark, MetricRollup, SystemMetric
from orchestrators import retention
call_command("migrate", database="monitoring", verbosity=0)
now = timezone.now()
host = collecting.collect("acme", collected_by="test")
old = [
    SystemMetric(metric_id=f"m-{n}", organization_id="acme", orchestrator_id="one", cpu_usage_percent=float(n),
                 timestamp=now - timedelta(hours=n))
    for n in range(1, 200)
]
assert storage.insert(old) == 199
for hours in range(4):
    rollups.run(now=now + timedelta(hours=2 + hours), budget_seconds=60)
day, until = timedelta(days=1), now + timedelta(minutes=1)
found = series.read(organizations=["acme"], orchestrator_id="one", columns=["cpu_usage_percent"],
                    since=now - day, until=until)
assert found.resolution == "hourly" and len(found.columns["cpu_usage_percent"]) >= 23, found
summary = statistics.summarize(organizations=None, columns=["memory_percent"], since=now - day, until=until)
assert summary["memory_percent"]["sample_count"] == 1, summary
assert [row.orchestrator_id for row in latest.rows(None)] == ["", "one"]
assert collecting.status("acme")["records"] == 1
assert retention.prune(now=now)["metrics"] == 31  # older than seven days
def tables(alias):
    with connections[alias].cursor() as cursor:
        return set(connections[alias].introspection.table_names(cursor))
names = {model._meta.db_table for model in (SystemMetric, MetricRollup, MetricMark)}
assert names <= tables("monitoring")
assert not any(model.objects.using("default").exists() for model in (SystemMetric, MetricRollup, MetricMark))
assert Collection._meta.db_table in tables("default") and Collection._meta.db_table not in tables("monitoring")
assert "organizations" not in tables("monitoring")
print("WELL")
"""


@contextmanager
def measurements_database(world: World, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    if world.engine == "sqlite":
        yield f"sqlite:///{tmp_path / 'measurements.sqlite3'}"
        return
    server = request.getfixturevalue("postgres")
    yield server.create_database("measurements")
    server.databases.drop("measurements")


def test_measurements_are_collected_rolled_up_read_and_pruned_there(
    world: World, tmp_path: Path, request: pytest.FixtureRequest, installation: Callable[..., Installation]
) -> None:
    with measurements_database(world, tmp_path, request) as url:
        place = installation({"MONITORING_DATABASE_URL": url})
        assert "WELL" in place.manage("shell", "--verbosity", "0", "-c", SCENE).stdout


def test_every_measurement_is_named_and_nothing_else_is(settings: object) -> None:
    for model in (SystemMetric, MetricRollup, MetricMark):
        assert model._meta.model_name in MEASUREMENTS
        assert not [field for field in model._meta.get_fields() if field.is_relation]
    assert {Collection._meta.model_name, Organization._meta.model_name}.isdisjoint(MEASUREMENTS)
