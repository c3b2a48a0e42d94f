"""Every administrative change by route, console or command leaves exactly one audit row; nothing else leaves any."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client, RequestFactory

from orgs.models import AuditEntry, User
from tests.matrix import commands, console, stage
from tests.matrix.exempt import EXEMPT
from tests.matrix.people import IS_WHOLE
from tests.matrix.place import PASSWORD
from tests.matrix.rows import ROWS, Row
from tests.matrix.stage import Stage

pytestmark = [pytest.mark.once, pytest.mark.django_db]
UNSAFE = [row for row in ROWS if row.method != "GET"]
READS = [row for row in ROWS if row.method == "GET"]
NOBODY = {"", "anonymous", "system"}
# Two of them ask at each route, by turns (`MOOLAI_MATRIX=whole` has all of them ask).
WRITERS = [("SA", "token"), ("SA", "jwt"), ("AA", "key"), ("AA", "jwt"), ("OA", "key"), ("AN", "none")]
READERS = ["SA", "AA", "OA", "AN", "MV", "AB"]


@pytest.fixture(scope="module")
def world_stage(django_db_setup: None, django_db_blocker: Any) -> Iterator[Stage]:
    with stage.built(django_db_blocker) as found:
        yield found


@pytest.fixture
def root(world_stage: Stage) -> User:
    user = User.objects.get(username="root")
    user.set_password(PASSWORD)
    user.save(update_fields=["password"])
    return user


def newest(before: int) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(pk__gt=before).order_by("pk"))


def mark() -> int:
    return AuditEntry.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


# --- routes ----------------------------------------------------------------------------------------------------------


def test_a_route_is_audited_or_stands_in_the_list() -> None:
    unaudited = {
        (row.method, row.path) for row in UNSAFE if not any(other.audit for other in UNSAFE if same(row, other))
    }
    assert unaudited - set(EXEMPT) == set()
    assert {key for key in EXEMPT if key not in {(row.method, row.path) for row in ROWS}} == set()


def same(row: Row, other: Row) -> bool:
    return row.key == other.key


@pytest.mark.parametrize("row", UNSAFE, ids=str)
def test_a_change_leaves_exactly_one_row(world_stage: Stage, row: Row) -> None:
    allowed = [caller for caller in WRITERS if row.status(*caller) < 400]
    turn = UNSAFE.index(row)
    for role, kind in allowed if IS_WHOLE or len(allowed) < 3 else [allowed[0], allowed[1 + turn % (len(allowed) - 1)]]:
        caller = world_stage.caller(role, kind)
        before, request_id = mark(), f"audit-{role}-{kind}"
        with stage.undone():
            answer = stage.play(world_stage, row, caller, **{"X-Request-ID": request_id})
            assert answer.status_code == row.status(role, kind)
            found = newest(before)
            assert [entry.action for entry in found][row.audit :] == [], f"{role} {kind}: too many"
            assert len(found) == row.audit, f"{role} {kind}"
        assert all(entry.request_id == request_id and entry.remote_address == "127.0.0.1" for entry in found)
        assert all(entry.actor not in NOBODY for entry in found)
        if caller.user is not None:
            assert all(entry.actor == caller.user.get_username() for entry in found)
    assert allowed or row.audit == 0


@pytest.mark.parametrize("row", READS, ids=str)
def test_a_read_leaves_none(world_stage: Stage, row: Row) -> None:
    before, turn = mark(), READS.index(row)
    for role in READERS if IS_WHOLE else READERS[turn % 3 :: 3]:
        with stage.undone():
            stage.play(world_stage, row, world_stage.caller(role))
            assert newest(before) == []


# --- the console -----------------------------------------------------------------------------------------------------


def test_every_write_the_console_offers_has_a_row(root: User) -> None:
    request = RequestFactory().get("/admin/")
    request.user = root
    assert set(console.offered(request)) == set(console.DEEDS) - {"own password"}


@pytest.mark.parametrize("deed", sorted(console.DEEDS))
def test_a_write_in_the_console_leaves_exactly_one_row(world_stage: Stage, root: User, deed: str) -> None:
    browser = Client()
    browser.force_login(root)
    before = mark()
    answer = console.DEEDS[deed](browser, world_stage.a)
    found = newest(before)
    assert len(found) == 1, (answer.status_code, [entry.action for entry in found], answer.content[:2000])
    assert found[0].actor == "root"
    assert found[0].request_id == answer["X-Request-ID"]


@pytest.mark.parametrize("deed", sorted(console.DEEDS))
def test_nobody_but_a_superadmin_writes_there(world_stage: Stage, root: User, deed: str) -> None:
    opened, others = Client(), ("AN", "MV", "AB")
    opened.force_login(root)
    for role in ("AA", *(others if IS_WHOLE else [others[sorted(console.DEEDS).index(deed) % len(others)]])):
        with stage.undone():
            is_refused(world_stage, deed, reader=opened, role=role)


def is_refused(world_stage: Stage, deed: str, *, reader: Client, role: str) -> None:
    browser = Client()
    if role != "AN":
        browser.force_login(User.objects.get(username__endswith=f"-{role.lower()}"))
    before = mark()
    answer = console.DEEDS[deed](Split(reader, browser), world_stage.a)  # type: ignore[arg-type]
    assert answer.status_code in (302, 403)
    if answer.status_code == 302:
        assert answer["Location"].startswith("/admin/login/")
    assert newest(before) == []


class Split:
    """Reads the forms as one browser, and sends them as another."""

    def __init__(self, reader: Client, writer: Client) -> None:
        self.get, self.post = reader.get, writer.post


# --- commands --------------------------------------------------------------------------------------------------------


def test_every_command_changes_with_a_row_or_stands_in_the_list() -> None:
    assert commands.names() == set(commands.CHANGES) | set(commands.UNAUDITED)
    assert not set(commands.CHANGES) & set(commands.UNAUDITED)


@pytest.mark.parametrize("name", sorted(commands.CHANGES))
def test_a_command_leaves_exactly_one_row(world_stage: Stage, name: str, tmp_path: Path, settings: Any) -> None:
    settings.ENCRYPTION_KEY = f"{'another-key-' * 4},{settings.ENCRYPTION_KEY}"  # what there is to rotate
    file = tmp_path / "registry.json"
    file.write_text(commands.IMPORTED)
    arguments = world_stage.a.fill(commands.CHANGES[name], file=str(file))
    before = mark()
    call_command(name, *arguments, stdout=io.StringIO(), stderr=io.StringIO())
    found = newest(before)
    assert [entry.actor for entry in found] == [f"command {name}"]
