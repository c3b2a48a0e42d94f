"""The console's door to series: every range, 304 for what the browser has, and nothing for others."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from monitoring.metrics import storage
from monitoring.tests.samples import sample
from orgs.models import User

pytestmark = [pytest.mark.once, pytest.mark.django_db]


@pytest.fixture
def console(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root", password="a long password 17"))
    return client


def ask(client: Client, **headers: str) -> Any:
    url = reverse("admin:monitoring_systemmetric_series")
    span = headers.pop("span", "1h")
    return client.get(f"{url}?orchestrator_id=orch-1&range={span}", headers=headers)


@pytest.mark.parametrize(
    ("span", "resolution"), [("1h", "raw"), ("6h", "hourly"), ("24h", "hourly"), ("7d", "hourly"), ("30d", "daily")]
)
def test_each_range_has_the_orchestrators_points_and_its_latest_values(
    console: Client, span: str, resolution: str
) -> None:
    now = timezone.now()
    rows = [sample(now - timedelta(seconds=5), cpu_usage_percent=20.0, memory_percent=None)]
    rows += [sample(now - timedelta(seconds=2), orchestrator="other", cpu_usage_percent=99.0)]
    storage.insert([*rows, sample(now - timedelta(days=60), cpu_usage_percent=99.0)])
    found = ask(console, span=span).json()
    assert (found["range"], found["resolution"], found["latest"]) == (span, resolution, [20.0, None])
    [point] = found["points"]
    assert point[1:] == [20.0, None]


def test_what_the_browser_has_is_not_sent_again_until_a_sample_comes(console: Client) -> None:
    storage.insert([sample(timezone.now(), cpu_usage_percent=1.0)])
    for _ in range(2):  # the mark changes by itself twice a minute: the second pair is not torn
        tag = ask(console)["ETag"]
        again = ask(console, if_none_match=tag)
        if again.status_code == 304:
            break
    assert (again.status_code, again.content) == (304, b"")
    assert ask(console, span="6h", if_none_match=tag).status_code == 200
    storage.insert([sample(timezone.now(), cpu_usage_percent=2.0)])
    assert ask(console, if_none_match=tag).json()["latest"] == [2.0, None]


def test_nothing_stored_is_no_point(console: Client) -> None:
    assert ask(console).json() == {"range": "1h", "resolution": "raw", "latest": [None, None], "points": []}


def test_an_unknown_range_is_refused(console: Client) -> None:
    assert ask(console, span="5y").status_code == 400


def test_the_list_shows_what_was_stored(console: Client) -> None:
    storage.insert([sample(timezone.now(), cpu_usage_percent=12.5)])
    page = console.get(reverse("admin:monitoring_systemmetric_changelist")).content.decode()
    assert "12.5 %" in page
