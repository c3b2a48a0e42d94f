"""The console's audit trail: filters that read an index, files of any length that are audited, chains that verify."""

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.http import StreamingHttpResponse
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from orgs import audit, chain, trail
from orgs.models import AuditEntry, Membership, Role, User
from orgs.tests.desk import PASSWORD

pytestmark = pytest.mark.django_db
LIST = "/admin/orgs/auditentry/"
EXPORT = f"{LIST}export/"
VERIFY = f"{LIST}verify/"


@pytest.fixture(autouse=True)
def _own_heads(settings: Any, tmp_path: Any) -> None:
    settings.DATA_DIR = tmp_path


def write(action: str, target: str = "x", *, actor: str = "ada", organization_id: str = "acme", **more: Any) -> None:
    audit.record(
        action, acting_user=None, actor=actor, organization_id=organization_id, target=(target, "1"), after=more
    )


def export(console: Client, file_format: str = "csv", query: str = "") -> bytes:
    answer: Any = console.post(f"{EXPORT}?{query}", {"format": file_format})
    assert isinstance(answer, StreamingHttpResponse)
    assert answer["Content-Disposition"].startswith('attachment; filename="audit-trail-')
    return b"".join(answer)


def lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


# --- filters --------------------------------------------------------------------------------------------------------

QUERIES = {
    "organization=acme": {"a.one", "a.two"},
    "organization=-": {"s.one"},
    "organization=nobody": set(),
    "actor=ada": {"a.one", "b.one"},
    "actor=ad": set(),
    "action=a.two": {"a.two"},
    "target=user": {"b.one"},
    "organization=acme&actor=ada": {"a.one"},
    "q=two": {"a.two"},
    "created_at_from_0=2020-01-01": {"a.one", "a.two", "b.one", "s.one"},
    "created_at_to_0=2020-01-01": set(),
    "created_at_from_0=2020-01-01&created_at_from_1=00:00&created_at_to_0=2020-01-02&created_at_to_1=00:00": set(),
}


@pytest.fixture
def filled(console: Client) -> Client:
    write("a.one")
    write("a.two", actor="bob")
    write("b.one", target="user", organization_id="globex")
    write("s.one", actor="system", organization_id="")
    return console


@pytest.mark.parametrize(("query", "found"), QUERIES.items())
def test_each_filter_narrows_the_list_and_the_file(filled: Client, query: str, found: set[str]) -> None:
    page = filled.get(f"{LIST}?{query}")
    assert page.status_code == 200
    text = page.content.decode()
    assert {word for word in ("a.one", "a.two", "b.one", "s.one") if f"{LIST}?action={word}" in text} == found
    assert {row["action"] for row in lines(export(filled, "jsonl", query))} == found


def test_a_day_without_times_is_the_whole_day(filled: Client) -> None:
    today = timezone.now().date()
    assert len(lines(export(filled, "jsonl", f"created_at_from_0={today}&created_at_to_0={today}"))) >= 4
    yesterday = today - timedelta(days=1)
    assert lines(export(filled, "jsonl", f"created_at_to_0={yesterday}")) == []


def test_a_filter_that_is_not_understood_exports_nothing(filled: Client) -> None:
    before = AuditEntry.objects.count()
    answer = filled.post(f"{EXPORT}?created_at_from_0=yesterday", {"format": "csv"})
    assert (answer.status_code, answer["Location"]) == (302, LIST)
    assert AuditEntry.objects.count() == before
    assert filled.get(f"{LIST}?created_at_from_0=yesterday").status_code == 302


def test_choices_come_without_reading_the_rows(filled: Client) -> None:
    with CaptureQueriesContext(
        connection,
    ) as asked:
        text = filled.get(LIST).content.decode()
    for word in ("a.one", "a.two", "b.one", "s.one"):
        assert f'<option value="{word}"' in text
    for query in asked.captured_queries:
        assert "DISTINCT" not in query["sql"]
        assert "COUNT(" not in query["sql"]


def test_the_choices_jump_through_an_index() -> None:
    for word in ("b", "a", "b", "c"):
        write(word, target=word)
    assert trail.actions() == trail.target_types() == ["a", "b", "c"]
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN QUERY PLAN " + trail._STATEMENTS["action"], [10])
            plan = " ".join(row[3] for row in cursor.fetchall())
        assert "COVERING INDEX audit_by_action" in plan
        assert "SCAN audit_log" not in plan.replace("USING COVERING INDEX", "").replace("SEARCH audit_log", "")


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_csv_file_holds_every_column_and_no_formula(console: Client) -> None:
    write("a.one", actor="=cmd()|'x'!A1", note="line\nbreak, comma")
    rows = list(csv.reader(io.StringIO(export(console).decode(), newline="")))
    assert rows[0] == list(trail.COLUMNS)
    row = dict(zip(rows[0], rows[1], strict=True))
    entry = AuditEntry.objects.get(action="a.one")
    assert row["actor"] == "'=cmd()|'x'!A1"
    assert (row["action"], row["hash"], row["after"]) == ("a.one", entry.hash, '{"note": "line\\nbreak, comma"}')
    assert len(rows) == 2


def test_json_lines_hold_the_values_as_they_are(console: Client) -> None:
    write("a.one", actor="=cmd()", many=[1, {"ü": None}])
    [row] = lines(export(console, "jsonl"))
    assert set(row) == set(trail.COLUMNS)
    assert (row["actor"], row["after"], row["before"]) == ("=cmd()", {"many": [1, {"ü": None}]}, None)
    assert row["created_at"].endswith("Z")


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_an_export_leaves_one_row_with_filters_and_count_and_does_not_hold_it(filled: Client, file_format: str) -> None:
    data = export(filled, file_format, "organization=acme&p=1")
    row = AuditEntry.objects.latest("id")
    assert (row.action, row.actor, row.organization_id) == ("audit.export", "root", "acme")
    assert row.after is not None
    assert (row.after["format"], row.after["rows"]) == (file_format, 2)
    assert row.after["filters"]["organization"] == "acme"
    assert b"audit.export" not in data
    assert AuditEntry.objects.filter(action="audit.export").count() == 1
    assert chain.verify()[1] == []


def test_an_export_by_an_unknown_organization_makes_no_chain_for_it(filled: Client) -> None:
    export(filled, "csv", "organization=nobody")
    assert AuditEntry.objects.latest("id").organization_id == ""


def test_a_file_is_read_in_pieces_newest_first(console: Client, root: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail, "CHUNK", 4)
    for number in range(10):
        write(f"a.{number}")
    count, pieces = trail.export(AuditEntry.objects.all(), file_format="jsonl", filters={}, acting_user=root)
    write("a.later")
    with CaptureQueriesContext(connection) as asked:
        first = next(pieces)
    assert len(asked) == 1
    rows = lines(first + b"".join(pieces))
    assert [row["action"] for row in rows] == [f"a.{number}" for number in range(9, -1, -1)]
    assert count == 10


@pytest.mark.parametrize("form", [{}, {"format": "xlsx"}])
def test_an_unknown_format_is_said(console: Client, form: dict[str, str]) -> None:
    assert console.post(EXPORT, form).status_code == 302
    assert not AuditEntry.objects.exists()


def test_a_look_exports_nothing(console: Client) -> None:
    assert console.get(EXPORT).status_code == 405
    assert not AuditEntry.objects.exists()


def test_only_superadmins_export_and_verify(client: Client, acme: Any) -> None:
    vera = User.objects.create_user("vera", password=PASSWORD, is_staff=True)
    Membership.objects.create(user=vera, organization=acme, role=Role.ADMIN)
    client.force_login(vera)
    assert client.post(EXPORT, {"format": "csv"}).status_code == 403
    assert client.get(VERIFY).status_code == 403
    assert Client().post(EXPORT, {"format": "csv"})["Location"].startswith("/admin/login/")
    assert not AuditEntry.objects.filter(action="audit.export").exists()


@pytest.mark.django_db(transaction=True)
async def test_under_asgi_the_file_streams(root: User) -> None:
    from asgiref.sync import sync_to_async

    await sync_to_async(write)("a.one")
    client = AsyncClient()
    await client.aforce_login(root)
    answer: Any = await client.post(EXPORT, {"format": "jsonl"})
    assert isinstance(answer, StreamingHttpResponse)
    assert answer.is_async
    data = b"".join([piece async for piece in answer])
    assert [row["action"] for row in lines(data)] == ["a.one"]


# --- verification ---------------------------------------------------------------------------------------------------


def test_the_page_says_what_was_checked(filled: Client) -> None:
    text = filled.get(VERIFY).content.decode()
    assert "What was checked is intact" in text
    assert "all 2 entries" in text
    assert text.count("its one entry") == 2
    assert "The system itself" in text
    one = filled.get(f"{VERIFY}?organization=acme").content.decode()
    assert "all 2 entries" in one
    assert "globex" not in one


def test_the_page_names_the_entry_that_was_edited(filled: Client) -> None:
    AuditEntry.objects.filter(action="a.one").update(actor="eve")
    text = filled.get(VERIFY).content.decode()
    assert "The trail was tampered with" in text
    assert "entry 1: the row was edited" in text
    entry = AuditEntry.objects.get(action="a.one")
    assert "Edited afterwards" in filled.get(reverse("admin:orgs_auditentry_change", args=[entry.pk])).content.decode()
    assert "Tampered" not in filled.get(f"{VERIFY}?organization=globex").content.decode()


def test_the_page_is_bounded_and_says_so(filled: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from orgs.admin import audit_trail

    monkeypatch.setattr(audit_trail, "CHECKED_ROWS", 2)
    for number in range(3):
        write(f"a.{number}")
    text = filled.get(VERIFY).content.decode()
    assert "the newest 1 of 5 entries" in text  # one was spent on the system's chain, which comes first
    assert "Intact so far back" in text
    assert "Not checked yet" in text


def test_an_unknown_chain_is_empty(console: Client) -> None:
    assert "no entries" in console.get(f"{VERIFY}?organization=nobody").content.decode()


def test_every_row_leads_to_what_is_like_it(filled: Client) -> None:
    text = filled.get(LIST).content.decode()
    assert f'href="{LIST}?organization=globex"' in text
    assert f'href="{LIST}?organization=-"' in text
    assert f'href="{LIST}?actor=ada"' in text
