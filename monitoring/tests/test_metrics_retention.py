"""Retention of measurements: each kind for its time, samples as an organization wants it, within bounds."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from monitoring.metrics import retention, storage
from monitoring.models import MetricRollup, SystemMetric
from monitoring.tests.samples import NOW, sample
from orchestrators import retention as pruning
from orgs.models import Organization

pytestmark = pytest.mark.django_db


def aged(days: float, organization: str = "acme") -> SystemMetric:
    return sample(NOW - timedelta(days=days), organization=organization, cpu_usage_percent=days)


def ages(organization: str = "acme") -> set[float | None]:
    rows = SystemMetric.objects.filter(organization_id=organization)
    return set(rows.values_list("cpu_usage_percent", flat=True))


def test_samples_go_after_seven_days() -> None:
    storage.insert([aged(6.9), aged(7.1), aged(7.1, organization="gone")])
    assert pruning.prune(now=NOW)["metrics"] == 2
    assert ages() == {6.9}


@pytest.mark.parametrize(
    ("chosen", "kept"),
    [
        ({"retention": {"metrics_days": 2}}, {1.0}),
        ({"retention": {"metrics_days": 30}}, {1.0, 5.0, 29.0}),
        ({"retention": {"metrics_days": 10_000}}, {1.0, 5.0, 29.0, 364.0}),
        ({"retention": {"metrics_days": 0}}, {1.0, 5.0}),
        ({"retention": {"metrics_days": True}}, {1.0, 5.0}),
        ({"retention": {"metrics_days": "30"}}, {1.0, 5.0}),
        ({"retention": 3}, {1.0, 5.0}),
        ({}, {1.0, 5.0}),
    ],
)
def test_an_organization_may_say_how_long(chosen: Any, kept: set[float]) -> None:
    Organization.objects.create(pk="acme", name="Acme", settings=chosen)
    storage.insert([aged(days) for days in (1.0, 5.0, 29.0, 364.0, 366.0)])
    storage.insert([aged(5.0, organization="globex"), aged(8.0, organization="globex")])
    pruning.prune(now=NOW)
    assert ages() == kept
    assert ages("globex") == {5.0}


def test_hours_go_after_ninety_days_and_days_after_two_years() -> None:
    for resolution, days in (("hourly", 89), ("hourly", 91), ("daily", 91), ("daily", 729), ("daily", 731)):
        at = NOW - timedelta(days=days)
        MetricRollup.objects.create(resolution=resolution, start_at=at, organization_id="acme", samples=1)
    gone = pruning.prune(now=NOW)
    assert (gone["metrics_hourly"], gone["metrics_daily"]) == (1, 1)
    assert MetricRollup.objects.count() == 3


def test_samples_are_found_along_an_index() -> None:
    storage.insert(aged(8.0 + n / 1000, organization="globex") for n in range(2000))
    storage.insert([aged(8.0)])
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_sort = off")
            cursor.execute(f"ANALYZE {SystemMetric._meta.db_table}")
    [rule] = [rule for rule in retention.rules(now=NOW) if rule.rows.filter(organization_id="acme").exists()]
    plan = rule.rows.order_by(rule.order).values_list("pk", flat=True)[:1000].explain()
    assert "metrics_by_organization" in plan
    assert "TEMP B-TREE" not in plan
    assert "Sort" not in plan
