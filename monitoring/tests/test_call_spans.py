"""Calls read from days, hours and minutes: every reading over any span is the sum of the calls that were made in it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from importlib import import_module
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext

from monitoring.alerts import traffic
from monitoring.alerts.probes import Moment
from monitoring.analytics.api_calls import Summed, Where, summed
from monitoring.metrics import call_series, call_spans, calls, histogram, requests
from monitoring.metrics.call_spans import DAY, HOUR, MINUTE, Part
from monitoring.metrics.requests import Recorder, Series
from monitoring.models import RequestMetric

NOW = datetime(2026, 11, 21, 14, 37, 12, 345_678, tzinfo=UTC)
HOURS = timedelta(hours=1)
ORGANIZATIONS, ROUTES, STATUSES = ("acme", "umbrella", ""), ("/a", "/b"), (200, 404, 500)
LONG = timedelta(days=16)


@dataclass(frozen=True)
class Call:
    """A call as it was made."""

    at: datetime
    route: str
    status: int
    organization_id: str
    ms: int

    @property
    def series(self) -> Series:
        """What it is counted under."""
        return Series(self.route, "GET", f"{self.status // 100}xx")


def made(random: Random, *, number: int) -> list[Call]:
    """Return calls of LONG before NOW, oldest first; more of them lately."""
    ages = sorted((random.random() ** 3 * LONG for _ in range(number)), reverse=True)
    return [
        Call(
            NOW - age,
            random.choice(ROUTES),
            random.choice(STATUSES),
            random.choice(ORGANIZATIONS),
            random.randint(1, 5000),
        )
        for age in ages
    ]


class Process:
    """Counts calls, stores them now and then, ends and starts again; the answer to a commit may be lost."""

    def __init__(self, random: Random) -> None:
        self.random, self.recorder = random, Recorder(max_rows=90)

    def answer(self, call: Call) -> None:
        """Count a call."""
        self.recorder.record(
            call.series, status=call.status, organization_id=call.organization_id, elapsed_ms=call.ms,
            now=call.at.timestamp(),
        )  # fmt: skip
        if self.random.random() < 0.2 or self.recorder.waiting() > 70:
            self.flush()

    def flush(self, *, may_fail: bool = True) -> None:
        """Store what there is."""
        try:
            self.recorder.flush(self._store_and_fail if may_fail and self.random.random() < 0.2 else requests.store)
        except DatabaseError:
            self.recorder.flush(requests.store)

    def _store_and_fail(self, rows: Sequence[RequestMetric]) -> None:
        requests.store(rows)
        raise DatabaseError

    def end(self) -> None:
        """Store what there is; the next one is another process."""
        self.flush(may_fail=False)
        assert (self.recorder.lost, self.recorder.waiting()) == (0, 0)
        self.recorder = Recorder(max_rows=90)


@pytest.fixture
def answered(db: None) -> list[Call]:
    """Return calls that three processes answered, which now and then were started again."""
    random = Random(11)
    found, processes = made(random, number=1200), [Process(random) for _ in range(3)]
    for call in found:
        process = random.choice(processes)
        process.answer(call)
        if random.random() < 0.01:
            process.end()
    for process in processes:
        process.end()
    return found


def expected(found: list[Call], since: datetime, until: datetime, step: int | None, by: str) -> dict[Any, list[Any]]:
    """Return [count, 5xx, 4xx, sum, largest, histogram] by bucket and value, of the minutes that begin in the span."""
    sums: dict[Any, list[Any]] = defaultdict(lambda: [0, 0, 0, 0, 0, {}])
    for call in found:
        minute = call_spans.floor(call.at, MINUTE)
        if not call_spans.kept(since, now=NOW) <= minute < call_spans.kept(until, now=NOW):
            continue
        at = int(minute.timestamp()) // step * step if step else 0
        one = sums[(at, getattr(call, by)) if by else (at,)]
        one[0] += 1
        one[1] += call.status == 500
        one[2] += call.status == 404
        one[3] += call.ms
        one[4] = max(one[4], call.ms)
        histogram.add(one[5], call.ms)
    return dict(sums)


def told(numbers: Summed | calls.Calls) -> list[Any]:
    return [
        numbers.count, numbers.server_errors, numbers.client_errors, numbers.sum_ms, numbers.max_ms, numbers.buckets,
    ]  # fmt: skip


def spans(random: Random) -> Iterator[tuple[datetime, datetime, int | None]]:
    """Yield since, until, step; a step is never finer than what is kept of the span."""
    for number in range(80):
        since = NOW - random.random() ** 2 * LONG
        until = NOW if number % 3 == 0 else since + random.random() ** 2 * (NOW - since)
        steps = [None, DAY, 2 * DAY, HOUR, 3 * HOUR]
        if NOW - since < timedelta(days=3):
            steps += [MINUTE, 15 * MINUTE]
        zone = timezone(timedelta(hours=random.choice((0, 5.5, -8))))
        yield since.astimezone(zone), until.astimezone(zone), random.choice(steps)


def test_every_reading_of_any_span_is_the_sum_of_its_calls(answered: list[Call]) -> None:
    assert RequestMetric.objects.values("node").distinct().count() > 12
    for since, until, step in spans(random := Random(5)):
        homes = random.choice((None, ["acme"], ["umbrella", ""], []))
        by = random.choice(("", "", "route", "organization_id"))
        theirs = [call for call in answered if homes is None or call.organization_id in homes]
        where = Where(homes, since, until, now=NOW)
        name = {"route": "endpoint", "organization_id": "organization"}.get(by)
        with CaptureQueriesContext(connection) as asked:
            got = summed(where, by=[name] if name else (), step_seconds=step, has_buckets=True)
        assert len(asked) == 2
        wanted = expected(theirs, since, until, step, by)
        assert {key: told(numbers) for key, numbers in got.items()} == wanted, (since, until, step, homes, by)
        routes = {("GET", key[1]): sums for key, sums in expected(theirs, since, until, None, "route").items()}
        span: dict[str, Any] = {"organizations": homes, "since": since, "until": until, "now": NOW}
        assert {key: told(numbers) for key, numbers in calls.by_route(**span).items()} == routes
        assert {key: told(numbers)[:5] for key, numbers in calls.counted(**span).items()} == {
            key: sums[:5] for key, sums in routes.items()
        }
    found = call_spans.parts(NOW - LONG, NOW, now=NOW)
    assert [part.span_seconds for part in found] == [HOUR, DAY]


def test_the_controllers_chart_of_any_range_has_the_sums_of_its_calls(answered: list[Call]) -> None:
    for hours in (1, 24, 24 * 7, 24 * 15):
        with CaptureQueriesContext(connection) as asked:
            found = call_series.read(since=NOW - hours * HOURS, until=NOW)
        assert len(asked) == 1
        first, last = (call_spans.floor(moment, found.step_seconds) for moment in (NOW - hours * HOURS, NOW))
        theirs = expected(answered, first, last, found.step_seconds, "")
        points = {
            (at,): (round(rate * found.step_seconds), slowest) for at, rate, _, _, slowest in found.points if rate
        }
        assert points == {key: (sums[0], sums[4]) for key, sums in theirs.items()}, hours


def test_minutes_from_before_there_were_hours_get_theirs(answered: list[Call]) -> None:
    def sums() -> list[Any]:
        names = ("span_seconds", "minute_at", "route", "method", "status_class", "organization_id")
        rows = RequestMetric.objects.order_by(*names).values_list(*names)
        return list(rows.annotate(*(Sum(name) for name in ("count", "unauthenticated", "rate_limited", "sum_ms"))))

    def histograms() -> dict[Any, histogram.Counts]:
        found: dict[Any, histogram.Counts] = defaultdict(dict)
        for *kind, buckets in RequestMetric.objects.values_list("span_seconds", "route", "organization_id", "buckets"):
            histogram.merge(found[tuple(kind)], {int(index): number for index, number in buckets.items()})
        return dict(found)

    migration = import_module("monitoring.migrations.0009_calls_by_hour_and_day")
    editor, before = SimpleNamespace(connection=connection), (sums(), histograms())
    migration.empty(None, editor)
    assert set(RequestMetric.objects.values_list("span_seconds", flat=True)) == {MINUTE}
    RequestMetric.objects.create(
        node="n",
        minute_at=NOW - 900 * HOURS,
        route="/none",
        method="GET",
        status_class="2xx",
        count=1,
        sum_ms=1,
        max_ms=1,
    )
    migration.fill(None, editor)
    none = RequestMetric.objects.filter(route="/none")
    assert list(none.order_by("span_seconds").values_list("span_seconds", "buckets")) == [
        (MINUTE, {}),
        (HOUR, {}),
        (DAY, {}),
    ]
    RequestMetric.objects.filter(node="n").delete()
    assert (sums(), histograms()) == before


@pytest.mark.django_db
def test_alerts_count_the_minutes_alone() -> None:
    now = datetime(2026, 11, 21, 0, 1, 30, tzinfo=UTC)
    recorder = Recorder()
    for _ in range(traffic.FEWEST_CALLS // 2):
        recorder.record(
            Series("/a", "GET", "2xx"), status=200, organization_id="acme", elapsed_ms=5, now=now.timestamp()
        )
    recorder.flush(requests.store)
    moment = Moment(now)
    assert traffic.error_rate(moment) == {}
    assert "of 50;" in traffic.response_time(moment)["acme", ""].detail


# --- the cut ----------------------------------------------------------------------------------------------------------


def covered(found: list[Part], minute: datetime) -> list[Part]:
    return [part for part in found if part.start_at <= call_spans.floor(minute, part.span_seconds) < part.end_at]


@pytest.mark.once
def test_the_parts_cover_each_minute_of_a_span_once_and_no_other() -> None:
    random = Random(3)
    for since, until, step in spans(random):
        coarsest = call_spans.coarsest(step)
        found = call_spans.parts(since, until, now=NOW, coarsest=coarsest)
        first, end = call_spans.kept(since, now=NOW), call_spans.kept(until, now=NOW)
        assert all(MINUTE <= part.span_seconds <= coarsest for part in found)
        for _ in range(50):
            minute = call_spans.floor(since + (random.random() * 1.4 - 0.2) * (until - since), MINUTE)
            if minute <= NOW:
                assert len(covered(found, minute)) == (first <= minute < end), (since, until, minute, found)


@pytest.mark.once
def test_edges_lie_where_rows_are_kept(settings: Any) -> None:
    settings.REQUEST_METRICS_MINUTE_DAYS, settings.METRICS_HOURLY_RETENTION_DAYS = 3, 90
    for days, kept in ((2, NOW), (4, NOW.replace(minute=0)), (91, NOW.replace(hour=0, minute=0))):
        whole = kept if days == 2 else kept.replace(second=0, microsecond=0)
        since = (NOW - timedelta(days=days)).astimezone(timezone(timedelta(hours=5.5)))
        found = call_spans.kept(since, now=NOW)
        assert found == whole - timedelta(days=days)
        assert call_spans.kept(found, now=NOW) == found
    settings.REQUEST_METRICS_MINUTE_DAYS = settings.METRICS_HOURLY_RETENTION_DAYS = 0
    assert call_spans.kept(NOW - 900 * LONG, now=NOW) == NOW - 900 * LONG


@pytest.mark.once
def test_a_series_has_the_points_that_are_kept() -> None:
    for hours, ago, points in (
        (6, 0, MINUTE),
        (7, 0, HOUR),
        (6, 80, HOUR),
        (14 * 24, 0, HOUR),
        (15 * 24, 0, DAY),
        (1, 2400, DAY),
    ):
        until = NOW - ago * HOURS
        assert call_spans.resolution(until - hours * HOURS, until, now=NOW) == points
