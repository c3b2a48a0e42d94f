"""The audit trail over HTTP: read by administrators, filtered, never written."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from orgs import audit, organizations
from orgs.models import AuditEntry, Membership, Organization, User
from orgs.tests import cast
from orgs.tests.cast import Cast

pytestmark = pytest.mark.django_db
TRAIL = "/api/v1/internal/audit"
OTHER_DAYS = ("since=20260102", "until=2026-W01-5", "since=2026-1-2", "since=2026W015")


@pytest.fixture
def people(settings: Any) -> Cast:
    """The cast, and one more change in each organization and in none."""
    found = cast.make(settings)
    for organization_id in ("org-001", "org-002", ""):
        with audit.origin("cron", remote_address="192.0.2.1", request_id=f"req-{organization_id}"):
            target = ("thing", f"of-{organization_id}")
            audit.record(
                "thing.change", acting_user=None, organization_id=organization_id, target=target, after={"a": 1}
            )
    return found


def data(answer: Any) -> Any:
    assert answer.status_code == 200, answer.content
    return json.loads(answer.content)["data"]


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, json.loads(answer.content)["error"]


def targets(answer: Any) -> list[str]:
    return [item["target_id"] for item in data(answer)["items"]]


def test_an_administrator_sees_its_organizations_changes_newest_first(people: Cast) -> None:
    page = data(people.alice.get(TRAIL))
    assert {item["organization_id"] for item in page["items"]} == {"org-001"}
    assert page["total_items"] == AuditEntry.objects.filter(organization_id="org-001").count()
    ids = [item["id"] for item in page["items"]]
    assert ids == sorted(ids, reverse=True)
    entry = AuditEntry.objects.get(target_id="of-org-001")
    assert page["items"][0] == {
        "id": entry.pk, "organization_id": "org-001", "sequence": entry.sequence, "actor": "cron",
        "action": "thing.change", "target_type": "thing", "target_id": "of-org-001", "before": None, "after": {"a": 1},
        "reason": "", "remote_address": "192.0.2.1", "request_id": "req-org-001",
        "created_at": entry.created_at.isoformat().replace("+00:00", "Z"), "previous_hash": entry.previous_hash,
        "hash": entry.hash,
    }  # fmt: skip


def test_a_superadmin_sees_all_also_what_is_left_of_a_deleted_organization(people: Cast) -> None:
    assert data(people.root.get(TRAIL))["total_items"] == AuditEntry.objects.count()
    assert targets(people.root.get(f"{TRAIL}?action=thing.change")) == ["of-", "of-org-002", "of-org-001"]
    organizations.delete(Organization.objects.get(pk="org-002"), acting_user=None)
    found = data(people.root.get(f"{TRAIL}?organization_id=org-002"))["items"]
    assert found[0]["action"] == "organization.delete"
    assert data(people.root.get(f"{TRAIL}?organization_id=nowhere"))["items"] == []


@pytest.mark.parametrize("who", ["oscar", "vera", "machine", "mallory"])
def test_others_are_forbidden(people: Cast, who: str) -> None:
    assert refusal(getattr(people, who).get(TRAIL)) == (403, "forbidden")


def test_foreign_and_missing_organizations_are_the_same(people: Cast) -> None:
    assert refusal(people.nobody.get(TRAIL)) == (401, "unauthenticated")
    bodies = []
    for organization_id in ("org-002", "nowhere"):
        answer = people.alice.get(f"{TRAIL}?organization_id={organization_id}")
        assert refusal(answer) == (404, "not_found")
        bodies.append({**json.loads(answer.content), "request_id": ""})
    assert bodies[0] == bodies[1]
    assert targets(people.alice.get(f"{TRAIL}?target_id=of-org-002")) == []


def test_who_administers_one_organization_and_views_another_reads_the_first(people: Cast) -> None:
    from django.test import Client

    user = User.objects.create_user("ann")
    for organization_id, role in (("org-001", "admin"), ("org-002", "viewer")):
        Membership.objects.create(user=user, organization_id=organization_id, role=role)
    browser = Client()
    browser.force_login(user)
    assert {item["organization_id"] for item in data(browser.get(TRAIL))["items"]} == {"org-001"}
    assert refusal(browser.get(f"{TRAIL}?organization_id=org-002")) == (403, "forbidden")


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("actor=cron", 3),
        ("actor=cro", 0),
        ("target_type=thing", 3),
        ("target_type=thing&target_id=of-", 1),
        ("target_id=of-org-001", 1),
        ("request_id=req-org-002", 1),
        ("request_id=req-org-002&organization_id=org-001", 0),
        ("action=thing.change&since=2026-01-02T00:00:00Z", 3),
        ("action=thing.change&since=2026-01-03T00:00:00Z", 2),
        ("action=thing.change&until=2026-01-03", 1),
        ("action=thing.change&since=2026-01-02&until=2026-01-02", 0),
        ("actor=cron&page_size=1", 1),
        ("actor=cron&page=2", 0),
        ("actor=' OR 1=1 --", 0),
    ],
)
def test_the_trail_is_filtered(people: Cast, query: str, count: int) -> None:
    AuditEntry.objects.filter(target_id="of-org-001").update(created_at=datetime(2026, 1, 2, tzinfo=UTC))
    assert len(data(people.root.get(f"{TRAIL}?{query}"))["items"]) == count


@pytest.mark.parametrize(
    "query", ["since=yesterday", *OTHER_DAYS, "ordering=hash", "hash=1", "actor=a&actor=b", "page=0", "actor=%00"]
)
def test_an_unusable_parameter_is_400(people: Cast, query: str) -> None:
    assert refusal(people.alice.get(f"{TRAIL}?{query}")) == (400, "invalid_parameter")


@pytest.mark.parametrize(("who", "expected"), [("nobody", (401, "unauthenticated")), ("mallory", (403, "forbidden"))])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_who_writes_it_without_a_good_credential_is_told_so_first(
    people: Cast, who: str, expected: tuple[int, str], method: str
) -> None:
    assert refusal(getattr(people, who).call(method, TRAIL, {})) == expected


@pytest.mark.parametrize("who", ["root", "alice", "vera", "charlie", "machine"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nobody_writes_it(people: Cast, who: str, method: str) -> None:
    before = AuditEntry.objects.count()
    answer = getattr(people, who).call(method, TRAIL, {})
    assert refusal(answer) == (405, "method_not_allowed")
    assert set(answer["Allow"].split(", ")) == {"GET", "HEAD"}
    assert AuditEntry.objects.count() == before
