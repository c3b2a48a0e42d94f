"""Idempotency-Key: a write that is sent again is answered again, not done again."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from orgs import idempotency, tokens, users
from orgs.models import ApiKey, AuditEntry, IdempotencyKey, Organization, User
from orgs.tests.cast import Cast, Person, make

ORGANIZATIONS = "/api/v1/controller/organizations"
KEYS = "/api/v1/orchestrators/org-001/api-keys"
CI = {"name": "ci", "role": "viewer"}
INITECH = {"organization_id": "initech", "name": "Initech"}


@pytest.fixture
def cast(db: None, settings: Any) -> Cast:
    return make(settings)


def test_a_repeat_is_answered_with_the_first_answer_and_changes_nothing(cast: Cast) -> None:
    first = cast.root.call("POST", ORGANIZATIONS, INITECH, **{"Idempotency-Key": "a"})
    entries = AuditEntry.objects.count()
    second = cast.root.call("POST", ORGANIZATIONS, INITECH, **{"Idempotency-Key": "a"})
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content
    assert (first.headers.get("Idempotency-Replayed"), second.headers["Idempotency-Replayed"]) == (None, "true")
    assert AuditEntry.objects.count() == entries
    assert Organization.objects.filter(pk="initech").count() == 1


def test_without_a_key_the_repeat_is_a_write_of_its_own(cast: Cast) -> None:
    assert cast.root.call("POST", ORGANIZATIONS, INITECH).status_code == 201
    assert cast.root.call("POST", ORGANIZATIONS, INITECH).status_code == 409


def test_a_secret_that_is_shown_once_comes_again_and_is_not_stored_readably(cast: Cast) -> None:
    first = cast.alice.call("POST", KEYS, CI, **{"Idempotency-Key": "k"})
    second = cast.alice.call("POST", KEYS, CI, **{"Idempotency-Key": "k"})
    secret = first.json()["data"]["secret"]
    assert second.json()["data"]["secret"] == secret
    assert ApiKey.objects.filter(name="ci").count() == 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT response FROM idempotency_keys")
        assert secret not in cursor.fetchone()[0]


def test_a_secret_does_not_come_again_once_the_role_is_gone(cast: Cast) -> None:
    user = User.objects.create_user("ann", password="x")
    role = users.add(user, organization=Organization.objects.get(pk="org-001"), role="admin", acting_user=None)
    ann = Person({"Authorization": f"Bearer {tokens.sign_in(user, now=timezone.now()).access_token}"})
    first = ann.call("POST", KEYS, CI, **{"Idempotency-Key": "k"})
    role = users.update(role, acting_user=None, role="viewer")
    second = ann.call("POST", KEYS, CI, **{"Idempotency-Key": "k"})
    users.remove(role, acting_user=None)
    User.objects.update(is_active=True)
    third = ann.call("POST", KEYS, CI, **{"Idempotency-Key": "k"})
    secret = first.json()["data"]["secret"]
    for answer in (second, third):
        assert secret not in answer.content.decode()
    assert (second.status_code, second.json()["error"]) == (409, "idempotency_conflict")


def test_the_organization_named_in_the_header_is_part_of_the_request(cast: Cast) -> None:
    cast.root.call("POST", ORGANIZATIONS, INITECH, **{"Idempotency-Key": "a", "X-Organization-Id": "org-001"})
    again = cast.root.call("POST", ORGANIZATIONS, INITECH, **{"Idempotency-Key": "a", "X-Organization-Id": "org-002"})
    assert again.json()["error"] == "idempotency_conflict"


def test_a_deletion_is_answered_204_again(cast: Cast) -> None:
    made = cast.alice.call("POST", KEYS, CI).json()["data"]["key_id"]
    answers = [cast.alice.call("DELETE", f"{KEYS}/{made}", **{"Idempotency-Key": "d"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [204, 204]
    assert [answer.content for answer in answers] == [b"", b""]


@pytest.mark.parametrize("other", [{"name": "Other"}, {"website": "https://initech.example"}])
def test_another_body_under_the_same_key_is_a_conflict(cast: Cast, other: dict[str, str]) -> None:
    cast.root.call("POST", ORGANIZATIONS, INITECH, **{"Idempotency-Key": "a"})
    answer = cast.root.call("POST", ORGANIZATIONS, INITECH | other, **{"Idempotency-Key": "a"})
    assert (answer.status_code, answer.json()["error"]) == (409, "idempotency_conflict")


def test_another_path_under_the_same_key_is_a_conflict(cast: Cast) -> None:
    cast.root.call("POST", KEYS, CI, **{"Idempotency-Key": "a"})
    other = KEYS.replace("org-001", "org-002")
    answer = cast.root.call("POST", other, CI, **{"Idempotency-Key": "a"})
    assert answer.json()["error"] == "idempotency_conflict"


def test_two_callers_may_use_the_same_key(cast: Cast) -> None:
    ours = cast.alice.call("POST", KEYS, CI, **{"Idempotency-Key": "a"})
    theirs = cast.charlie.call("POST", KEYS.replace("001", "002"), CI, **{"Idempotency-Key": "a"})
    assert (ours.status_code, theirs.status_code) == (201, 201)
    assert ours.json()["data"]["secret"] != theirs.json()["data"]["secret"]


def test_a_refusal_is_not_remembered(cast: Cast) -> None:
    bad = cast.root.call("POST", ORGANIZATIONS, {"name": "x"}, **{"Idempotency-Key": "a"})
    good = cast.root.call("POST", ORGANIZATIONS, INITECH, **{"Idempotency-Key": "a"})
    assert (bad.status_code, good.status_code) == (400, 201)


@pytest.mark.parametrize("key", ["", " ", "x" * 201, "caf\u00e9", "a\tb"])
def test_an_unusable_key_is_refused(cast: Cast, key: str) -> None:
    answer = cast.root.call("POST", ORGANIZATIONS, INITECH, **{"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_request")
    assert not Organization.objects.filter(pk="initech").exists()


def test_an_answer_is_forgotten_after_a_day(cast: Cast) -> None:
    cast.root.call("POST", ORGANIZATIONS, INITECH, **{"Idempotency-Key": "a"})
    old = timezone.now() - idempotency.KEPT - timedelta(seconds=1)
    IdempotencyKey.objects.update(created_at=old)
    assert cast.root.call("POST", ORGANIZATIONS, INITECH, **{"Idempotency-Key": "a"}).status_code == 409


@pytest.mark.django_db(transaction=True)
def test_of_parallel_repeats_one_is_executed(settings: Any) -> None:
    cast, answers = make(settings), list[Any]()

    def send() -> None:
        try:
            answers.append(cast.alice.call("POST", KEYS, CI, **{"Idempotency-Key": "p"}))
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["data"]["secret"] for answer in answers}) == 1
    assert len([answer for answer in answers if "Idempotency-Replayed" in answer.headers]) == 7
    assert ApiKey.objects.filter(name="ci").count() == 1
