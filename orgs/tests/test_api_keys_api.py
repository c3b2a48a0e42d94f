"""The API keys' doors: made, listed masked, rotated with grace, revoked; by administrators of their organization."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from orgs import keys
from orgs.models import ApiKey, AuditEntry, Membership, Organization, User
from orgs.tests import cast
from orgs.tests.cast import Cast, Person

pytestmark = pytest.mark.django_db
KEYS = "/api/v1/orchestrators/org-001/api-keys"
FLEET = "/api/v1/controller/orchestrators"


@pytest.fixture
def people(settings: Any) -> Cast:
    return cast.make(settings)


@pytest.fixture
def bot(people: Cast) -> tuple[str, str]:
    row, secret = keys.create(Organization.objects.get(pk="org-001"), name="bot", acting_user=None, role="viewer")
    return row.key_id, secret


def data(answer: Any, *, status: int = 200) -> Any:
    assert answer.status_code == status, answer.content
    return json.loads(answer.content)["data"]


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, json.loads(answer.content)["error"]


def works(secret: str) -> bool:
    return bool(Person({"X-API-Key": secret}).get(FLEET).status_code == 200)


def changes(action: str, target: str) -> int:
    return AuditEntry.objects.filter(action=f"api_key.{action}", target_id=target).count()


@pytest.mark.parametrize("who", ["alice", "root"])
def test_a_key_is_made_and_its_secret_shown_once(people: Cast, who: str) -> None:
    expires_at = (timezone.now() + timedelta(days=1)).isoformat()
    body = {"name": "ci", "role": "operator", "expires_at": expires_at}
    row = data(getattr(people, who).call("POST", KEYS, body), status=201)
    assert set(row) == {
        "key_id", "organization_id", "name", "secret", "role", "scopes", "orchestrator_id", "expires_at", "revoked_at",
        "created_by", "created_at", "models", "budget_usd", "budget_window", "requests_per_minute", "tokens_per_minute",
        "max_parallel", "spent_usd", "window_ends_at",
    }  # fmt: skip
    assert (row["name"], row["role"], row["organization_id"]) == ("ci", "operator", "org-001")
    assert works(row["secret"])
    answer = people.alice.get(KEYS)
    assert row["secret"] not in answer.content.decode()
    shown = data(answer)["items"][0]
    assert shown == row | {"secret": f"{row['secret'][:11]}***"}
    assert changes("create", row["key_id"]) == 1
    assert row["secret"] not in str(list(AuditEntry.objects.values()))


def test_an_orchestrators_key_may_be_bound(people: Cast) -> None:
    body = {"name": "o", "scopes": ["orchestrator"], "orchestrator_id": "orch-001"}
    row = data(people.alice.call("POST", KEYS, body), status=201)
    assert (row["role"], row["scopes"], row["orchestrator_id"]) == ("", ["orchestrator"], "orch-001")


@pytest.mark.parametrize(
    ("body", "role", "scopes"),
    [
        ({"orchestrator_id": "orch-001"}, "", ["orchestrator"]),
        ({"orchestrator_id": ""}, "viewer", []),
        ({}, "viewer", []),
    ],
)
def test_role_and_scopes_may_both_be_left_out(people: Cast, body: Any, role: str, scopes: list[str]) -> None:
    row = data(people.alice.call("POST", KEYS, {"name": "o"} | body), status=201)
    assert (row["role"], row["scopes"], row["orchestrator_id"]) == (role, scopes, body.get("orchestrator_id", ""))


def test_the_list_is_a_page_of_the_own_organization(people: Cast) -> None:
    found = data(people.alice.get(f"{KEYS}?page=1&page_size=2"))
    assert (len(found["items"]), found["total_items"], found["total_pages"], found["has_next"]) == (2, 4, 2, True)
    assert {row["organization_id"] for row in data(people.root.get(KEYS))["items"]} == {"org-001"}
    assert refusal(people.alice.get(f"{KEYS}?role=admin")) == (400, "invalid_parameter")


def test_who_is_no_administrator_sees_its_own_keys_only(people: Cast) -> None:
    assert data(people.vera.get(KEYS))["items"] == []
    user = User.objects.create_user("ann")
    organization = Organization.objects.get(pk="org-001")
    Membership.objects.create(user=user, organization=organization, role="operator")
    row, _ = keys.create(organization, name="ann's", acting_user=user, role="viewer")
    browser = Client()
    browser.force_login(user)
    assert [(item["key_id"], item["created_by"]) for item in data(browser.get(KEYS))["items"]] == [(row.key_id, "ann")]


def test_a_revoked_key_is_useless_and_revoking_it_again_changes_nothing(people: Cast, bot: tuple[str, str]) -> None:
    assert works(bot[1])
    for _ in range(2):
        answer = people.alice.call("DELETE", f"{KEYS}/{bot[0]}")
        assert (answer.status_code, answer.content) == (204, b"")
    assert not works(bot[1])
    assert changes("revoke", bot[0]) == 1
    assert refusal(people.alice.call("POST", f"{KEYS}/{bot[0]}/rotate", {})) == (409, "conflict")


@pytest.mark.parametrize(("body", "grace"), [("", 86_400), ({}, 86_400), ({"grace_seconds": 60}, 60)])
def test_a_rotated_key_works_on_for_a_while(people: Cast, bot: tuple[str, str], body: Any, grace: int) -> None:
    row = data(people.alice.call("POST", f"{KEYS}/{bot[0]}/rotate", body))
    assert (row["name"], row["role"]) == ("bot", "viewer")
    assert row["key_id"] != bot[0]
    assert works(row["secret"])
    assert works(bot[1])
    end = ApiKey.objects.get(key_id=bot[0]).expires_at
    assert end is not None
    assert abs((end - timezone.now()).total_seconds() - grace) < 30
    assert (changes("rotate", bot[0]), changes("create", row["key_id"])) == (1, 0)


def test_without_grace_the_old_key_ends_at_once_and_is_not_rotated_again(people: Cast, bot: tuple[str, str]) -> None:
    assert people.alice.call("POST", f"{KEYS}/{bot[0]}/rotate/", {"grace_seconds": 0}).status_code == 200
    assert not works(bot[1])
    assert refusal(people.alice.call("POST", f"{KEYS}/{bot[0]}/rotate", {})) == (409, "conflict")


CALLS = [("POST", ""), ("DELETE", "/{id}"), ("POST", "/{id}/rotate")]


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize(
    ("who", "status"),
    [("nobody", 401), ("mallory", 401), ("machine", 403), ("oscar", 403), ("vera", 403), ("charlie", 404)],
)
def test_others_change_nothing(
    people: Cast, bot: tuple[str, str], method: str, path: str, who: str, status: int
) -> None:
    before = ApiKey.objects.count()
    body = {"name": "x", "role": "admin"} if not path else None
    answer = getattr(people, who).call(method, KEYS + path.format(id=bot[0]), body)
    assert refusal(answer)[0] == status
    assert ApiKey.objects.count() == before
    assert works(bot[1])


@pytest.mark.parametrize(("who", "status"), [("nobody", 401), ("mallory", 401), ("machine", 403), ("charlie", 404)])
def test_others_read_nothing(people: Cast, who: str, status: int) -> None:
    assert refusal(getattr(people, who).get(KEYS))[0] == status


@pytest.mark.parametrize(("method", "path"), CALLS[1:])
def test_a_key_of_another_organization_is_not_reached_through_the_own(
    people: Cast, bot: tuple[str, str], method: str, path: str
) -> None:
    elsewhere = KEYS.replace("org-001", "org-002") + path.format(id=bot[0])
    for person in (people.charlie, people.root):
        assert refusal(person.call(method, elsewhere)) == (404, "not_found")
    assert refusal(people.alice.call(method, KEYS + path.format(id="key_none"))) == (404, "not_found")
    assert works(bot[1])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_field"),
        ({"name": "x", "role": ""}, "invalid_field"),
        ({"name": "x", "role": "admin", "scopes": ["orchestrator"]}, "invalid_field"),
        ({"name": "x", "role": "superadmin"}, "invalid_field"),
        ({"name": "x", "scopes": ["everything"]}, "invalid_field"),
        ({"name": "x", "scopes": "orchestrator"}, "invalid_field"),
        ({"name": "x", "scopes": ["orchestrator"], "orchestrator_id": "no spaces"}, "invalid_field"),
        ({"name": "x", "role": "viewer", "orchestrator_id": "orch-001"}, "invalid_field"),
        ({"name": "x", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"}, "invalid_field"),
        ({"name": "x", "role": "viewer", "expires_at": "soon"}, "invalid_field"),
        ({"name": "x" * 201, "role": "viewer"}, "invalid_field"),
        ({"name": "x", "role": "viewer", "secret": "mk_mine"}, "unknown_field"),
        ({"name": "x", "role": "viewer", "organization_id": "org-002"}, "unknown_field"),
        ("[]", "not_an_object"),
        ("{bad", "invalid_json"),
    ],
)
def test_an_unusable_body_makes_no_key(people: Cast, body: Any, code: str) -> None:
    before = ApiKey.objects.count()
    assert refusal(people.alice.call("POST", KEYS, body)) == (400, code)
    assert ApiKey.objects.count() == before


@pytest.mark.parametrize(
    "body", [{"grace_seconds": -1}, {"grace_seconds": "x"}, {"grace_seconds": 10**12}, {"seconds": 1}, "[]", "  "]
)
def test_an_unusable_grace_rotates_nothing(people: Cast, bot: tuple[str, str], body: Any) -> None:
    assert people.alice.call("POST", f"{KEYS}/{bot[0]}/rotate", body).status_code == 400
    assert ApiKey.objects.filter(name="bot").count() == 1


@pytest.mark.parametrize(
    ("path", "allowed"), [("", {"GET", "HEAD", "POST"}), ("/key_1", {"DELETE"}), ("/key_1/rotate", {"POST"})]
)
def test_a_wrong_method_is_405(people: Cast, path: str, allowed: set[str]) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - allowed:
        answer = people.root.call(method, KEYS + path)
        assert refusal(answer) == (405, "method_not_allowed")
        assert set(answer["Allow"].split(", ")) == allowed
