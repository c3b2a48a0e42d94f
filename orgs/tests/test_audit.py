"""The audit trail: one row per change, attributed to a person, a key or a command, and gone with its transaction."""

from typing import Any

import pytest
from django.db import transaction

from orgs import audit, keys, organizations
from orgs.models import AuditEntry, Organization, User
from orgs.tests import cast
from orgs.tests.cast import Person

pytestmark = pytest.mark.django_db


def record(**options: object) -> AuditEntry:
    given = {"acting_user": None, "organization_id": "acme", "target": ("organization", "acme"), **options}
    return audit.record("organization.update", **given)  # type: ignore[arg-type]


def test_a_row_tells_who_changed_what_from_which_value_to_which() -> None:
    alice = User.objects.create_user("alice")
    row = record(acting_user=alice, before={"name": "A"}, after={"name": "B"}, reason="renamed")
    row.refresh_from_db()
    assert (row.actor, row.action, row.target_type, row.target_id) == (
        "alice", "organization.update", "organization", "acme",
    )  # fmt: skip
    assert (row.before, row.after, row.reason, row.organization_id) == (
        {"name": "A"}, {"name": "B"}, "renamed", "acme",
    )  # fmt: skip


def test_without_a_door_the_system_did_it() -> None:
    row = record()
    assert (row.actor, row.remote_address, row.request_id) == ("system", "", "")


def test_the_origin_names_the_door_and_ends_with_it() -> None:
    with audit.origin("command x", remote_address="192.0.2.1", request_id="req-1"):
        inside = record()
        with audit.origin("nested"):
            assert record().actor == "nested"
        assert record().actor == "command x"
    assert (inside.actor, inside.remote_address, inside.request_id) == ("command x", "192.0.2.1", "req-1")
    assert record().actor == "system"


def test_attribution_keeps_address_and_request() -> None:
    with audit.origin("anonymous", remote_address="192.0.2.1", request_id="req-1"):
        audit.attribute("key bot")
        row = record()
    assert (row.actor, row.remote_address, row.request_id) == ("key bot", "192.0.2.1", "req-1")


def test_a_user_beats_the_origin() -> None:
    with audit.origin("command x"):
        assert record(acting_user=User.objects.create_user("alice")).actor == "alice"


def test_an_endless_reason_is_cut() -> None:
    assert len(record(reason="x" * 10_000).reason) == 500


def test_a_change_that_is_rolled_back_leaves_no_row() -> None:
    with transaction.atomic():
        record()
        transaction.set_rollback(True)
    assert not AuditEntry.objects.exists()


def test_a_key_made_by_a_user_is_theirs_in_the_trail() -> None:
    alice = User.objects.create_user("alice")
    acme = organizations.create("acme", name="Acme", acting_user=alice)
    row, secret = keys.create(acme, name="bot", acting_user=alice, role="viewer")
    entry = AuditEntry.objects.get(action="api_key.create")
    assert (entry.actor, entry.target_id, entry.organization_id) == ("alice", row.key_id, "acme")
    assert secret not in str(entry.after)


def test_a_call_over_http_is_attributed_to_its_key_address_and_request(settings: object) -> None:
    people = cast.make(settings)
    answer = people.root.call(
        "POST",
        "/api/v1/controller/organizations",
        {"organization_id": "new", "name": "New"},
        **{"X-Request-ID": "trace-0001"},
    )
    assert answer.status_code == 201
    entry = AuditEntry.objects.get(target_id="new")
    assert (entry.actor, entry.remote_address, entry.request_id) == ("static token", "127.0.0.1", "trace-0001")


def test_a_key_with_the_longest_name_is_named_by_its_id_and_fits(settings: Any) -> None:
    cast.make(settings)
    row, secret = keys.create(Organization.objects.get(pk="org-001"), name="n" * 200, acting_user=None, role="admin")
    answer = Person({"X-API-Key": secret}).call("PATCH", "/api/v1/controller/organizations/org-001", {"name": "New"})
    assert answer.status_code == 200
    actor = AuditEntry.objects.get(action="organization.update").actor
    assert actor.startswith(f"key {row.key_id} (nnn")
    assert len(actor) == 200
