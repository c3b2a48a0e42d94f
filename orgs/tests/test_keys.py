"""API keys: what a secret looks like, what is stored of it, and until when it counts."""

from datetime import timedelta

import pytest
from django.utils import timezone

from moolai.errors import Conflict, InvalidInput
from orgs import keys, organizations
from orgs.models import ApiKey, AuditEntry, Event, Organization

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme() -> Organization:
    return organizations.create("acme", name="Acme", acting_user=None)


def lookup(secret: str) -> keys.Credential | None:
    return keys.lookup([secret], now=timezone.now()).get(secret)


def test_secrets_have_the_published_shape_and_differ() -> None:
    made = {keys.generate() for _ in range(200)}
    assert len(made) == 200
    assert all(keys.is_well_formed(secret) and len(secret) == 49 and secret.startswith("mk_") for secret in made)


@pytest.mark.parametrize("position", [3, 20, 42, 43, 48])
def test_a_mistyped_secret_is_recognized_without_the_database(position: int) -> None:
    secret = keys.generate()
    letter = "a" if secret[position] != "a" else "b"
    assert not keys.is_well_formed(secret[:position] + letter + secret[position + 1 :])


@pytest.mark.parametrize("secret", ["", "mk_", "mk_" + "a" * 46, "MK_" + "0" * 46, "x" * 100_000, "mk_é" + "a" * 45])
def test_what_is_no_key_is_not_well_formed(secret: str) -> None:
    assert not keys.is_well_formed(secret)


def test_only_a_hash_of_the_secret_is_stored(acme: Organization) -> None:
    row, secret = keys.create(acme, name="bot", acting_user=None, role="viewer")
    stored = ApiKey.objects.filter(pk=row.pk).values()[0]
    assert stored["secret_hash"] == keys.digest(secret)
    assert secret not in str(stored)
    assert secret.startswith(stored["prefix"])
    assert secret not in str(list(AuditEntry.objects.values())) + str(list(Event.objects.values()))


def test_lookup_tells_what_a_key_stands_for(acme: Organization) -> None:
    row, secret = keys.create(acme, name="bot", acting_user=None, scopes=["orchestrator"], orchestrator_id="orch-001")
    found = lookup(secret)
    assert found is not None
    assert (found.key_id, found.organization_id, found.name) == (row.key_id, "acme", "bot")
    assert (found.role, found.scopes, found.orchestrator_id) == ("", ("orchestrator",), "orch-001")
    assert found.may_register
    assert found.is_organization_open


def test_a_role_does_not_register(acme: Organization) -> None:
    _, secret = keys.create(acme, name="bot", acting_user=None, role="admin")
    found = lookup(secret)
    assert found is not None
    assert not found.may_register


def test_many_lookups_are_one_query(acme: Organization, django_assert_num_queries: object) -> None:
    made = [keys.create(acme, name=str(n), acting_user=None, role="viewer")[1] for n in range(10)]
    with django_assert_num_queries(1):  # type: ignore[operator]
        found = keys.lookup([*made, keys.generate()], now=timezone.now())
    assert set(found) == set(made)


def test_nonsense_costs_no_query(django_assert_num_queries: object) -> None:
    with django_assert_num_queries(0):  # type: ignore[operator]
        assert keys.lookup(["", "' OR 1=1 --", "mk_short"], now=timezone.now()) == {}


def test_a_key_counts_until_it_expires_and_not_a_moment_longer(acme: Organization) -> None:
    end = timezone.now() + timedelta(hours=1)
    _, secret = keys.create(acme, name="bot", acting_user=None, role="viewer", expires_at=end)
    assert secret in keys.lookup([secret], now=end - timedelta(milliseconds=1))
    assert keys.lookup([secret], now=end) == {}


def test_a_revoked_key_is_not_found_and_says_so_once(acme: Organization) -> None:
    row, secret = keys.create(acme, name="bot", acting_user=None, role="viewer")
    keys.revoke(row, acting_user=None)
    first = ApiKey.objects.get(pk=row.pk).revoked_at
    keys.revoke(row, acting_user=None)
    assert lookup(secret) is None
    assert ApiKey.objects.get(pk=row.pk).revoked_at == first
    assert AuditEntry.objects.filter(action="api_key.revoke", target_id=row.key_id).count() == 1
    assert Event.objects.filter(kind="api_key.revoked", data={"key_id": row.key_id}).count() == 1


@pytest.mark.parametrize(("field", "value"), [("is_active", False), ("status", "suspended")])
def test_a_closed_organization_shows_on_its_keys(acme: Organization, field: str, value: object) -> None:
    _, secret = keys.create(acme, name="bot", acting_user=None, role="viewer")
    setattr(acme, field, value)
    acme.save(update_fields=[field])
    found = lookup(secret)
    assert found is not None
    assert not found.is_organization_open


@pytest.mark.parametrize(
    ("role", "scopes", "field"),
    [
        ("", [], "role"),
        ("admin", ["orchestrator"], "role"),
        ("superadmin", [], "role"),
        ("", ["everything"], "scopes"),
    ],
)
def test_a_key_has_one_known_role_or_known_scopes(acme: Organization, role: str, scopes: list[str], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        keys.create(acme, name="bot", acting_user=None, role=role, scopes=scopes)
    assert field in refused.value.fields
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("grace", [0, 3_600])
def test_a_rotation_leaves_one_audit_row_that_names_successor_and_grace(acme: Organization, grace: int) -> None:
    row, old = keys.create(acme, name="bot", acting_user=None, scopes=["orchestrator"], orchestrator_id="orch-001")
    AuditEntry.objects.all().delete()
    successor, secret = keys.rotate(row, acting_user=None, grace_seconds=grace)
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.organization_id, entry.target_id) == ("api_key.rotate", "acme", row.key_id)
    row.refresh_from_db()
    assert row.expires_at is not None
    assert entry.before == {"expires_at": None}
    assert entry.after == {
        "expires_at": row.expires_at.isoformat(), "successor": successor.key_id, "grace_seconds": grace,
    }  # fmt: skip
    assert (successor.name, successor.scopes, successor.orchestrator_id) == ("bot", ["orchestrator"], "orch-001")
    assert (lookup(old) is None, lookup(secret) is None) == (grace == 0, False)
    assert secret not in str(list(AuditEntry.objects.values())) + str(list(Event.objects.values()))


@pytest.mark.parametrize(("grace", "kind"), [(0, "api_key.revoked"), (60, "api_key.expiring")])
def test_a_rotation_without_grace_closes_the_sessions_of_the_old_key(acme: Organization, grace: int, kind: str) -> None:
    row, _ = keys.create(acme, name="bot", acting_user=None, scopes=["orchestrator"])
    Event.objects.all().delete()
    keys.rotate(row, acting_user=None, grace_seconds=grace)
    assert list(Event.objects.values_list("kind", "data")) == [(kind, {"key_id": row.key_id})]


def test_an_ended_key_is_not_rotated_and_nothing_is_written(acme: Organization) -> None:
    row, _ = keys.create(acme, name="bot", acting_user=None, role="viewer")
    keys.revoke(row, acting_user=None)
    before = AuditEntry.objects.count()
    with pytest.raises(Conflict):
        keys.rotate(row, acting_user=None, grace_seconds=60)
    assert AuditEntry.objects.count() == before
    assert ApiKey.objects.count() == 1
