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
from monitoring.metrics.call_spans import DAY, HOUR, MINUTE
from monitoring.metrics.requests import Numbers, Recorder, Series
from monitoring.models import ALL, Activity, RequestMetric
from moolai.testing.processes import wait_until
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


def counts(found: Sequence[RequestMetric]) -> dict[int, list[int]]:
    """Return the counts of rows by how long these are, sums left out."""
    own = [row for row in found if row.route != ALL]
    return {span: [row.count for row in own if row.span_seconds == span] for span in (MINUTE, HOUR, DAY)}


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
    found = {
        (row.route, row.status_class, row.organization_id): row.count
        for row in rows(counted)
        if row.span_seconds == MINUTE
    }
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
    found = {(row.status_class, row.organization_id): row for row in rows(counted) if row.span_seconds == MINUTE}
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
    assert recorder.flush(stored.extend) == 7
    record(recorder)
    assert recorder.flush(stored.extend) == 7
    assert counts(stored) == {MINUTE: [1, 2], HOUR: [1, 2], DAY: [1, 2]}
    assert recorder.flush(stored.extend) == 0
    record(recorder, after_seconds=60)
    recorder.flush(stored.extend)
    assert counts(stored) == {MINUTE: [1, 2, 1], HOUR: [1, 2, 3], DAY: [1, 2, 3]}
    assert stored[-7].minute_at == NOW.replace(minute=1, second=0)
    assert len(recorder._rows) == 7
    record(recorder, after_seconds=3600)
    recorder.flush(stored.extend)
    assert counts(stored) == {MINUTE: [1, 2, 1, 1], HOUR: [1, 2, 3, 1], DAY: [1, 2, 3, 4]}
    assert len(recorder._rows) == 7


@pytest.mark.once
def test_a_row_counts_sums_and_distributes() -> None:
    recorder = Recorder()
    for ms in (1, 2, 400):
        record(recorder, ms=ms)
    row, hour, day = (row for row in rows(recorder) if row.route != ALL)
    assert (row.count, row.sum_ms, row.max_ms) == (3, 403, 400)
    assert row.buckets == {str(histogram.bucket(ms)): 1 for ms in (1, 2, 400)}
    assert (row.node, row.route, row.method) == (recorder._node, READ.route, "GET")
    midnight = NOW.replace(hour=0, second=0)
    assert (hour.span_seconds, hour.minute_at, day.span_seconds, day.minute_at) == (
        HOUR,
        NOW.replace(second=0),
        DAY,
        midnight,
    )
    for name in (*requests.MEASURED, "node", "route", "method", "status_class", "organization_id"):
        assert getattr(row, name) == getattr(hour, name) == getattr(day, name)


@pytest.mark.once
def test_where_room_is_short_stored_rows_are_forgotten_and_others_begun_under_another_node() -> None:
    recorder, stored = Recorder(max_rows=15), list[RequestMetric]()
    for number in range(2):
        record(recorder, org=f"org-{number}")
    recorder.flush(stored.extend)
    record(recorder, org="org-1")
    record(recorder, org="org-2")
    record(recorder, org="org-0")
    recorder.flush(stored.extend)
    record(recorder, org="org-0")
    recorder.flush(stored.extend)
    kept = {(row.node, row.organization_id, row.span_seconds): row.count for row in stored}
    days = sorted((home, count) for (_, home, span), count in kept.items() if span == DAY and home != ALL)
    assert days == [("org-0", 1), ("org-0", 1), ("org-1", 2), ("org-2", 1)]
    assert recorder.lost == 1
    assert len({node for node, _, _ in kept}) == 3


@pytest.mark.once
def test_what_could_not_be_stored_is_kept_within_a_bound_and_the_rest_is_counted_as_lost() -> None:
    recorder = Recorder(max_rows=11)
    for minute in range(8):
        record(recorder, after_seconds=60 * minute)
        rows(recorder)
    assert (len(rows(recorder)), recorder.lost, recorder.totals()[READ].count) == (11, 3, 8)
    stored: list[RequestMetric] = []
    recorder.flush(stored.extend)
    assert {span: sum(found) for span, found in counts(stored).items()} == {MINUTE: 5, HOUR: 5, DAY: 5}
    assert recorder.waiting() == 0
    assert len(recorder._rows) == 6


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
    assert counts(stored) == {MINUTE: [1, 2], HOUR: [1, 2], DAY: [1, 2]}


@pytest.mark.once
def test_a_clock_that_is_set_back_takes_nothing_away() -> None:
    recorder = Recorder()
    stored: list[RequestMetric] = []
    record(recorder, after_seconds=60)
    recorder.flush(stored.extend)
    record(recorder, after_seconds=-600)
    recorder.flush(stored.extend)
    assert counts(stored) == {MINUTE: [1, 2], HOUR: [1, 2], DAY: [1, 2]}
    assert stored[0].minute_at == stored[7].minute_at


@pytest.mark.once
def test_numbers_are_copied_whole() -> None:
    numbers = Numbers()
    numbers.add(401, 5, 1)
    twin = numbers.copy()
    numbers.add(429, 500, 2)
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
    assert len(inserts) <= 32  # SQLite takes so many values a statement
    record(recorder, org="org-7", ms=990)
    recorder.flush(requests.store)
    assert RequestMetric.objects.count() == 300 * 5 + 2
    again = RequestMetric.objects.filter(organization_id="org-7").exclude(route=ALL).order_by("span_seconds")
    assert list(again.values_list("span_seconds", "count", "max_ms")) == [
        (span, 2, 990) for span in (MINUTE, HOUR, DAY)
    ]


@pytest.mark.django_db
def test_two_processes_write_rows_of_their_own() -> None:
    for _ in range(2):
        recorder = Recorder()
        record(recorder)
        recorder.flush(requests.store)
    assert sorted(RequestMetric.objects.exclude(route=ALL).values_list("span_seconds", "count")) == [
        (span, 1) for span in (MINUTE, MINUTE, HOUR, HOUR, DAY, DAY)
    ]
    assert RequestMetric.objects.values("node").distinct().count() == 2


@pytest.mark.django_db
def test_retention_lets_old_minutes_and_activities_go(settings: Any) -> None:
    settings.REQUEST_METRICS_MINUTE_DAYS, settings.METRICS_HOURLY_RETENTION_DAYS = 3, 90
    settings.METRICS_DAILY_RETENTION_DAYS = 730
    for days in (731, 729, 91, 89, 4, 2):
        recorder = Recorder()
        record(recorder, after_seconds=-86_400 * days)
        recorder.flush(requests.store)
    for days in (91, 89):
        at = {"organization_id": "a", "user_id": "u", "activity_type": "feature"}
        Activity.objects.create(activity_id=f"act_{days}", created_at=NOW - timedelta(days=days), **at)
    for rule in metrics_retention.rules(now=NOW):
        retention.delete_batch(rule)
    left = RequestMetric.objects.exclude(route=ALL).order_by("minute_at").values_list("span_seconds", "minute_at")
    ages = {span: [(NOW - at).days for found, at in left if found == span] for span in (MINUTE, HOUR, DAY)}
    assert ages == {MINUTE: [2], HOUR: [89, 4, 2], DAY: [729, 91, 89, 4, 2]}
    assert Activity.objects.get().activity_id == "act_89"
    settings.REQUEST_METRICS_MINUTE_DAYS = settings.METRICS_HOURLY_RETENTION_DAYS = 0
    settings.METRICS_DAILY_RETENTION_DAYS = 0
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
    assert [row.count for row in stored] == [1] * 7
    assert recorder.waiting() == 0


@pytest.mark.once
def test_the_thread_outlives_what_nobody_thought_of_and_says_so_once(
    stored: list[RequestMetric], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recorder, left = Recorder(), [RuntimeError("unheard of"), RuntimeError("again")]

    def store(found: Sequence[RequestMetric]) -> None:
        if left:
            raise left.pop()
        stored.extend(found)

    monkeypatch.setattr(requests, "store", store)
    caplog.set_level("INFO", logger=flushing.__name__)
    flusher = flushing.Flusher(recorder, interval_seconds=0.01)
    record(recorder)
    flusher.start()
    assert wait_until(lambda: len(stored) == 7, timeout_seconds=5)
    flusher.stop()
    assert caplog.messages == ["request metrics could not be stored", "request metrics are stored again"]
