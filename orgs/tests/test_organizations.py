"""Organizations: how they are made, and that no wrong one gets in."""

import threading
from typing import Any

import pytest
from django.db import connection, transaction

from moolai.errors import Conflict, InvalidInput
from orgs import organizations
from orgs.models import AuditEntry, Event, Membership, Organization, User

pytestmark = pytest.mark.django_db


def create(organization_id: str = "acme", **fields: Any) -> Organization:
    return organizations.create(organization_id, **{"name": "Acme", "acting_user": None, **fields})


def test_making_one_leaves_a_row_an_audit_row_and_an_event() -> None:
    root = User.objects.create_superuser("root", password="x")
    create(acting_user=root, settings={"config": {"features": {"a": True}}})
    row = Organization.objects.get(pk="acme")
    assert (row.name, row.status, row.is_active, row.is_independent) == ("Acme", "active", True, False)
    assert row.settings == {"config": {"features": {"a": True}}}
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor, entry.organization_id, entry.target_id) == (
        "organization.create", "root", "acme", "acme",
    )  # fmt: skip
    assert Event.objects.get().kind == "organization.created"


def test_without_a_name_it_is_called_by_its_id() -> None:
    assert create(name="").name == "acme"


@pytest.mark.parametrize("organization_id", ["a", "A", "9", "a" * 50, "a.b-c_d"])
def test_ids_may_be_these(organization_id: str) -> None:
    assert create(organization_id).pk == organization_id


@pytest.mark.parametrize(
    "organization_id",
    [
        *["", "-a", ".a", "a b", "a/b", "a" * 51, "é", "a\x00", "../a", "<b>", "a'--", "a\n\n"],
        "a\n",
    ],
)
def test_ids_may_not_be_these(organization_id: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        create(organization_id)
    assert "organization_id" in refused.value.fields
    assert not Organization.objects.exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "x" * 201), ("status", "sleeping"), ("admin_email", "nobody"), ("website", "javascript:alert(1)")],
)
def test_unusable_columns_are_refused_by_name(field: str, value: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        create(**{field: value})
    assert list(refused.value.fields) == [field]


def test_an_id_is_taken_once_and_the_first_stays_as_it_was() -> None:
    create()
    with pytest.raises(Conflict), transaction.atomic():
        create(name="Other")
    assert Organization.objects.get().name == "Acme"
    assert AuditEntry.objects.count() == Event.objects.count() == 1


@pytest.mark.parametrize(
    ("fields", "is_open"),
    [
        ({}, True),
        ({"status": "inactive"}, True),
        ({"status": "provisioning"}, True),
        ({"status": "suspended"}, False),
        ({"is_active": False}, False),
    ],
)
def test_it_is_open_unless_suspended_or_switched_off(fields: dict[str, Any], is_open: bool) -> None:
    assert create(**fields).is_open is is_open


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
def test_a_row_that_names_an_organization_can_be_committed_while_it_is_being_changed() -> None:
    acme, troubles = create(), list[Exception]()

    def join() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '2s'")
            Membership.objects.create(user=User.objects.create(username="ann"), organization=acme, role="viewer")
        except Exception as error:
            troubles.append(error)
        finally:
            connection.close()

    with transaction.atomic():
        organizations.update(acme, acting_user=None, name="Acme Robotics")
        thread = threading.Thread(target=join)
        thread.start()
        thread.join()
    assert troubles == []
