"""The console's page about the controller: its parts' levels, measuring at once, and who may see it."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from monitoring.metrics import storage
from monitoring.models import SystemMetric
from monitoring.tests.samples import sample
from orgs.models import AuditEntry, User

pytestmark = [pytest.mark.once, pytest.mark.django_db]


@pytest.fixture
def console(client: Client, settings: Any) -> Client:
    settings.DEFAULT_ORGANIZATION_ID = "acme"
    client.force_login(User.objects.create_superuser("root", password="a long password 17"))
    return client


def host(**values: Any) -> SystemMetric:
    return sample(values.pop("at", timezone.now()), orchestrator="", **values)


def cards(console: Client) -> dict[str, Any]:
    shown = console.get(reverse("console_system_cards")).context["cards"]
    return {card["title"]: card for card in shown}


def test_each_part_of_the_host_has_its_level_by_the_fresh_sample(console: Client) -> None:
    storage.insert(
        [
            host(cpu_usage_percent=93.0, memory_percent=81.0, storage_percent=12.0, network_connections=7.0),
            sample(timezone.now(), orchestrator="orch-1", storage_percent=99.0),
        ]
    )
    found = cards(console)
    levels = {title: next(word for word in ("Healthy", "Warning", "Critical") if word in found[title]["badge"])
              for title in ("CPU", "Memory", "Disk", "Network")}  # fmt: skip
    assert levels == {"CPU": "Critical", "Memory": "Warning", "Disk": "Healthy", "Network": "Healthy"}
    assert (found["CPU"]["value"], found["CPU"]["note"]) == ("93.0 %", "warning from 70 %, critical from 90 %")
    assert "Connected" in found["Database"]["badge"]
    assert "Not running" in found["Beat"]["badge"]


def test_an_old_sample_says_nothing_about_now(console: Client) -> None:
    storage.insert([host(at=timezone.now() - timedelta(minutes=6), cpu_usage_percent=93.0)])
    found = cards(console)["CPU"]
    assert ("Unknown" in found["badge"], found["value"]) == (True, "–")


def test_measuring_at_once_stores_a_sample_and_says_so(console: Client, settings: Any) -> None:
    settings.AUTO_COLLECT = False
    assert "Measuring by the clock is off" in console.get(reverse("console_system")).content.decode()
    before = AuditEntry.objects.count()
    answer = console.post(reverse("console_system_collect"), follow=True)
    assert "Measured in" in answer.content.decode()
    row = SystemMetric.objects.get()
    assert (row.organization_id, row.orchestrator_id, row.collected_by) == ("acme", "", "root")
    assert AuditEntry.objects.count() == before  # the host is measured, nothing is administered
    assert console.get(reverse("console_system_collect")).status_code == 405


def test_the_page_asks_as_often_for_many_samples_as_for_few(console: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            assert console.get(reverse("console_system")).status_code == 200
        return len(asked.captured_queries)

    now = timezone.now()
    storage.insert([host(cpu_usage_percent=1.0)])
    few = queries()
    storage.insert(host(at=now - timedelta(seconds=n), cpu_usage_percent=1.0) for n in range(1, 2000))
    storage.insert(sample(now, orchestrator=f"o-{n}", cpu_usage_percent=1.0) for n in range(500))
    assert queries() == few <= 12


@pytest.mark.parametrize("who", ["nobody", "member"])
def test_nobody_but_a_superadmin_sees_it_or_measures(client: Client, who: str) -> None:
    if who == "member":
        client.force_login(User.objects.create_user("bob"))
    for name in ("console_system", "console_system_cards", "console_system_collect"):
        for call in (client.get, client.post):
            assert call(reverse(name)).status_code == 302, name
    assert not SystemMetric.objects.exists()
