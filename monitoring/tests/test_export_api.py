"""Exported samples: four formats, each read by what it is for, and nobody's but the caller's."""

import csv
import io
import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from monitoring import export_api
from monitoring.metrics import rollups
from monitoring.models import SystemMetric
from monitoring.rows import FIELDS
from monitoring.tests import scrape
from orgs.tests import cast
from orgs.tests.cast import Cast

pytestmark = pytest.mark.django_db
EXPORT = "/export/metrics"
MOMENTS = ("timestamp", "created_at")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@pytest.fixture
def people(settings: Any) -> Cast:
    found, now = cast.make(settings), timezone.now()
    for minutes, organization_id, name, value in (
        (60 * 48, "org-001", "old", 1), (20, "org-001", "orch-1", 10), (10, "org-001", "orch-1", 20),
        (5, "org-002", "orch-2", 90),
    ):  # fmt: skip
        at = now - timedelta(minutes=minutes)
        scrape.sample(at, organization_id=organization_id, orchestrator_id=name, value=value)
    return found


def body(answer: Any, content_type: str) -> str:
    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"].startswith(content_type)
    return str(answer.content.decode())


def test_json_has_the_rows_of_the_last_day_oldest_first(people: Cast) -> None:
    found = json.loads(body(people.vera.get(EXPORT), "application/json"))
    assert [row["cpu_usage_percent"] for row in found["metrics"]] == [10, 20]
    assert (found["count"], found["organization_id"]) == (2, "org-001")
    assert set(found["metrics"][0]) == set(FIELDS)
    times = [found["start_date"], found["end_date"], *(row[name] for row in found["metrics"] for name in MOMENTS)]
    assert all(MOMENT.fullmatch(time) for time in times), times
    since = (timezone.now() - timedelta(days=3)).date()
    assert json.loads(body(people.vera.get(f"{EXPORT}?start_date={since}"), "application/json"))["count"] == 3
    assert json.loads(body(people.root.get(EXPORT), "application/json"))["count"] == 3
    assert json.loads(body(people.root.get(f"{EXPORT}?org_id=org-002"), "application/json"))["count"] == 1


def test_csv_has_the_same_rows_and_runs_nothing_in_a_spreadsheet(people: Cast) -> None:
    SystemMetric.objects.filter(orchestrator_id="orch-1").update(collected_by="=cmd()", user_id="@sum")
    head, *rows = list(csv.reader(io.StringIO(body(people.vera.get(f"{EXPORT}?format=csv"), "text/csv"))))
    assert head == list(FIELDS)
    found = [dict(zip(head, row, strict=True)) for row in rows]
    assert [float(row["memory_percent"]) for row in found] == [10, 20]
    assert {(row["collected_by"], row["user_id"]) for row in found} == {("'=cmd()", "'@sum")}


def test_prometheus_reads_the_latest_sample_of_each_source(people: Cast) -> None:
    found = scrape.values(body(people.root.get(f"{EXPORT}?format=prometheus"), "text/plain"))
    shares = {
        tuple(sorted(value for _, value in pairs)): value
        for (name, pairs), value in found.items()
        if name == "moolai_sample_cpu_usage_ratio"
    }
    assert shares == {("orch-1", "org-001"): 0.2, ("orch-2", "org-002"): 0.9}
    mine = body(people.vera.get(f"{EXPORT}?format=prometheus"), "text/plain")
    assert "org-002" not in mine
    assert "org-001" in mine


def test_grafana_reads_series_in_milliseconds(people: Cast) -> None:
    rollups.run(now=timezone.now())
    found = json.loads(body(people.vera.get(f"{EXPORT}?format=grafana"), "application/json"))
    series = {entry["target"]: entry["datapoints"] for entry in found}
    now_ms = timezone.now().timestamp() * 1000
    assert [value for value, _ in series["cpu_usage_percent"]] in ([10, 20], [15])
    assert all(now_ms - 2 * 3_600_000 < at <= now_ms for _, at in series["cpu_usage_percent"])


def test_a_foreign_organization_is_not_there_and_errors_are_the_one_object(people: Cast) -> None:
    for path, person, status, code in (
        (f"{EXPORT}?org_id=org-002", people.vera, 404, "not_found"),
        (f"{EXPORT}?org_id=nowhere", people.root, 404, "not_found"),
        (EXPORT, people.machine, 403, "forbidden"),
        (EXPORT, people.nobody, 401, "unauthenticated"),
        (EXPORT, people.mallory, 401, "unauthenticated"),
        (f"{EXPORT}?format=xml", people.vera, 400, "invalid_parameter"),
        (f"{EXPORT}?start_date=2030-01-01&end_date=2029-01-01", people.vera, 400, "invalid_parameter"),
        (f"{EXPORT}?organization_id=org-001", people.vera, 400, "invalid_parameter"),
    ):
        answer = person.get(path)
        assert (answer.status_code, answer.json()["error"], answer.json()["success"]) == (status, code, False)


def test_too_many_rows_are_refused_rather_than_cut_off(people: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_api, "MAX_ROWS", 1)
    for name in ("json", "csv"):
        assert people.vera.get(f"{EXPORT}?format={name}").json()["error"] == "invalid_parameter"
    assert people.vera.get(f"{EXPORT}?format=grafana").status_code == 200
