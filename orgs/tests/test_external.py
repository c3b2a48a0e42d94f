"""Credentials of the flat paths: tokens signed elsewhere, keys in the environment, and the door that issues tokens."""

import json
from datetime import timedelta
from typing import Any

import jwt
import pytest
from django.utils import timezone

from moolai.environment import role_keys
from orgs import external, organizations, tokens
from orgs.models import AuditEntry, Organization, User
from orgs.tests import cast
from orgs.tests.cast import Cast, Person

pytestmark = pytest.mark.django_db
PATH = "/auth/token"
SECRET = "a-secret-that-two-systems-share-32"
WISH = {"user_id": "u1", "role": "operator"}


@pytest.fixture
def people(settings: Any) -> Cast:
    settings.ORCHESTRATOR_JWT_SECRET = SECRET
    return cast.make(settings)


def token(
    *, secret: str = SECRET, algorithm: str = "HS256", headers: Any = None, without: str = "", **claims: Any
) -> str:
    body = {"sub": "u1", "role": "operator", "exp": timezone.now() + timedelta(minutes=5)} | claims
    body.pop(without, None)
    return jwt.encode(body, secret, algorithm=algorithm, headers=headers)


def bearer(text: str) -> Person:
    return Person({"Authorization": f"Bearer {text}"})


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, json.loads(answer.content)["error"]


# --- tokens signed elsewhere -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "means"),
    [("admin", "admin"), ("operator", "operator"), ("agent", "operator"), ("viewer", "viewer"), ("user", "viewer")],
)
def test_a_token_signed_elsewhere_has_its_role_in_its_organization(people: Cast, role: str, means: str) -> None:
    caller = external.identify(token(role=role, org="org-002"))
    assert caller is not None
    assert (caller.roles, caller.is_superadmin) == ({"org-002": means}, False)


def test_without_an_organization_it_acts_in_the_default_one(people: Cast, settings: Any) -> None:
    settings.DEFAULT_ORGANIZATION_ID = "org-002"
    caller = external.identify(token())
    assert caller is not None
    assert caller.roles == {"org-002": "operator"}


@pytest.mark.parametrize("org", ["nowhere", "a\x00b", "a\ud800b", "closed"])
def test_in_an_organization_that_is_not_there_or_closed_it_has_no_role(people: Cast, org: str) -> None:
    closed = organizations.create("closed", name="Closed", acting_user=None)
    organizations.update(closed, acting_user=None, status=Organization.Status.SUSPENDED)
    caller = external.identify(token(org=org))
    assert caller is not None
    assert caller.roles == {}


BAD = {
    "another secret": {"secret": "another-secret-of-32-characters-!"},
    "no algorithm": {"algorithm": "none", "secret": ""},
    "another algorithm": {"algorithm": "HS512", "secret": SECRET * 2},
    "no subject": {"without": "sub"},
    "no role": {"without": "role"},
    "no end": {"without": "exp"},
    "a subject in two lines": {"sub": "u1\nroot"},
    "a subject with an escape": {"sub": "u1\x1b[2J"},
    "a subject nobody sees": {"sub": " "},
    "an unknown role": {"role": "root"},
    "superadmin": {"role": "superadmin"},
    "a role that is no text": {"role": ["admin"]},
    "not yet": {"nbf": timezone.now() + timedelta(hours=1)},
    "an organization that is no text": {"org": {"id": "org-001"}},
    "a key from a path": {"headers": {"kid": "../../dev/null"}, "secret": "x" * 32},
    "a key from an address": {"headers": {"jku": "http://127.0.0.1/keys"}, "secret": "x" * 32},
}


@pytest.mark.parametrize("wish", BAD.values(), ids=BAD.keys())
def test_a_token_that_is_not_good_is_refused_in_the_same_words(people: Cast, wish: dict[str, Any]) -> None:
    answer = bearer(token(**wish)).call("POST", PATH, WISH)
    assert code(answer) == (401, "unauthenticated")
    assert json.loads(answer.content)["detail"] == "The credential is wrong, expired or revoked."


def test_two_subjects_or_organizations_that_begin_alike_are_two_callers(people: Cast) -> None:
    start = "s" * 64
    found = [
        external.identify(token(sub=subject, org=org))
        for subject, org in [(f"{start}1", "o" * 40), (f"{start}2", "o" * 40), (f"{start}1", "o" * 41)]
    ]
    ids = {caller.caller_id for caller in found if caller}
    assert len(ids) == 3
    assert max(map(len, ids)) <= 100


def test_a_good_one_is_known_and_no_superadmin(people: Cast) -> None:
    assert code(bearer(token(role="admin")).call("POST", PATH, WISH)) == (403, "forbidden")


def test_one_that_is_too_old_says_so(people: Cast) -> None:
    for seconds in (300, 1):
        old = token(exp=timezone.now() - timedelta(seconds=seconds))
        assert code(bearer(old).call("POST", PATH, WISH)) == (401, "token_expired")


def test_elsewhere_it_is_no_credential(people: Cast) -> None:
    answer = bearer(token(role="admin", org="org-001")).get("/api/v1/orchestrators/org-001/users")
    assert code(answer) == (401, "unauthenticated")


def test_our_own_access_token_is_taken_there_too(people: Cast) -> None:
    root = User.objects.create_superuser("boss", password="x")
    pair = tokens.sign_in(root, now=timezone.now())
    assert bearer(pair.access_token).call("POST", PATH, WISH).status_code == 200


# --- keys in the environment -----------------------------------------------------------------------------------------


def test_keys_stand_in_the_environment_with_their_roles(
    people: Cast, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_API_KEY", "the:plain-one")
    monkeypatch.setenv("ORCHESTRATOR_API_KEY_CI", "with:colon:viewer")
    monkeypatch.setenv("ORCHESTRATOR_API_KEY_EMPTY", "")
    settings.ORCHESTRATOR_API_KEYS = role_keys()
    found = {
        text: external.identify(text) for text in ("the:plain-one", "with:colon", "with:colon:viewer", "", "viewer")
    }
    assert {text: caller.roles for text, caller in found.items() if caller} == {
        "the:plain-one": {"org-001": "operator"},
        "with:colon": {"org-001": "viewer"},
    }
    assert code(bearer("with:colon").call("POST", PATH, WISH)) == (403, "forbidden")
    assert code(bearer("with:colons").call("POST", PATH, WISH)) == (401, "unauthenticated")
    assert code(bearer("with:colon").get("/api/v1/orchestrators/org-001/users")) == (401, "unauthenticated")
    assert "with:colon" not in repr(settings.ORCHESTRATOR_API_KEYS)


# --- the door --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", ["", SECRET])
def test_a_superadmin_makes_a_token_that_is_good_here(people: Cast, settings: Any, secret: str) -> None:
    settings.ORCHESTRATOR_JWT_SECRET = secret
    answer = people.root.call("POST", PATH, {"user_id": "u1", "role": "agent", "organization_id": "org-002"})
    body = json.loads(answer.content)
    assert answer.status_code == 200
    assert (body["token_type"], body["expires_in"], set(body)) == (
        "bearer",
        900,
        {"access_token", "token_type", "expires_in"},
    )
    caller = external.identify(body["access_token"])
    assert caller is not None
    assert caller.roles == {"org-002": "operator"}


def test_a_token_that_is_made_leaves_one_audit_row_without_it(people: Cast) -> None:
    before = AuditEntry.objects.count()
    answer = people.root.call("POST", PATH, WISH | {"organization_id": "org-002"})
    (entry,) = AuditEntry.objects.order_by("id")[before:]
    assert (entry.action, entry.organization_id, entry.target_id) == ("token.issue", "org-002", "u1")
    assert entry.after == {"user_id": "u1", "role": "operator", "expires_in": 900}
    assert json.loads(answer.content)["access_token"] not in str(vars(entry))


@pytest.mark.parametrize(
    ("who", "expected"),
    [("nobody", (401, "unauthenticated")), ("mallory", (401, "unauthenticated")), ("alice", (403, "forbidden")),
     ("vera", (403, "forbidden")), ("machine", (403, "forbidden"))],
)  # fmt: skip
def test_nobody_else_does(people: Cast, who: str, expected: tuple[int, str]) -> None:
    assert code(getattr(people, who).call("POST", PATH, WISH)) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"role": "superadmin"}, (400, "invalid_field")),
        ({"user_id": ""}, (400, "invalid_field")),
        ({"user_id": "u1\nroot"}, (400, "invalid_field")),
        ({"organization_id": "nowhere"}, (404, "not_found")),
        ({"scope": "all"}, (400, "unknown_field")),
    ],
)
def test_a_wish_that_cannot_be_is_refused(people: Cast, change: dict[str, Any], expected: tuple[int, str]) -> None:
    assert code(people.root.call("POST", PATH, WISH | change)) == expected
