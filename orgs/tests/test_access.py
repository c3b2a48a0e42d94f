"""Access: one way from a request to an object; roles, foreign organizations, credentials of every kind."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import QuerySet
from django.test import Client, RequestFactory
from django.utils import timezone
from rest_framework.request import Request

from moolai.errors import AppError, Forbidden, NotFound
from orgs import access, keys
from orgs.authentication import BearerAuthentication, Caller
from orgs.keys import Credential
from orgs.models import ApiKey, Membership, Organization, Role, User
from orgs.tests import cast

pytestmark = pytest.mark.django_db
LIST, CREATE = "/api/v1/controller/orchestrators", "/api/v1/controller/organizations"
FLAG = "/api/v1/internal/organizations/org-001/independence"


@pytest.fixture
def people(settings: object) -> cast.Cast:
    return cast.make(settings)


def as_caller(*, is_superadmin: bool = False, query: str = "", **roles: str) -> Request:
    request = Request(RequestFactory().get(f"/{query}"))
    caller = Caller("somebody", "user:0", is_superadmin, {name.replace("_", "-"): role for name, role in roles.items()})
    request.user = caller  # type: ignore[assignment]
    return request


def ids(request: Request) -> list[str]:
    rows = access.narrow(request, Organization.objects.all(), field="pk")
    return list(rows.values_list("pk", flat=True))


# --- the rooms' door -------------------------------------------------------------------------------------------------


def test_a_superadmin_sees_all_and_others_their_own(people: cast.Cast) -> None:
    assert ids(as_caller(is_superadmin=True)) == ["org-001", "org-002"]
    assert ids(as_caller(org_001="viewer")) == ["org-001"]
    assert ids(as_caller(org_001="viewer", org_002="admin")) == ["org-001", "org-002"]


def test_a_parameter_narrows_within_the_scope_only(people: cast.Cast) -> None:
    assert ids(as_caller(is_superadmin=True, query="?organization_id=org-002")) == ["org-002"]
    for query in ("?organization_id=org-002", "?organization_id=nowhere", "?organization_id=org-001'--"):
        with pytest.raises(NotFound):
            ids(as_caller(org_001="admin", query=query))


def test_a_foreign_object_is_as_absent_as_a_missing_one(people: cast.Cast) -> None:
    rows = Organization.objects.all()
    for wanted in ("org-002", "nowhere"):
        with pytest.raises(NotFound):
            access.get(as_caller(org_001="admin"), rows, field="pk", pk=wanted)
    assert access.get(as_caller(org_001="viewer"), rows, field="pk", pk="org-001").pk == "org-001"


def test_who_has_no_role_sees_nothing(people: cast.Cast) -> None:
    with pytest.raises(Forbidden):
        access.visible(as_caller(), Organization.objects.all(), field="pk")


@pytest.mark.parametrize(("role", "may"), [("admin", True), ("operator", False), ("viewer", False)])
def test_only_admins_administer_and_only_their_own(people: cast.Cast, role: str, may: bool) -> None:
    request = as_caller(org_001=role)
    if may:
        assert access.require_admin(request, "org-001").name == "somebody"
    else:
        with pytest.raises(Forbidden):
            access.require_admin(request, "org-001")
    with pytest.raises(Forbidden):
        access.require_admin(request, "org-002")
    with pytest.raises(Forbidden):
        access.require_superadmin(request)


def test_an_anonymous_request_is_no_caller() -> None:
    with pytest.raises(AppError) as refused:
        access.caller(Request(RequestFactory().get("/")))
    assert refused.value.code == "unauthenticated"


def key_of(organization_id: str, orchestrator_id: str = "", *, scopes: tuple[str, ...] = ("orchestrator",)) -> Request:
    request = Request(RequestFactory().get("/"))
    credential = Credential("k", organization_id, "key", "", scopes, orchestrator_id, None, True)
    request.user = Caller("key", "key:k", False, {}, key=credential)  # type: ignore[assignment]
    return request


@pytest.fixture
def bound_keys(people: cast.Cast) -> QuerySet[ApiKey]:
    """Rows that name an orchestrator: one of org-001's a, one of its b, one of org-002's c."""
    for organization_id, name in (("org-001", "a"), ("org-001", "b"), ("org-002", "c")):
        organization = Organization.objects.get(pk=organization_id)
        keys.create(organization, name=name, acting_user=None, scopes=["orchestrator"], orchestrator_id=name)
    return ApiKey.objects.exclude(orchestrator_id="").order_by("name")


def test_an_orchestrators_key_lists_its_own_rows_and_only_where_a_door_says_so(bound_keys: QuerySet[ApiKey]) -> None:
    own = access.visible(key_of("org-001", "a"), bound_keys, own="orchestrator_id")
    assert [row.name for row in own] == ["a"]
    fleet = access.visible(key_of("org-001"), bound_keys, own="orchestrator_id")
    assert [row.name for row in fleet] == ["a", "b"]
    for request in (key_of("org-001", "a", scopes=()), key_of("org-001", "a")):
        with pytest.raises(Forbidden):
            access.visible(request, bound_keys, own="" if request.user.key.scopes else "orchestrator_id")  # type: ignore[union-attr]


def test_an_orchestrators_key_is_forbidden_its_neighbours_and_told_nothing_of_others(
    bound_keys: QuerySet[ApiKey],
) -> None:
    request = key_of("org-001", "a")
    assert access.get(request, bound_keys, own="orchestrator_id", name="a").name == "a"
    with pytest.raises(Forbidden):
        access.get(request, bound_keys, own="orchestrator_id", name="b")
    with pytest.raises(Forbidden):
        access.get(request, bound_keys, name="a")
    for name in ("c", "nowhere"):
        with pytest.raises(NotFound):
            access.get(request, bound_keys, own="orchestrator_id", name=name)


# --- the header that chooses an organization -------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["X-Organization-Id", "OpenAI-Organization"])
def test_a_header_narrows_lists_and_a_foreign_one_is_as_absent_as_a_missing_one(people: cast.Cast, header: str) -> None:
    path = "/api/v1/internal/messages"
    assert people.alice.get(path, **{header: "org-001"}).status_code == 200
    assert people.root.get(path, **{header: "org-002"}).status_code == 200
    assert people.machine.get(LIST, **{header: "org-001"}).status_code != 404
    foreign, missing = (people.alice.get(path, **{header: name}) for name in ("org-002", "nowhere"))
    assert refusal(foreign) == refusal(missing) == (404, "not_found")
    assert refusal(people.root.get(path, **{header: "nowhere"})) == (404, "not_found")
    assert refusal(people.machine.get(LIST, **{header: "org-002"})) == (404, "not_found")


# --- credentials -----------------------------------------------------------------------------------------------------


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, json.loads(answer.content)["error"]


@pytest.mark.parametrize("path", [LIST, CREATE, FLAG])
def test_no_credential_is_401_and_says_how(people: cast.Cast, path: str) -> None:
    answer = people.nobody.get(path)
    assert refusal(answer) == (401, "unauthenticated")
    assert answer["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "bearer  mk_' OR 1=1 --"},
        {"Authorization": f"Bearer {cast.TOKEN}x"},
        {"Authorization": f"Bearer {cast.TOKEN},Bearer {cast.TOKEN}"},
        {"Authorization": "Basic cm9vdDpyb290"},
        {"Authorization": "Bearer é"},
        {"Authorization": "Bearer " + "x" * 100_000},
        {"X-API-Key": "wrong"},
        {"X-API-Key": "mk_" + "0" * 46},
    ],
)
def test_a_wrong_credential_is_403_with_a_constant_text(people: cast.Cast, headers: dict[str, str]) -> None:
    answer = cast.Person(headers).get(LIST)
    assert refusal(answer) == (403, "forbidden")
    assert "wrong" not in answer.content.decode().replace("is wrong, expired or revoked", "")


def test_elsewhere_a_wrong_credential_is_401() -> None:
    request = Request(RequestFactory().get("/v1/models", headers={"Authorization": "Bearer wrong"}))
    with pytest.raises(AppError) as refused:
        BearerAuthentication().authenticate(request)
    assert refused.value.code == "unauthenticated"


def test_the_same_key_works_in_either_header(people: cast.Cast) -> None:
    secret = people.vera.headers["Authorization"].removeprefix("Bearer ")
    for headers in (
        {"Authorization": f"Bearer {secret}"},
        {"Authorization": f"bearer {secret}"},
        {"X-API-Key": secret},
    ):
        assert cast.Person(headers).get(LIST).status_code == 200


def test_a_key_in_the_url_is_no_credential(people: cast.Cast) -> None:
    secret = people.alice.headers["Authorization"].removeprefix("Bearer ")
    for name in ("api_key", "token", "access_token"):
        assert people.nobody.get(f"{LIST}?{name}={secret}").status_code == 401


def test_without_the_setting_there_is_no_static_token(people: cast.Cast, settings: object) -> None:
    settings.DEV_BEARER_TOKEN = ""  # type: ignore[attr-defined]
    assert people.root.get(LIST).status_code == 403
    assert cast.Person({"Authorization": "Bearer "}).get(LIST).status_code == 403


def test_a_revoked_or_expired_key_is_refused_at_once(people: cast.Cast) -> None:
    row = ApiKey.objects.get(name="viewer")
    assert people.vera.get(LIST).status_code == 200
    row.expires_at = timezone.now() - timedelta(seconds=1)
    row.save(update_fields=["expires_at"])
    assert refusal(people.vera.get(LIST)) == (403, "forbidden")
    keys.revoke(ApiKey.objects.get(name="admin", organization="org-001"), acting_user=None)
    assert refusal(people.alice.get(LIST)) == (403, "forbidden")


@pytest.mark.parametrize(("field", "value"), [("status", "suspended"), ("is_active", False)])
def test_a_closed_organization_locks_its_keys_out(people: cast.Cast, field: str, value: object) -> None:
    Organization.objects.filter(pk="org-001").update(**{field: value})
    assert people.alice.get(LIST).status_code == 403
    assert people.charlie.get(LIST).status_code == 200


def test_an_orchestrators_key_has_no_role_in_the_management_api(people: cast.Cast) -> None:
    assert refusal(people.machine.get("/api/v1/internal/messages")) == (403, "forbidden")
    assert refusal(people.machine.call("POST", CREATE, {})) == (403, "forbidden")


# --- the console's session -------------------------------------------------------------------------------------------


def signed_in(*, role: str = "", is_superuser: bool = False, **client: Any) -> Client:
    user = User.objects.create_user("ann", is_superuser=is_superuser)
    if role:
        Membership.objects.create(user=user, organization_id="org-001", role=role)
    browser = Client(**client)
    browser.force_login(user)
    return browser


@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("operator", 403), ("viewer", 403)])
def test_a_session_acts_with_its_users_roles(people: cast.Cast, role: str, status: int) -> None:
    browser = signed_in(role=role)
    assert browser.get(LIST).status_code == 200
    answer = browser.put(FLAG, {"is_independent": True}, content_type="application/json")
    assert answer.status_code == status


def test_a_superuser_is_superadmin_and_a_stranger_is_nobody(people: cast.Cast) -> None:
    assert signed_in(is_superuser=True).get(f"{LIST}?organization_id=org-002").status_code == 200
    User.objects.all().delete()
    assert signed_in().get(LIST).status_code == 403


def test_a_membership_in_an_inactive_organization_is_none(people: cast.Cast) -> None:
    browser = signed_in(role=Role.ADMIN)
    Organization.objects.filter(pk="org-001").update(is_active=False)
    assert browser.get(LIST).status_code == 403


def test_a_deactivated_user_is_nobody(people: cast.Cast) -> None:
    browser = signed_in(role=Role.ADMIN)
    User.objects.update(is_active=False)
    assert browser.get(LIST).status_code == 401


def test_a_write_with_the_cookie_alone_is_refused(people: cast.Cast) -> None:
    browser = signed_in(role=Role.ADMIN, enforce_csrf_checks=True)
    assert browser.get(LIST).status_code == 200
    for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain"):
        answer = browser.put(FLAG, "{}", content_type=kind)
        assert refusal(answer) == (403, "csrf_failed")
    assert not Organization.objects.get(pk="org-001").is_independent


def test_a_write_with_cookie_and_token_works(people: cast.Cast, settings: object) -> None:
    browser = signed_in(role=Role.ADMIN, enforce_csrf_checks=True)
    token = "a" * 32
    browser.cookies[settings.CSRF_COOKIE_NAME] = token  # type: ignore[attr-defined]
    answer = browser.put(
        FLAG, {"is_independent": True}, content_type="application/json", headers={"X-CSRFToken": token}
    )
    assert answer.status_code == 200
    assert Organization.objects.get(pk="org-001").is_independent


def test_a_bearer_token_needs_no_form_token_even_with_a_cookie(people: cast.Cast) -> None:
    browser = signed_in(enforce_csrf_checks=True)
    headers = people.alice.headers
    answer = browser.put(FLAG, {"is_independent": True}, content_type="application/json", headers=headers)
    assert answer.status_code == 200
