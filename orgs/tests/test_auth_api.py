"""Signing in over HTTP: pairs of tokens that end when they should, tokens nobody should accept, and the lock-out."""

import json
from datetime import timedelta
from typing import Any

import jwt
import pytest
from axes.models import AccessAttempt
from django.utils import timezone

from orgs import tokens
from orgs.models import Membership, RefreshToken, User
from orgs.tests import cast
from orgs.tests.cast import Cast, Person

ROOT = "/api/v1/internal/auth"
LOGIN, REFRESH, LOGOUT = f"{ROOT}/login", f"{ROOT}/refresh", f"{ROOT}/logout"
FLEET, ELSEWHERE = "/api/v1/controller/orchestrators", "/api/v1/orchestrators/org-001/users"
PASSWORD = " a-long-enough-secret "
WORDS = {"username": "ann", "password": PASSWORD}


@pytest.fixture
def people(db: None, settings: Any) -> Cast:
    return cast.make(settings)


@pytest.fixture
def ann(people: Cast) -> User:
    user = User.objects.create_user("ann", "ann@example.com", PASSWORD)
    Membership.objects.create(user=user, organization_id="org-001", role="operator")
    return user


@pytest.fixture
def pair(people: Cast, ann: User) -> dict[str, Any]:
    return data(people.nobody.call("POST", LOGIN, WORDS))


def data(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = json.loads(answer.content)["data"]
    return found


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, json.loads(answer.content)["error"]


def use(token: str, path: str = FLEET) -> tuple[int, str]:
    answer = Person({"Authorization": f"Bearer {token}"}).get(path)
    return (200, "") if answer.status_code == 200 else refusal(answer)


def renew(people: Cast, token: str) -> Any:
    return people.nobody.call("POST", REFRESH, {"refresh_token": token})


# --- sign-ins --------------------------------------------------------------------------------------------------------


def test_a_login_answers_a_pair_and_who_it_is_for(pair: dict[str, Any], ann: User, settings: Any) -> None:
    assert set(pair) == {"access_token", "refresh_token", "token_type", "expires_in", "user"}
    assert (pair["token_type"], pair["expires_in"]) == ("bearer", settings.ACCESS_TOKEN_SECONDS)
    assert pair["user"] == {
        "id": ann.pk, "username": "ann", "email": "ann@example.com", "is_superadmin": False,
        "roles": [{"organization_id": "org-001", "role": "operator"}],
    }  # fmt: skip
    assert use(pair["access_token"]) == (200, "")
    assert PASSWORD not in str(list(RefreshToken.objects.values())) + str(pair)
    assert not RefreshToken.objects.filter(token_hash=pair["refresh_token"]).exists()


@pytest.mark.parametrize(
    "words",
    [
        {"password": "wrong"},
        {"password": PASSWORD.strip()},
        {"username": "nobody"},
        {"username": "ANN"},
        {"username": "ann' OR 1=1 --"},
    ],
)
def test_wrong_words_are_401_and_tell_nothing_apart(people: Cast, ann: User, words: dict[str, str]) -> None:
    answer = people.nobody.call("POST", LOGIN, WORDS | words)
    assert refusal(answer) == (401, "invalid_login")
    assert answer["WWW-Authenticate"].startswith("Bearer")
    assert json.loads(answer.content)["detail"] == "The user name or the password is wrong."


def test_a_deactivated_user_does_not_sign_in_and_its_token_dies_at_once(
    people: Cast, ann: User, pair: dict[str, Any]
) -> None:
    User.objects.update(is_active=False)
    assert use(pair["access_token"]) == (403, "forbidden")
    assert refusal(renew(people, pair["refresh_token"])) == (401, "unauthenticated")
    assert refusal(people.nobody.call("POST", LOGIN, WORDS)) == (401, "invalid_login")


def test_a_refresh_hands_out_the_next_pair(people: Cast, pair: dict[str, Any]) -> None:
    after = data(renew(people, pair["refresh_token"]))
    assert set(after) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert after["refresh_token"] != pair["refresh_token"]
    assert use(after["access_token"]) == use(pair["access_token"]) == (200, "")
    assert data(renew(people, after["refresh_token"]))["refresh_token"] != after["refresh_token"]


def test_a_token_used_twice_ends_its_sign_in_and_no_other(people: Cast, pair: dict[str, Any]) -> None:
    other = data(people.nobody.call("POST", LOGIN, WORDS))
    after = data(renew(people, pair["refresh_token"]))
    assert refusal(renew(people, pair["refresh_token"])) == (401, "unauthenticated")
    assert refusal(renew(people, after["refresh_token"])) == (401, "unauthenticated")
    assert use(after["access_token"]) == use(pair["access_token"]) == (403, "forbidden")
    assert use(other["access_token"]) == (200, "")


def test_an_old_refresh_token_is_refused(people: Cast, pair: dict[str, Any]) -> None:
    RefreshToken.objects.update(expires_at=timezone.now())
    assert refusal(renew(people, pair["refresh_token"])) == (401, "unauthenticated")


def test_logging_out_kills_the_access_token_at_once_and_may_be_repeated(people: Cast, pair: dict[str, Any]) -> None:
    for _ in range(2):
        assert people.nobody.call("POST", LOGOUT, {"refresh_token": pair["refresh_token"]}).status_code == 200
    assert use(pair["access_token"]) == (403, "forbidden")
    assert use(pair["access_token"], ELSEWHERE) == (401, "unauthenticated")
    assert refusal(renew(people, pair["refresh_token"])) == (401, "unauthenticated")


def test_roles_are_those_of_this_moment(pair: dict[str, Any]) -> None:
    Membership.objects.all().delete()
    assert use(pair["access_token"]) == (403, "forbidden")


# --- tokens nobody should accept -------------------------------------------------------------------------------------


def forged(token: str, *, claims: dict[str, Any] | None = None, algorithm: str = "HS256", **header: Any) -> str:
    """Return the token with other claims and header, signed with the right key all the same."""
    before = jwt.decode(token, options={"verify_signature": False})
    key: Any = None if algorithm == "none" else tokens._key()[1]
    headers = jwt.get_unverified_header(token) | {"alg": algorithm} | header
    return jwt.encode({**before, **(claims or {})}, key, algorithm=algorithm, headers=headers)


@pytest.mark.parametrize("path", [FLEET, ELSEWHERE])
@pytest.mark.parametrize("too_old", [timedelta(days=1), timedelta(seconds=1)])
def test_an_expired_token_is_401_everywhere(ann: User, path: str, too_old: timedelta, settings: Any) -> None:
    made_at = timezone.now() - timedelta(seconds=settings.ACCESS_TOKEN_SECONDS) - too_old
    assert use(tokens.sign_in(ann, now=made_at).access_token, path) == (401, "token_expired")


def test_the_forge_itself_makes_good_tokens(pair: dict[str, Any]) -> None:
    assert use(forged(pair["access_token"])) == (200, "")


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
@pytest.mark.parametrize(
    "change",
    [
        {"algorithm": "none"},
        {"algorithm": "HS384"},
        {"typ": "JWT"},
        {"typ": "rt+jwt"},
        {"kid": "other"},
        {"claims": {"aud": "other"}},
        {"claims": {"iss": "other"}},
        {"claims": {"sub": "root"}},
        {"claims": {"sid": "other"}},
        {"claims": {"nbf": 4_000_000_000}},
    ],
)
def test_a_forged_token_is_403_here_and_401_elsewhere(pair: dict[str, Any], change: dict[str, Any]) -> None:
    token = forged(pair["access_token"], **change)
    assert use(token) == (403, "forbidden")
    assert use(token, ELSEWHERE) == (401, "unauthenticated")


def test_another_signature_or_a_refresh_token_gives_no_access(pair: dict[str, Any]) -> None:
    head, _, signature = pair["access_token"].rpartition(".")
    assert use(f"{head}.{signature[::-1]}") == (403, "forbidden")
    assert use(f"{head}.") == use("a.b.c") == use("..") == (403, "forbidden")
    assert use(pair["refresh_token"]) == (403, "forbidden")


def test_an_access_token_refreshes_nothing(people: Cast, pair: dict[str, Any]) -> None:
    assert refusal(renew(people, pair["access_token"][:200])) == (401, "unauthenticated")


# --- the doors themselves --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [LOGIN, REFRESH, LOGOUT])
def test_the_doors_are_post_and_tolerate_a_slash(people: Cast, path: str) -> None:
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        answer = people.nobody.call(method, path)
        assert refusal(answer) == (405, "method_not_allowed")
        assert answer["Allow"] == "POST"
    assert refusal(people.nobody.call("POST", f"{path}/", "[]")) == (400, "not_an_object")


@pytest.mark.parametrize("path", [LOGIN, REFRESH, LOGOUT])
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{bad", "invalid_json"),
        ("", "not_an_object"),
        ({}, "invalid_field"),
        ({"username": [], "password": {}}, "invalid_field"),
        ({"refresh_token": None}, "invalid_field"),
        ({"refresh_token": "x" * 201}, "invalid_field"),
        ({"role": "admin"}, "unknown_field"),
    ],
)
def test_an_unusable_body_is_400(people: Cast, path: str, body: Any, code: str) -> None:
    answer = people.nobody.call("POST", path, body)
    is_foreign = isinstance(body, dict) and ("refresh_token" in body) == (path == LOGIN) and body
    assert refusal(answer) == (400, "unknown_field" if is_foreign else code)


# --- the lock-out ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ann", "nobody"])
def test_too_many_failures_lock_the_name_out_also_with_the_right_words(
    people: Cast, ann: User, settings: Any, name: str
) -> None:
    settings.AXES_FAILURE_LIMIT = 3
    words = WORDS | {"username": name}
    answers = [refusal(people.nobody.call("POST", LOGIN, words | {"password": "no"})) for _ in range(4)]
    assert answers[:2] == [(401, "invalid_login")] * 2
    assert answers[2:] == [(429, "locked_out")] * 2
    answer = people.nobody.call("POST", LOGIN, words)
    assert refusal(answer) == (429, "locked_out")
    assert int(answer["Retry-After"]) == settings.AXES_COOLOFF_TIME.total_seconds()
    assert PASSWORD not in str(list(AccessAttempt.objects.values()))


def test_a_success_forgets_the_failures_and_is_noted(people: Cast, ann: User, settings: Any) -> None:
    settings.AXES_FAILURE_LIMIT = 3
    for _ in range(3):
        assert people.nobody.call("POST", LOGIN, WORDS | {"password": "no"}).status_code == 401
        assert people.nobody.call("POST", LOGIN, WORDS).status_code == 200
    ann.refresh_from_db()
    assert ann.last_login is not None
