"""The audit trail tells when it was edited: by a database that refuses, and by a chain that shows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from moolai.testing.product import Installation
from orgs import audit, chain
from orgs.models import AuditEntry, AuditHead, Event

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _own_heads(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path


def write(number: int, *, organization_id: str = "org-a") -> None:
    for index in range(number):
        target = ("thing", str(index))
        audit.record(
            "thing.change", acting_user=None, organization_id=organization_id, target=target, after={"n": 1e16}
        )


def problems() -> list[str]:
    return [finding.problem for finding in chain.verify()[1]]


def test_an_untouched_trail_is_intact_whatever_the_database_makes_of_numbers() -> None:
    write(5)
    write(3, organization_id="org-b")
    assert chain.verify() == (8, [])
    assert [row.sequence for row in AuditEntry.objects.filter(organization_id="org-a").order_by("id")] == [
        1,
        2,
        3,
        4,
        5,
    ]
    assert chain.kept_heads()["org-a"][0] == 5


def test_an_edited_row_is_found() -> None:
    write(5)
    AuditEntry.objects.filter(sequence=3).update(actor="somebody else")
    assert problems() == ["the row was edited"]


def test_an_edited_row_with_a_new_hash_breaks_the_link_to_the_next() -> None:
    write(5)
    row = AuditEntry.objects.get(sequence=3)
    row.actor = "somebody else"
    AuditEntry.objects.filter(sequence=3).update(actor=row.actor, hash=chain.digest(row))
    assert problems() == ["the row does not follow the one before it: edited or reordered"]


def test_a_deleted_row_is_found() -> None:
    write(5)
    AuditEntry.objects.filter(sequence=3).delete()
    assert problems() == ["rows 3 to 3 are missing"]


def test_reordered_rows_are_found() -> None:
    write(5)
    second, third = AuditEntry.objects.get(sequence=2), AuditEntry.objects.get(sequence=3)
    AuditEntry.objects.filter(pk=second.pk).update(sequence=99)
    AuditEntry.objects.filter(pk=third.pk).update(sequence=2)
    AuditEntry.objects.filter(pk=second.pk).update(sequence=3)
    assert "the row was edited" in problems()


def test_a_cut_off_end_is_found_also_when_the_head_in_the_database_is_cut_too() -> None:
    write(5)
    AuditEntry.objects.filter(sequence__gt=3).delete()
    assert any("its head says 5" in problem for problem in problems())
    last = AuditEntry.objects.get(sequence=3)
    AuditHead.objects.filter(pk="org-a").update(sequence=3, hash=last.hash)
    assert problems() == ["the chain ends at 3, DATA_DIR has seen 5: rows at the end are gone"]


def test_a_chain_rewritten_as_a_whole_differs_from_the_head_in_the_data_directory() -> None:
    write(2)
    kept = json.loads(chain.heads_path().read_text())
    AuditEntry.objects.all().delete()
    AuditHead.objects.all().delete()
    chain.heads_path().unlink()
    write(2)
    chain.heads_path().write_text(json.dumps(kept))
    assert problems() == ["the row differs from the head kept in DATA_DIR: the chain was rewritten"]


def test_a_change_that_is_rolled_back_leaves_no_row_and_no_gap() -> None:
    write(1)
    with transaction.atomic():
        write(1)
        transaction.set_rollback(True)
    write(1)
    assert chain.verify() == (2, [])
    assert chain.kept_heads()["org-a"][0] == 2
    assert not Event.objects.exists()


@pytest.mark.services
def test_the_database_refuses_to_change_a_row_and_the_command_verifies(
    installation: Callable[..., Installation],
) -> None:
    place = installation()
    place.manage("create_organization", "acme")
    assert "intact" in place.manage("verify_audit").stdout
    script = (
        "from django.db import connection, DatabaseError\n"
        "for statement in ('UPDATE audit_log SET actor = 1', 'DELETE FROM audit_log'):\n"
        "    try:\n        connection.cursor().execute(statement)\n"
        "    except DatabaseError as error:\n        print('refused:', error)\n"
    )
    said = place.manage("shell", "--no-imports", "-c", script).stdout
    assert said.count("append-only") == 2
    drop = (
        "DROP TRIGGER audit_log_no_change ON audit_log"
        if connection.vendor != "sqlite"
        else "DROP TRIGGER audit_log_no_update"
    )
    forge = f"from django.db import connection as c; c.cursor().execute({drop!r}); "
    forge += "c.cursor().execute('UPDATE audit_log SET actor = 7')"
    place.manage("shell", "--no-imports", "-c", forge)
    done = place.manage("verify_audit", check=False)
    assert done.returncode != 0
    assert "the row was edited" in done.stdout
    assert "tampered" in done.stderr


def test_the_suite_itself_may_clean_up() -> None:
    write(1)
    try:
        AuditEntry.objects.all().delete()
    except DatabaseError:
        pytest.fail("conftest.py should have dropped the trigger in the suite's own database")


# --- the newest rows ------------------------------------------------------------------------------------------------


def newest(limit: int, *, organization_id: str = "org-a") -> chain.Verification:
    return chain.verify_newest(organization_id, limit=limit)


@pytest.mark.parametrize(("limit", "rows", "first"), [(2, 2, 4), (4, 4, 2), (5, 5, 1), (100, 5, 1)])
def test_the_newest_rows_of_one_chain_are_checked_alone(limit: int, rows: int, first: int) -> None:
    write(5)
    write(3, organization_id="org-b")
    found = newest(limit)
    assert (found.rows, found.first, found.total, found.findings) == (rows, first, 5, [])
    assert found.is_whole == (first == 1)


def test_what_was_changed_before_the_newest_rows_is_not_seen_and_after_it_is() -> None:
    write(5)
    AuditEntry.objects.filter(sequence=2).update(actor="eve")
    assert newest(3).findings == []
    assert [finding.sequence for finding in newest(4).findings] == [2]


def test_a_row_taken_out_of_the_newest_is_found() -> None:
    write(6)
    AuditEntry.objects.filter(sequence=5).delete()
    assert [finding.problem for finding in newest(2).findings] == ["rows 5 to 5 are missing"]


def test_a_cut_off_end_of_the_newest_is_found() -> None:
    write(5)
    AuditEntry.objects.filter(sequence__gt=3).delete()
    problems_ = [finding.problem for finding in newest(2).findings]
    assert len(problems_) == 2  # the database's head and the one in DATA_DIR
    assert all("ends at 3" in problem for problem in problems_)
    assert newest(2).total == 5


def test_a_chain_nobody_wrote_is_empty_and_intact() -> None:
    assert newest(10, organization_id="nobody") == chain.Verification("nobody", 0, 1, 0, [])
