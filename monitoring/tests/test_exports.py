"""Exports: the doors, who may, the files read back by other readers, and what happens to a job of theirs."""

import csv
import io
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from django.conf import settings as configured
from django.db import connections, router
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pyarrow import parquet

from monitoring.analytics import records
from monitoring.exports import files, making, reading
from monitoring.exports.wish import Wish
from monitoring.models import Activity, ExportChunk, SystemMetric
from monitoring.tests.samples import sample
from orchestrators import jobs, retention, tenants
from orchestrators.jobs import running
from orchestrators.models import Job
from orgs.models import AuditEntry, Organization, User
from orgs.tests import cast
from orgs.tests.cast import Cast

pytestmark = pytest.mark.django_db
EXPORT, JOBS = "/api/v1/controller/export", "/api/v1/internal/jobs"
START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SPAN = {"start": "2026-11-20T12:00:00Z", "end": "2026-11-20T13:00:00Z"}
WISH = {"export_type": "csv", "metrics": ["memory_percent", "cpu_usage_percent"], "time_range": SPAN}
NAMES = ["timestamp", "organization_id", "orchestrator_id", "memory_percent", "cpu_usage_percent"]
EVIL = '=HYPERLINK("http://x";"y")'
COUNT = 12


@pytest.fixture
def people(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cast:
    """The cast; COUNT samples of org-001 in ten minutes, two at a moment, one of org-002, one outside; batches of 5."""
    settings.DATA_DIR = tmp_path
    monkeypatch.setattr(reading, "BATCH", 5)
    found = cast.make(settings)
    rows = [
        sample(START + timedelta(seconds=n // 2), organization="org-001", orchestrator=EVIL if n == 3 else f"o-{n}",
               memory_percent=n + 0.5, cpu_usage_percent=None if n == 4 else n)
        for n in range(COUNT)
    ]  # fmt: skip
    rows.append(sample(START, organization="org-002", orchestrator="theirs", memory_percent=99))
    rows.append(sample(START + timedelta(hours=1), organization="org-001", orchestrator="late", memory_percent=98))
    SystemMetric.objects.bulk_create(rows)
    return found


def data(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.content
    return answer.json()["data"]


def made(person: Any, **wish: Any) -> dict[str, Any]:
    """Ask for an export, have it done, and return how it stands."""
    row = data(person.call("POST", EXPORT, WISH | wish), 202)
    assert (row["status"], row["kind"], row["download_url"], row["bytes"]) == ("queued", "export", None, None)
    assert jobs.drain() == 1
    found: dict[str, Any] = data(person.get(f"{EXPORT}/{row['job_id']}"))
    return found


def fetched(person: Any, row: dict[str, Any]) -> bytes:
    answer = person.get(row["download_url"])
    assert answer.status_code == 200, answer.content
    body = b"".join(answer.streaming_content)
    assert answer["Content-Length"] == str(len(body)) == str(row["bytes"])
    assert answer["Content-Disposition"] == f'attachment; filename="{row["file_name"]}"'
    assert (answer["X-Content-Type-Options"], answer["Cache-Control"]) == ("nosniff", "no-store")
    assert answer["Content-Type"] == TYPES[row["file_name"].rsplit(".")[-1]]
    return body


TYPES = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


def stored(*organizations: str) -> list[list[Any]]:
    """Return the samples of the span as the database has them, in the order of an export."""
    rows = SystemMetric.objects.filter(timestamp__lt=START + timedelta(hours=1), organization_id__in=organizations)
    return [list(row) for row in rows.order_by("organization_id", "timestamp", "id").values_list(*NAMES)]


def of_csv(body: bytes) -> list[list[Any]]:
    head, *rows = csv.reader(io.StringIO(body.decode(), newline=""))
    assert head == NAMES
    return [
        [
            datetime.fromisoformat(at),
            whose,
            name.removeprefix("'"),
            *(float(value) if value else None for value in rest),
        ]
        for at, whose, name, *rest in rows
    ]


def of_json(body: bytes) -> list[list[Any]]:
    rows = json.loads(body)
    assert all(list(row) == NAMES for row in rows)
    return [[datetime.fromisoformat(row["timestamp"]), *[row[name] for name in NAMES[1:]]] for row in rows]


def of_parquet(body: bytes) -> list[list[Any]]:
    table = parquet.read_table(io.BytesIO(body))
    assert table.column_names == NAMES
    assert [str(field.type) for field in table.schema] == ["timestamp[us, tz=UTC]", *["string"] * 2, *["double"] * 2]
    return [list(row.values()) for row in table.to_pylist()]


def of_xlsx(body: bytes) -> list[list[Any]]:
    sheet = openpyxl.load_workbook(io.BytesIO(body)).active
    assert sheet is not None
    head, *rows = sheet.iter_rows()
    assert [cell.value for cell in head] == NAMES
    assert sheet.freeze_panes == "A2"
    assert {cell.data_type for row in rows for cell in row[1:3]} == {"s"}  # no formula
    assert [cell.quotePrefix for row in rows for cell in row if cell.value == EVIL] == [True]
    assert not any(cell.hyperlink for row in rows for cell in row)
    assert {row[0].number_format for row in rows} == {"yyyy-mm-dd hh:mm:ss.000"}
    return [[row[0].value.replace(tzinfo=UTC), *[cell.value for cell in row[1:]]] for row in rows]


READERS = {"csv": of_csv, "json": of_json, "parquet": of_parquet, "xlsx": of_xlsx}


# --- the files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", READERS)
def test_a_file_has_the_samples_of_the_span_and_other_readers_agree(people: Cast, kind: str) -> None:
    row = made(people.vera, export_type=kind)
    assert (row["status"], row["total"], row["done"], row["rows"], row["percent"]) == (
        "completed", COUNT, COUNT, COUNT, 100,
    )  # fmt: skip
    body = fetched(people.vera, row)
    assert READERS[kind](body) == stored("org-001")
    assert b"theirs" not in body
    if kind == "csv":
        assert b'"\'=HYPERLINK(""http://x""' in body
    assert (row["organization_id"], row["file_name"].startswith("metrics-org-001-2026")) == ("org-001", True)


def test_a_superadmin_exports_all_or_some_and_the_filter_narrows(people: Cast) -> None:
    everything = made(people.root)
    assert (everything["organization_id"], everything["rows"]) == ("", COUNT + 1)
    assert of_csv(fetched(people.root, everything)) == stored("org-001", "org-002")
    assert people.vera.get(f"{EXPORT}/{everything['job_id']}").status_code == 404
    theirs = made(people.root, filters={"organization_id": "org-002"})
    assert (theirs["organization_id"], theirs["rows"]) == ("org-002", 1)
    assert people.charlie.get(theirs["download_url"]).status_code == 200
    one = made(people.vera, filters={"orchestrator": ["o-1", EVIL]})
    assert [row[2] for row in of_csv(fetched(people.vera, one))] == ["o-1", EVIL]
    nothing = made(people.vera, export_type="json", filters={"orchestrator": "nowhere"})
    assert (nothing["rows"], nothing["percent"], json.loads(fetched(people.vera, nothing))) == (0, 100, [])


def test_what_is_counted_comes_by_the_hour_and_a_text_of_its_is_no_formula(people: Cast) -> None:
    now = timezone.now()
    for number, who in enumerate(("=cmd()", "=cmd()", "una")):
        Activity.objects.create(
            activity_id=f"a{number}", organization_id="org-001", user_id=who, activity_type="feature", created_at=now
        )
    span = {"start": f"{now - timedelta(days=20):%Y-%m-%d}", "end": f"{now + timedelta(days=1):%Y-%m-%d}"}
    row = made(people.vera, metrics=["activities"], time_range=span)
    assert row["request"]["group_by"] == ["hour", "organization", "user", "activity_type"]
    head, *rows = csv.reader(io.StringIO(fetched(people.vera, row).decode()))
    assert head == ["timestamp", "organization", "user", "activity_type", "activities"]
    found = {(line[2], float(line[4])) for line in rows}
    assert found == {("'=cmd()", 2), ("una", 1)}
    assert (row["percent"], row["rows"], row["total"]) == (100, 2, 22 * 24)
    by_day = made(people.vera, metrics=["activities", "cpu_usage_percent"], time_range=span, group_by=["day"])
    assert (by_day["request"]["group_by"], by_day["status"]) == (["day"], "completed")


# --- the doors -------------------------------------------------------------------------------------------------------


def test_an_export_is_audited_and_nobody_elses(people: Cast) -> None:
    before = AuditEntry.objects.count()
    row = made(people.vera)
    [entry] = AuditEntry.objects.order_by("id")[before:]
    assert (entry.action, entry.organization_id, entry.target_id) == ("metrics.export", "org-001", row["job_id"])
    assert entry.actor.endswith("(viewer)")
    assert (entry.after or {})["metrics"] == WISH["metrics"]
    missing = people.charlie.get(f"{EXPORT}/job_0000000000000000")
    for path in (f"{EXPORT}/{row['job_id']}", row["download_url"]):
        answer = people.charlie.get(path)
        known = {"error", "message", "detail"}
        assert answer.status_code == missing.status_code == 404
        assert {name: answer.json().get(name) for name in known} == {name: missing.json().get(name) for name in known}
        assert people.machine.get(path).status_code == 403
        assert people.nobody.get(path).status_code == 401
        assert people.oscar.get(path).status_code == people.root.get(path).status_code == 200
    assert people.machine.call("POST", EXPORT, WISH).json()["error"] == "forbidden"
    assert people.vera.call("POST", EXPORT, WISH | {"filters": {"organization": "org-002"}}).status_code == 404
    assert [found["kind"] for found in data(people.vera.get(JOBS))["items"]] == ["export"]


@pytest.mark.once
def test_a_body_that_is_none_is_refused_and_told_why(people: Cast) -> None:
    for wish, code, word in (
        ({"export_type": "pdf"}, "invalid_field", "export_type"),
        ({"metrics": ["nothing"]}, "invalid_field", "metrics"),
        ({"metrics": []}, "invalid_field", "metrics"),
        ({"time_range": {"start": SPAN["end"], "end": SPAN["start"]}}, "invalid_field", "time_range"),
        ({"time_range": {"start": "x", "end": SPAN["end"]}}, "invalid_field", "time_range.start"),
        ({"filters": {"colour": "red"}}, "invalid_field", "filters"),
        ({"aggregation": "avg"}, "invalid_field", "aggregation"),
        ({"group_by": ["hour"], "aggregation": "most"}, "invalid_field", "aggregation"),
        ({"limit": 5}, "unknown_field", "limit"),
    ):
        answer = people.vera.call("POST", EXPORT, WISH | wish)
        assert (answer.status_code, answer.json()["error"]) == (400, code), wish
        assert any(name.startswith(word) for name in answer.json()["fields"])
    assert not Job.objects.exists()


def test_more_than_fits_is_refused_with_the_limit_in_words(people: Cast, settings: Any) -> None:
    settings.EXPORT_MAX_ROWS = COUNT - 1
    refused = people.vera.call("POST", EXPORT, WISH).json()
    assert (refused["error"], "more than 11 rows" in json.dumps(refused)) == ("invalid_field", True)
    settings.EXPORT_MAX_ROWS, settings.EXPORT_MAX_MB = COUNT, 0
    row = made(people.vera)
    assert (row["status"], row["download_url"], "EXPORT_MAX_MB" in row["errors"][0]["error"]) == ("failed", None, True)
    answer = people.vera.get(f"{EXPORT}/{row['job_id']}/download")
    assert (answer.status_code, "EXPORT_MAX_MB" in answer.content.decode()) == (409, True)
    assert not ExportChunk.objects.exists()
    assert list((Path(configured.DATA_DIR) / "exports").iterdir()) == []


def test_only_so_many_wait_and_only_so_many_are_kept(people: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = [data(people.vera.call("POST", EXPORT, WISH), 202)["job_id"] for _ in range(making.MAX_OPEN)]
    with CaptureQueriesContext(connections[router.db_for_read(SystemMetric)]) as asked:
        assert people.oscar.call("POST", EXPORT, WISH).json()["error"] == "conflict"
    assert not [one for one in asked.captured_queries if "user_system_performance" in one["sql"]]  # counts nothing
    assert people.charlie.call("POST", EXPORT, WISH).status_code == 202
    assert people.vera.get(f"{EXPORT}/{waiting[0]}/download").json()["error"] == "conflict"
    monkeypatch.setattr(files, "KEPT", 2)
    jobs.drain()
    there = [data(people.vera.get(f"{EXPORT}/{name}"))["download_url"] is not None for name in waiting]
    assert there == [False, False, False, True, True]
    gone = people.vera.get(f"{EXPORT}/{waiting[0]}/download")
    assert (gone.status_code, "export it again" in gone.content.decode()) == (404, True)


# --- the job ---------------------------------------------------------------------------------------------------------


def test_a_worker_that_dies_leaves_nothing_and_the_next_one_makes_the_whole_file(
    people: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "RENEW_SECONDS", 0)
    row = data(people.vera.call("POST", EXPORT, WISH | {"export_type": "xlsx"}), 202)
    claimed = running.claim(row["job_id"])
    assert claimed is not None
    with making.make(claimed, running._renewal(claimed)):  # the kill comes when the file is whole, before it is stored
        half = data(people.vera.get(f"{EXPORT}/{row['job_id']}"))
        assert (half["status"], half["done"], half["download_url"]) == ("running", COUNT, None)
    assert running.claim() is None
    Job.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    SystemMetric.objects.filter(orchestrator_id="o-11").delete()
    jobs.drain()
    whole = data(people.vera.get(f"{EXPORT}/{row['job_id']}"))
    assert (whole["status"], whole["total"], whole["done"]) == ("completed", COUNT - 1, COUNT - 1)
    assert of_xlsx(fetched(people.vera, whole)) == stored("org-001")
    stale = running.run(claimed)  # the first worker wakes up: the job is not its own any more
    assert (stale.status, ExportChunk.objects.count()) == ("completed", 1)


@pytest.mark.parametrize("kind", READERS)
def test_a_cancelled_export_stops_in_the_middle_and_leaves_no_file(
    people: Cast, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(running, "RENEW_SECONDS", 0)
    row = data(people.vera.call("POST", EXPORT, WISH | {"export_type": kind}), 202)
    other = data(people.vera.call("POST", EXPORT, WISH), 202)
    read: list[int] = []
    batches = reading.batches

    def slow(*args: Any, **kwargs: Any) -> Iterator[Any]:
        for batch, done in batches(*args, **kwargs):
            if not read:
                assert running.claim(other["job_id"]) is None  # one at a time: short jobs shall not wait for a thread
                assert people.alice.call("POST", f"{JOBS}/{row['job_id']}/cancel", {}).status_code == 200
            read.append(done)
            yield batch, done

    monkeypatch.setattr(reading, "batches", slow)
    running.run(running.claim(row["job_id"]))  # type: ignore[arg-type]
    assert len(read) == 1
    found = data(people.vera.get(f"{EXPORT}/{row['job_id']}"))
    assert (found["status"], found["errors"], found["download_url"]) == ("cancelled", [], None)
    assert people.vera.get(f"{EXPORT}/{row['job_id']}/download").json()["error"] == "conflict"
    assert not ExportChunk.objects.exists()


def test_a_file_goes_with_its_time_its_job_and_its_organization(people: Cast, settings: Any) -> None:
    settings.EXPORT_RETENTION_HOURS = 24
    old, new = made(people.vera), made(people.vera)
    Job.objects.filter(job_id=old["job_id"]).update(finished_at=timezone.now() - timedelta(hours=25))
    rules = {rule.name: rule.rows.count() for rule in retention.rules(now=timezone.now())}
    assert rules["export_chunks"] == 1
    assert retention.prune(now=timezone.now())["export_chunks"] == 1
    assert data(people.vera.get(f"{EXPORT}/{old['job_id']}"))["download_url"] is None
    assert people.vera.get(new["download_url"]).status_code == 200
    settings.EXPORT_RETENTION_HOURS = 0
    assert "export_chunks" not in {rule.name for rule in retention.rules(now=timezone.now())}
    theirs = made(people.charlie, export_type="json")
    assert theirs["expires_at"] is None
    made(people.root)
    tenants.delete(Organization.objects.get(pk="org-001"), acting_user=None)
    assert sorted(ExportChunk.objects.values_list("organization_id", flat=True), key=str) == [None, "org-002"]
    Job.objects.all().delete()
    assert not ExportChunk.objects.exists()


def test_an_export_of_an_organization_that_is_gone_fails_and_says_so(people: Cast) -> None:
    row = data(people.vera.call("POST", EXPORT, WISH), 202)
    tenants.delete(Organization.objects.get(pk="org-001"), acting_user=None)
    jobs.drain()
    job = Job.objects.get(job_id=row["job_id"])
    assert (job.status, job.errors) == ("failed", [{"error": "The organization was deleted."}])


def test_an_export_of_too_many_groups_fails_and_says_so(people: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_COUNTS", 0)
    Activity.objects.create(activity_id="a", organization_id="org-001", user_id="u", created_at=START)
    row = data(people.vera.call("POST", EXPORT, WISH | {"metrics": ["activities"], "group_by": ["hour"]}), 202)
    jobs.drain()
    (problem,) = data(people.vera.get(f"{EXPORT}/{row['job_id']}"))["errors"]
    assert "choose a shorter one" in problem["error"]


def test_the_lease_is_renewed_for_each_organization_that_has_nothing(people: Cast) -> None:
    rows = [sample(START + timedelta(days=1), organization=f"quiet-{n}") for n in range(4)]
    SystemMetric.objects.bulk_create(rows)
    found = [len(batch) for batch, _ in reading.batches(Wish.parse(WISH), organizations=None, now=timezone.now())]
    assert sum(found) == COUNT + 1
    assert found[-4:] == [0] * 4


def test_what_a_killed_worker_left_on_the_disk_is_tidied(people: Cast, tmp_path: Path) -> None:
    left, fresh = tmp_path / "exports" / "left", tmp_path / "exports" / "fresh"
    for folder in (left, fresh):
        folder.mkdir(parents=True)
        (folder / "part").write_bytes(b"x")
    os.utime(left, (0, 0))
    made(people.vera, export_type="xlsx")
    assert [entry.name for entry in (tmp_path / "exports").iterdir()] == ["fresh"]


# --- the console -----------------------------------------------------------------------------------------------------


@pytest.mark.once
def test_the_console_asks_shows_the_progress_and_offers_the_file(people: Cast) -> None:
    browser = Client()
    browser.force_login(User.objects.create_superuser("boss"), "django.contrib.auth.backends.ModelBackend")
    url = "/admin/monitoring/systemmetric/export/"
    assert url in browser.get("/admin/monitoring/systemmetric/").content.decode()
    page = browser.get(url)
    assert (page.status_code, page.context["form"].initial["metrics"]) == (200, ["cpu_usage_percent", "memory_percent"])
    form = {"metrics": ["memory_percent"], "start": "2026-11-20T12:00", "end": "2026-11-20T13:00", "organization": "",
            "by": "", "export_type": "xlsx"}  # fmt: skip
    wrong = browser.post(url, form | {"end": "2026-11-20T11:00", "organization": "nowhere"}).content.decode()
    assert "There is no such organization." in wrong
    assert "start must lie before end" in browser.post(url, form | {"end": "2026-11-20T11:00"}).content.decode()
    assert not Job.objects.exists()
    done = browser.post(url, form | {"organization": "org-001"})
    job = Job.objects.get()
    assert (done.status_code, done["Location"]) == (302, f"/admin/orchestrators/job/{job.pk}/change/")
    assert (job.organization_id, job.created_by) == ("org-001", User.objects.get(username="boss"))
    waiting = browser.get(done["Location"]).content.decode()
    assert "Export metrics" in waiting
    assert "Cancel the job" in waiting
    assert "/download" not in waiting
    jobs.drain()
    shown = browser.get(done["Location"]).content.decode()
    assert f'href="{EXPORT}/{job.job_id}/download"' in shown
    assert f"{COUNT} rows" in shown
    answer = browser.get(f"{EXPORT}/{job.job_id}/download")
    assert b"".join(answer.streaming_content)[:2] == b"PK"  # type: ignore[attr-defined]
    browser.post(url, form | {"by": "day", "metrics": ["memory_percent", "messages"]})
    assert Job.objects.latest("id").request["group_by"] == ["day", "organization", "orchestrator"]
    ExportChunk.objects.all().delete()
    Job.objects.update(result={**(Job.objects.get(pk=job.pk).result or {}), "expires_at": "2020-01-01T00:00:00Z"})
    assert "/download" not in browser.get(done["Location"]).content.decode()
    other = Client()
    other.force_login(User.objects.create_user("nosy"), "django.contrib.auth.backends.ModelBackend")
    assert other.post(url, form).status_code == 302
    assert Job.objects.count() == 2
