"""The console's doors to measurements: series of a machine or of all, 304 for what is there, the latest of each."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from monitoring.metrics import requests, storage
from monitoring.models import RequestMetric
from monitoring.tests.samples import sample
from orchestrators import work
from orchestrators.models import Instance
from orgs.models import Membership, Organization, User

pytestmark = [pytest.mark.once, pytest.mark.django_db]
CPU, MEMORY = "cpu_usage_percent", "memory_percent"
SIGNED_IN = 2  # queries: the session and its user


@pytest.fixture
def console(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root", password="a long password 17"))
    return client


def ask(client: Client, *, tag: str = "", **query: str) -> Any:
    wanted = {"organization_id": "acme", "orchestrator_id": "orch-1", "columns": f"{CPU},{MEMORY}", **query}
    headers = {"If-None-Match": tag} if tag else {}
    return client.get(reverse("admin:monitoring_systemmetric_series"), wanted, headers=headers)


@pytest.mark.parametrize(
    ("span", "resolution"), [("1h", "raw"), ("6h", "raw"), ("24h", "raw"), ("7d", "hourly"), ("30d", "daily")]
)
def test_each_range_has_the_machines_own_points_in_columns(console: Client, span: str, resolution: str) -> None:
    now = timezone.now()
    rows = [sample(now - timedelta(seconds=5), cpu_usage_percent=20.0, memory_percent=None)]
    rows += [sample(now - timedelta(seconds=2), orchestrator="other", cpu_usage_percent=99.0)]
    rows += [sample(now - timedelta(seconds=1), organization="globex", cpu_usage_percent=98.0)]
    storage.insert([*rows, sample(now - timedelta(days=60), cpu_usage_percent=99.0)])
    found = ask(console, range=span).json()
    assert (found["range"], found["calls"]) == (span, None)
    assert found["latest"] == [pytest.approx((now - timedelta(seconds=5)).timestamp()), {CPU: 20.0, MEMORY: None}]
    drawn = found["measured"]
    assert (drawn["resolution"], len(drawn["x"])) == (resolution, 1)
    assert drawn["series"][CPU] == {"avg": [20.0], "low": None, "high": None}
    assert drawn["series"][MEMORY]["avg"] == [None]


def test_an_organization_has_the_average_of_its_machines_and_the_host_is_the_one_without_a_name(
    console: Client,
) -> None:
    moment = timezone.now().replace(second=0, microsecond=0) - timedelta(minutes=2)
    machines = {"orch-1": 20.0, "orch-2": 60.0, "": 10.0}
    storage.insert(sample(moment, orchestrator=name, cpu_usage_percent=value) for name, value in machines.items())
    url = reverse("admin:monitoring_systemmetric_series")
    together = console.get(url, {"organization_id": "acme", "columns": CPU}).json()["measured"]["series"][CPU]
    assert together == {"avg": [30.0], "low": [10.0], "high": [60.0]}
    assert ask(console, orchestrator_id="").json()["latest"][1][CPU] == 10.0


def test_what_the_browser_has_is_not_sent_again_until_a_sample_comes(console: Client) -> None:
    storage.insert([sample(timezone.now(), cpu_usage_percent=1.0)])
    for _ in range(2):  # the mark changes by itself twice a minute: the second pair is not torn
        tag = ask(console)["ETag"]
        again = ask(console, tag=tag)
        if again.status_code == 304:
            break
    assert (again.status_code, again.content) == (304, b"")
    assert ask(console, range="6h", tag=tag).status_code == 200
    storage.insert([sample(timezone.now(), cpu_usage_percent=2.0)])
    assert ask(console, tag=tag).json()["latest"][1][CPU] == 2.0


def test_it_asks_the_database_as_often_for_many_points_and_columns_as_for_none(console: Client) -> None:
    def queries(**query: str) -> int:
        with CaptureQueriesContext(connection) as asked:
            assert ask(console, **query).status_code == 200
        return len(asked.captured_queries)

    spans = {"1h": 2, "24h": 2, "7d": 4, "30d": 6}  # the newest sample; then samples, hours and days, from the ends in
    empty = {span: queries(range=span) for span in spans}
    now = timezone.now()
    storage.insert(
        sample(now - timedelta(seconds=20 * n), cpu_usage_percent=1.0, memory_percent=2.0) for n in range(500)
    )
    many = ",".join([CPU, MEMORY, "storage_percent", "db_latency_ms", "network_in_mb_s"])
    assert {span: queries(range=span, columns=many) for span in spans} == empty
    assert all(empty[span] - SIGNED_IN <= most for span, most in spans.items()), empty
    assert queries(calls="1") == empty["1h"] + 1


def test_the_calls_of_the_api_come_along_when_they_are_asked_for(console: Client) -> None:
    minute = timezone.now().replace(second=0, microsecond=0) - timedelta(minutes=3)
    told = {"node": "n", "route": "/x", "method": "GET", "minute_at": minute, "buckets": {}}
    requests.store(
        [
            RequestMetric(**told, status_class="2xx", count=90, sum_ms=900.0, max_ms=70.0),
            RequestMetric(**told, status_class="5xx", count=30, sum_ms=300.0, max_ms=20.0),
        ]
    )
    found = ask(console, calls="1").json()["calls"]
    drawn = {name: values["avg"] for name, values in found["series"].items()}
    assert (found["x"][0], found["step"]) == (minute.timestamp(), 60)
    assert {name: values[0] for name, values in drawn.items()} == {
        "calls_per_second": 2.0, "calls_failed_percent": 25.0, "calls_avg_ms": 10.0, "calls_max_ms": 70.0,
    }  # fmt: skip
    assert (drawn["calls_per_second"][1], drawn["calls_avg_ms"][1]) == (0.0, None)


def test_nothing_stored_is_no_point(console: Client) -> None:
    found = ask(console, calls="1").json()
    assert (found["latest"], found["measured"]["x"], found["calls"]["x"]) == (None, [], [])


@pytest.mark.parametrize(
    "query",
    [
        {"range": "5y"},
        {"organization_id": ""},
        {"columns": "secret"},
        {"columns": f"{CPU},{CPU}"},
        {"columns": "id"},
        {"columns": ""},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(console: Client, query: dict[str, str]) -> None:
    assert ask(console, **query).status_code == 400


def test_the_list_shows_what_was_stored(console: Client) -> None:
    storage.insert([sample(timezone.now(), cpu_usage_percent=12.5)])
    page = console.get(reverse("admin:monitoring_systemmetric_changelist")).content.decode()
    assert "12.5 %" in page


def test_the_table_has_each_orchestrator_with_its_latest_sample_the_busiest_first(console: Client) -> None:
    home = Organization.objects.create(organization_id="acme", name="Acme")
    known = Instance.objects.create(orchestrator_id="orch-1", organization=home)
    now = timezone.now()
    storage.insert(
        [
            sample(now - timedelta(seconds=9), cpu_usage_percent=99.0),
            sample(now, cpu_usage_percent=12.5),
            sample(now - timedelta(hours=1), orchestrator="<b>gone", cpu_usage_percent=91.0),
            sample(now, orchestrator="", cpu_usage_percent=77.0),
            sample(now, organization="globex", orchestrator="theirs", cpu_usage_percent=66.0),
        ]
    )
    url = reverse("admin:monitoring_systemmetric_latest")
    page = console.get(url, {"organization_id": "acme"}).content.decode()
    assert reverse("admin:orchestrators_instance_change", args=[known.pk]) in page
    assert page.index("91.0 %") < page.index("12.5 %")
    assert "&lt;b&gt;gone" in page
    assert "is-stale" in page
    assert not any(word in page for word in ("99.0", "77.0", "66.0", "theirs"))
    assert "No orchestrator of this organization" in console.get(url, {"organization_id": "other"}).content.decode()


def test_an_organizations_chart_of_tasks_has_its_own_alone(console: Client) -> None:
    for name, number in (("acme", 1), ("globex", 3)):
        home = Organization.objects.create(organization_id=name, name=name)
        for _ in range(number):
            work.create(home, task_type="bugfix", payload={}, priority=5, acting_user=None)

    def open_now(**query: str) -> float:
        return float(ask(console, **query).json()["tasks"]["series"]["tasks_open"]["avg"][-1])

    own = {name: open_now(tasks="own", organization_id=name) for name in ("acme", "globex", "nowhere")}
    assert own == {"acme": 1, "globex": 3, "nowhere": 0}
    assert open_now(tasks="all", organization_id="acme") == 4  # the page of the system
    page = console.get(reverse("admin:orgs_organization_change", args=["acme"])).content.decode()
    assert "Of this organization; per hour" in page
    assert 'data-tasks="own"' in page


@pytest.mark.parametrize(("who", "status"), [("nobody", 302), ("member", 302), ("staff", 403)])
def test_nobody_but_a_superadmin_reads_measurements_here(client: Client, who: str, status: int) -> None:
    if who != "nobody":
        acme = Organization.objects.create(organization_id="acme", name="Acme")
        bob = User.objects.create_user("bob", is_staff=who == "staff")
        Membership.objects.create(user=bob, organization=acme, role="admin")
        client.force_login(bob)
    for page in ("series", "latest"):
        wanted = {"organization_id": "acme", "tasks": "all"}
        answer = client.get(reverse(f"admin:monitoring_systemmetric_{page}"), wanted)
        assert answer.status_code == status
