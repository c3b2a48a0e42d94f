"""Calls of our own API: what is counted, under what, at what price, and how it gets into the table."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from monitoring.metrics import flushing, histogram, requests, routes
from monitoring.metrics import retention as metrics_retention
from monitoring.metrics.requests import Numbers, Recorder, Series
from monitoring.models import Activity, RequestMetric
from orgs import rates, retention
from orgs.tests import cast
from orgs.tests.cast import Cast

READ = Series("/api/v1/things/{id}", "GET", "2xx")
NOW = datetime(2026, 11, 21, 12, 0, 5, tzinfo=UTC)
ORCHESTRATORS = "/api/v1/controller/orchestrators"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """This process's recorder, empty."""
    recorder = Recorder()
    monkeypatch.setattr(requests, "RECORDER", recorder)
    return recorder


@pytest.fixture
def people(db: None, settings: Any) -> Cast:
    return cast.make(settings)


def record(recorder: Recorder, *, ms: float = 10, status: int = 200, after_seconds: float = 0, org: str = "a") -> None:
    series = READ._replace(status_class=f"{status // 100}xx")
    now = NOW.timestamp() + after_seconds
    recorder.record(series, status=status, organization_id=org, elapsed_ms=ms, now=now)


def rows(recorder: Recorder) -> list[RequestMetric]:
    """Return what would be stored, and leave it unstored."""
    taken: list[RequestMetric] = []

    def refuse(found: Sequence[RequestMetric]) -> None:
        taken.extend(found)
        raise DatabaseError

    if recorder.waiting():
        with pytest.raises(DatabaseError):
            recorder.flush(refuse)
    return taken


# --- the door ---------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_counting_a_call_takes_no_statement(counted: Recorder) -> None:
    with CaptureQueriesContext(connection) as statements:
        assert Client().get("/healthz").status_code == 200
        assert Client().get("/no/such/path").status_code == 404
    assert len(statements) == 0
    assert sum(numbers.count for numbers in counted.totals().values()) == 2


def test_a_call_is_counted_under_its_route_and_its_organization(people: Cast, counted: Recorder) -> None:
    assert people.alice.get(f"{ORCHESTRATORS}/nobody-1").status_code == 404
    assert people.root.get("/api/v1/controller/organizations/org-002").status_code == 200
    assert people.root.get("/api/v1/controller/organizations/made-up").status_code == 404
    assert people.mallory.get(f"{ORCHESTRATORS}/live").status_code == 403
    found = {(row.route, row.status_class, row.organization_id): row.count for row in rows(counted)}
    assert found == {
        (f"{ORCHESTRATORS}/{{orchestrator_id}}", "4xx", "org-001"): 1,
        ("/api/v1/controller/organizations/{organization_id}", "2xx", "org-002"): 1,
        ("/api/v1/controller/organizations/{organization_id}", "4xx", ""): 1,
        (f"{ORCHESTRATORS}/live", "4xx", ""): 1,
    }


@pytest.mark.django_db
def test_whatever_clients_make_up_the_series_stay_few(counted: Recorder) -> None:
    for number in range(50):
        Client().get(f"/made/up/{number}")
        Client().get(f"/static/{number}.js")
        Client().generic(f"VERB{number}", f"/api/v1/organizations/org-{number}")
    assert len(counted.totals()) <= 4
    assert all(len(series.route) <= routes.MAX_LENGTH for series in counted.totals())


def test_errors_of_the_server_and_of_the_client_are_apart(
    people: Cast, counted: Recorder, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "_memory", rates._Memory())  # others called in this minute, too

    def execute(*_: Any) -> Any:
        raise OperationalError("gone")

    settings.RATE_LIMITS = {"API": "1/minute"}
    settings.REDIS_URL = ""
    people.vera.get("/api/v1/organizations")
    people.vera.get("/api/v1/organizations")
    people.nobody.get("/api/v1/organizations")
    with connection.execute_wrapper(execute):
        people.alice.get(ORCHESTRATORS)
    found = {(row.status_class, row.organization_id): row for row in rows(counted)}
    assert set(found) == {("2xx", "org-001"), ("4xx", "org-001"), ("4xx", ""), ("5xx", "")}
    assert all(row.count == 1 for row in found.values())
    assert (found["4xx", ""].unauthenticated, found["4xx", ""].rate_limited) == (1, 0)
    assert (found["4xx", "org-001"].unauthenticated, found["4xx", "org-001"].rate_limited) == (0, 1)


@pytest.mark.once
@pytest.mark.parametrize(
    ("route", "name"),
    [
        (r"^api/v1/orchestrators/(?P<organization_id>[^/]+)/config/versions/(?P<version>[0-9]{1,9})/?$",
         "/api/v1/orchestrators/{organization_id}/config/versions/{version}"),
        ("admin/orgs/user/<path:object_id>/change/", "/admin/orgs/user/{object_id}/change/"),
        ("", "/"),
        ("x" * 300, f"/{'x' * 119}"),
    ],
)  # fmt: skip
def test_a_route_is_named_as_people_write_it(route: str, name: str) -> None:
    assert routes.name(route) == name


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.once
def test_a_minute_is_replaced_until_it_is_over_and_then_forgotten() -> None:
    recorder = Recorder()
    stored: list[RequestMetric] = []
    record(recorder)
    assert recorder.flush(stored.extend) == 1
    record(recorder)
    assert recorder.flush(stored.extend) == 1
    assert [row.count for row in stored] == [1, 2]
    assert recorder.flush(stored.extend) == 0
    record(recorder, after_seconds=60)
    recorder.flush(stored.extend)
    assert (stored[-1].count, stored[-1].minute_at) == (1, NOW.replace(minute=1, second=0))
    assert len(recorder._rows) == 1


@pytest.mark.once
def test_a_row_counts_sums_and_distributes() -> None:
    recorder = Recorder()
    for ms in (1, 2, 400):
        record(recorder, ms=ms)
    (row,) = rows(recorder)
    assert (row.count, row.sum_ms, row.max_ms) == (3, 403, 400)
    assert row.buckets == {str(histogram.bucket(ms)): 1 for ms in (1, 2, 400)}
    assert (row.node, row.route, row.method) == (requests.node(), READ.route, "GET")


@pytest.mark.once
def test_what_could_not_be_stored_is_kept_within_a_bound_and_the_rest_is_counted_as_lost() -> None:
    recorder = Recorder(max_rows=5)
    for minute in range(8):
        record(recorder, after_seconds=60 * minute)
        rows(recorder)
    assert (len(rows(recorder)), recorder.lost, recorder.totals()[READ].count) == (5, 3, 8)
    stored: list[RequestMetric] = []
    recorder.flush(stored.extend)
    assert sum(row.count for row in stored) == 5
    assert recorder.waiting() == 0
    assert len(recorder._rows) == 0


@pytest.mark.once
def test_a_call_that_ends_while_rows_are_written_is_written_next_time() -> None:
    recorder = Recorder()
    stored: list[RequestMetric] = []
    record(recorder)

    def slow(found: Sequence[RequestMetric]) -> None:
        record(recorder)
        stored.extend(found)

    recorder.flush(slow)
    recorder.flush(stored.extend)
    assert [row.count for row in stored] == [1, 2]


@pytest.mark.once
def test_a_clock_that_is_set_back_takes_nothing_away() -> None:
    recorder = Recorder()
    stored: list[RequestMetric] = []
    record(recorder, after_seconds=60)
    recorder.flush(stored.extend)
    record(recorder, after_seconds=-600)
    recorder.flush(stored.extend)
    assert [row.count for row in stored] == [1, 2]
    assert stored[0].minute_at == stored[1].minute_at


@pytest.mark.once
def test_numbers_are_copied_whole() -> None:
    numbers = Numbers()
    numbers.add(401, 5)
    twin = numbers.copy()
    numbers.add(429, 500)
    assert (twin.count, twin.unauthenticated, twin.rate_limited, twin.sum_ms, twin.max_ms) == (1, 1, 0, 5, 5)
    assert sum(twin.buckets.values()) == 1


# --- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_many_rows_are_one_statement_and_storing_them_again_changes_nothing() -> None:
    recorder = Recorder()
    for number in range(300):
        record(recorder, org=f"org-{number}")
    with CaptureQueriesContext(connection) as statements:
        recorder.flush(requests.store)
    inserts = [entry for entry in statements if "INSERT" in entry["sql"]]
    assert len(inserts) <= 5  # SQLite takes so many values a statement
    record(recorder, org="org-7", ms=990)
    recorder.flush(requests.store)
    assert RequestMetric.objects.count() == 300
    again = RequestMetric.objects.get(organization_id="org-7")
    assert (again.count, again.max_ms) == (2, 990)


@pytest.mark.django_db
def test_two_processes_write_rows_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("host:1:a", "host:2:b"):
        recorder = Recorder()
        record(recorder)
        monkeypatch.setattr(requests, "node", lambda name=name: name)
        recorder.flush(requests.store)
    assert set(RequestMetric.objects.values_list("node", "count")) == {("host:1:a", 1), ("host:2:b", 1)}


@pytest.mark.django_db
def test_retention_lets_old_minutes_and_activities_go(settings: Any) -> None:
    settings.METRICS_RETENTION_DAYS, settings.METRICS_HOURLY_RETENTION_DAYS = 7, 90
    recorder = Recorder()
    record(recorder, after_seconds=-86_400 * 8)
    recorder.flush(requests.store)
    recorder = Recorder()
    record(recorder)
    recorder.flush(requests.store)
    for days in (91, 89):
        at = {"organization_id": "a", "user_id": "u", "activity_type": "feature"}
        Activity.objects.create(activity_id=f"act_{days}", created_at=NOW - timedelta(days=days), **at)
    for rule in metrics_retention.rules(now=NOW):
        retention.delete_batch(rule)
    assert RequestMetric.objects.get().minute_at > NOW - timedelta(days=1)
    assert Activity.objects.get().activity_id == "act_89"
    settings.METRICS_RETENTION_DAYS = settings.METRICS_HOURLY_RETENTION_DAYS = 0
    assert {rule.name for rule in metrics_retention.rules(now=NOW)} & {"request_metrics", "activities"} == set()


# --- the thread -------------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[RequestMetric]:
    """What the thread stored; it has no database here."""
    found: list[RequestMetric] = []
    monkeypatch.setattr(requests, "store", found.extend)
    return found


@pytest.mark.once
def test_the_thread_stores_while_it_runs_and_when_it_ends(stored: list[RequestMetric]) -> None:
    recorder = Recorder()
    flusher = flushing.Flusher(recorder, interval_seconds=600)
    flusher.start()
    record(recorder)
    flusher.stop()
    assert [row.count for row in stored] == [1]
    assert recorder.waiting() == 0
