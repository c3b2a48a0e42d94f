"""The users' doors: made, changed and taken out by administrators of their organization; everybody reads itself."""

import json
import threading
import time
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from orgs import tokens, users
from orgs.models import AuditEntry, Membership, Organization, User
from orgs.tests import cast
from orgs.tests.cast import Cast, Person

pytestmark = pytest.mark.django_db
USERS = "/api/v1/orchestrators/org-001/users"
BODY = {"username": "zoe", "email": "zoe@example.com", "role": "operator", "password": "a-long-enough-secret"}


@pytest.fixture
def people(settings: Any) -> Cast:
    return cast.make(settings)


@pytest.fixture
def zoe(people: Cast) -> User:
    return member("zoe", "operator")


def member(name: str, role: str, organization_id: str = "org-001") -> User:
    user, _ = User.objects.get_or_create(username=name, defaults={"email": f"{name}@example.com"})
    Membership.objects.create(user=user, organization=Organization.objects.get(pk=organization_id), role=role)
    return user


def signed_in(user: User) -> Person:
    return Person({"Authorization": f"Bearer {tokens.sign_in(user, now=timezone.now()).access_token}"})


def data(answer: Any, *, status: int = 200) -> Any:
    assert answer.status_code == status, answer.content
    return json.loads(answer.content)["data"]


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, json.loads(answer.content)["error"]


def changes(action: str) -> int:
    return AuditEntry.objects.filter(action=f"user.{action}", target_id="zoe", organization_id="org-001").count()


def test_a_name_in_full_width_letters_is_the_same_name(people: Cast, zoe: User) -> None:
    assert refusal(people.alice.call("POST", USERS, BODY | {"username": "\uff3a\uff4f\uff45"})) == (409, "conflict")
    made = data(people.alice.call("POST", USERS, BODY | {"username": "\uff41\uff4e\uff4e"}), status=201)
    assert made["username"] == "ann"
    assert User.objects.filter(username="ann").count() == 1


@pytest.mark.parametrize("name", ["\ufdfa" * 10, "\ufb03" * 60, "a b", "a\u00a0b", "a\u202eb", "a\nb", "a\u2028b"])
def test_a_name_that_grows_too_long_or_holds_spaces_or_controls_is_refused(people: Cast, name: str) -> None:
    assert refusal(people.alice.call("POST", USERS, BODY | {"username": name})) == (400, "invalid_field")
    assert User.objects.count() == 0


@pytest.mark.parametrize("who", ["alice", "root"])
def test_a_user_is_made_once_and_can_sign_in(people: Cast, who: str) -> None:
    row = data(getattr(people, who).call("POST", USERS, BODY), status=201)
    assert set(row) == {
        "id", "username", "email", "organization_id", "role", "is_active", "last_login", "created_at",
    }  # fmt: skip
    assert (row["username"], row["email"], row["role"], row["is_active"]) == ("zoe", BODY["email"], "operator", True)
    user = User.objects.get(pk=row["id"])
    assert user.check_password(BODY["password"])
    assert (user.is_superuser, user.is_staff) == (False, False)
    assert data(people.alice.get(f"{USERS}/{row['id']}/")) == row
    assert data(people.alice.get(USERS))["items"] == [row]
    for name in ("zoe", "ZOE"):
        assert refusal(people.alice.call("POST", USERS, BODY | {"username": name})) == (409, "conflict")
    assert changes("create") == 1
    assert BODY["password"] not in str(list(AuditEntry.objects.values()))


def test_a_change_is_audited_once_and_read_back(people: Cast, zoe: User) -> None:
    for _ in range(2):
        row = data(people.alice.call("PUT", f"{USERS}/{zoe.pk}", {"role": "viewer", "email": "z@example.com"}))
        assert (row["role"], row["email"], row["is_active"]) == ("viewer", "z@example.com", True)
    assert data(people.alice.get(f"{USERS}/{zoe.pk}")) == row
    entry = AuditEntry.objects.get(action="user.update")
    assert entry.before == {"role": "operator", "email": "zoe@example.com"}
    assert entry.after == {"role": "viewer", "email": "z@example.com"}


def test_a_whole_user_may_be_put_back_and_the_name_stays(people: Cast, zoe: User) -> None:
    whole = {"username": "zoe", "email": "z@example.com", "role": "viewer", "is_active": True}
    row = data(people.alice.call("PUT", f"{USERS}/{zoe.pk}", whole))
    assert {name: row[name] for name in whole} == whole
    assert AuditEntry.objects.get(action="user.update").after == {"role": "viewer", "email": "z@example.com"}
    renamed = people.alice.call("PUT", f"{USERS}/{zoe.pk}", {"username": "eve", "role": "admin"})
    assert refusal(renamed) == (400, "invalid_field")
    assert list(renamed.json()["fields"]) == ["username"]
    member("zoe", "admin", "org-002")
    shared = people.alice.call("PUT", f"{USERS}/{zoe.pk}", {**whole, "role": "admin"})  # nothing of the account changes
    assert data(shared)["role"] == "admin"
    assert refusal(people.alice.call("PUT", f"{USERS}/{zoe.pk}", {**whole, "is_active": False})) == (403, "forbidden")
    assert (
        data(people.alice.call("PUT", f"{USERS}/{zoe.pk}", {"username": "zoe", "role": "operator"}))["role"]
        == "operator"
    )


@pytest.mark.parametrize("change", [{"is_active": False}, {"password": "another-long-secret"}])
def test_a_closed_account_or_a_new_password_ends_open_sign_ins(people: Cast, zoe: User, change: dict[str, Any]) -> None:
    person = signed_in(zoe)
    assert person.get(f"{USERS}/{zoe.pk}").status_code == 200
    assert people.alice.call("PUT", f"{USERS}/{zoe.pk}", change).status_code == 200
    assert refusal(person.get(f"{USERS}/{zoe.pk}")) == (401, "unauthenticated")
    assert refusal(person.get("/api/v1/controller/orchestrators")) == (403, "forbidden")


def test_who_is_taken_out_is_gone_and_the_account_closed(people: Cast, zoe: User) -> None:
    answer = people.alice.call("DELETE", f"{USERS}/{zoe.pk}")
    assert (answer.status_code, answer.content) == (204, b"")
    for method in ("GET", "DELETE"):
        assert refusal(people.alice.call(method, f"{USERS}/{zoe.pk}")) == (404, "not_found")
    assert changes("delete") == 1
    assert not User.objects.get(pk=zoe.pk).is_active


def test_an_account_of_two_organizations_is_not_one_admins_to_change(people: Cast, zoe: User) -> None:
    member("zoe", "admin", "org-002")
    for change in ({"password": "another-long-secret"}, {"email": "mine@example.com"}, {"is_active": False}):
        assert refusal(people.alice.call("PUT", f"{USERS}/{zoe.pk}", change)) == (403, "forbidden")
    assert data(people.alice.call("PUT", f"{USERS}/{zoe.pk}", {"role": "viewer"}))["role"] == "viewer"
    assert people.alice.call("DELETE", f"{USERS}/{zoe.pk}").status_code == 204
    assert User.objects.get(pk=zoe.pk).is_active
    assert Membership.objects.get(user=zoe).role == "admin"


def test_a_superadmin_is_nobodys_to_change_here(people: Cast, zoe: User) -> None:
    User.objects.filter(pk=zoe.pk).update(is_superuser=True)
    assert refusal(people.alice.call("PUT", f"{USERS}/{zoe.pk}", {"password": "another-long-secret"}))[0] == 403
    assert refusal(people.alice.call("DELETE", f"{USERS}/{zoe.pk}"))[0] == 403


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_everybody_reads_itself_and_raises_itself_to_nothing(people: Cast, zoe: User, role: str) -> None:
    user = member("ann", role)
    person = signed_in(user)
    assert data(person.get(f"{USERS}/{user.pk}"))["username"] == "ann"
    assert [row["username"] for row in data(person.get(USERS))["items"]] == ["ann"]
    assert refusal(person.get(f"{USERS}/{zoe.pk}")) == (403, "forbidden")
    assert refusal(person.call("PUT", f"{USERS}/{user.pk}", {"role": "admin"})) == (403, "forbidden")
    assert refusal(person.call("POST", USERS, BODY | {"username": "eve", "role": "admin"})) == (403, "forbidden")
    assert Membership.objects.get(user=user).role == role


def test_the_console_session_reads_too(people: Cast, zoe: User) -> None:
    browser = Client()
    browser.force_login(zoe)
    assert data(browser.get(f"{USERS}/{zoe.pk}"))["id"] == zoe.pk


CALLS = [("GET", ""), ("POST", ""), ("GET", "/{id}"), ("PUT", "/{id}"), ("DELETE", "/{id}")]


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize(("who", "status"), [("nobody", 401), ("mallory", 401), ("machine", 403), ("charlie", 404)])
def test_others_reach_nothing(people: Cast, zoe: User, method: str, path: str, who: str, status: int) -> None:
    body = {"POST": BODY | {"username": "eve"}, "PUT": {"role": "admin"}}.get(method)
    assert refusal(getattr(people, who).call(method, USERS + path.format(id=zoe.pk), body))[0] == status
    assert Membership.objects.get().role == "operator"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_user_of_another_organization_is_not_reached_through_the_own(people: Cast, zoe: User, method: str) -> None:
    elsewhere = f"{USERS.replace('org-001', 'org-002')}/{zoe.pk}"
    for person in (people.charlie, people.root):
        assert refusal(person.call(method, elsewhere, BODY if method == "PUT" else None)) == (404, "not_found")


@pytest.mark.parametrize("user_id", ["x", "0", "-1", "9" * 18, "9" * 30, "%00"])
def test_an_impossible_id_is_404(people: Cast, user_id: str) -> None:
    assert refusal(people.alice.get(f"{USERS}/{user_id}")) == (404, "not_found")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"username": ""}, "invalid_field"),
        ({"username": "no spaces"}, "invalid_field"),
        ({"username": "x" * 151}, "invalid_field"),
        ({"email": "x"}, "invalid_field"),
        ({"role": "superadmin"}, "invalid_field"),
        ({"role": None}, "invalid_field"),
        ({"password": "short"}, "invalid_field"),
        ({"is_active": "perhaps"}, "invalid_field"),
        ({"is_superuser": True}, "unknown_field"),
        ({"organization_id": "org-002"}, "unknown_field"),
    ],
)
def test_an_unusable_field_makes_and_changes_nothing(
    people: Cast, zoe: User, change: dict[str, Any], code: str
) -> None:
    body = BODY | {"username": "eve"} | change
    assert refusal(people.alice.call("POST", USERS, body)) == (400, code)
    assert refusal(people.alice.call("PUT", f"{USERS}/{zoe.pk}", change)) == (400, code)
    assert User.objects.count() == 1
    assert changes("update") == 0


@pytest.mark.parametrize(("body", "code"), [("[]", "not_an_object"), ("{bad", "invalid_json"), ("", "not_an_object")])
def test_an_unusable_body_is_400(people: Cast, zoe: User, body: str, code: str) -> None:
    assert refusal(people.alice.call("POST", USERS, body)) == (400, code)
    assert refusal(people.alice.call("PUT", f"{USERS}/{zoe.pk}", body)) == (400, code)


@pytest.mark.parametrize(("path", "allowed"), [("", {"GET", "HEAD", "POST"}), ("/1", {"GET", "HEAD", "PUT", "DELETE"})])
def test_a_wrong_method_is_405(people: Cast, path: str, allowed: set[str]) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - allowed:
        answer = people.root.call(method, USERS + path)
        assert refusal(answer) == (405, "method_not_allowed")
        assert set(answer["Allow"].split(", ")) == allowed


def _waiting() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return bool(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
def test_who_waits_for_an_account_holds_no_role_of_it(people: Cast) -> None:
    user, troubles = member("zoe", "operator"), list[Exception]()
    role = user.memberships.get()

    def change() -> None:
        try:
            users.update(role, acting_user=None, role="viewer")
        except Exception as error:
            troubles.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=change)
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        thread.start()
        deadline = time.monotonic() + 5
        while not _waiting() and time.monotonic() < deadline:
            time.sleep(0.02)
        Membership.objects.select_for_update(nowait=True).get(pk=role.pk)
    thread.join()
    assert troubles == []
    assert user.memberships.get().role == "viewer"
