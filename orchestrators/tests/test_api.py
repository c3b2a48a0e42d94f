"""The fleet's HTTP doors: shapes to the letter, roles, filters, pages, and bodies nobody should send."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext

from orchestrators import instances, messages
from orchestrators.models import Instance, Message
from orgs.models import AuditEntry, Organization
from orgs.tests import cast
from orgs.tests.cast import Cast, Person

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ORGANIZATIONS = "/api/v1/controller/organizations"
FLEET = "/api/v1/controller/orchestrators"
ONE, LIVE = f"{FLEET}/orch-001", f"{FLEET}/live"
FLAG = "/api/v1/internal/orchestrators/orch-001/independence"
ORGANIZATION_FLAG = "/api/v1/internal/organizations/org-001/independence"
QUEUE = "/api/v1/internal/orchestrators/orch-001/messages"
MESSAGES = "/api/v1/internal/messages"
LISTS = [FLEET, LIVE, MESSAGES]
READS = [*LISTS, ONE]
WRITES = [("POST", ORGANIZATIONS), ("PUT", FLAG), ("PUT", ORGANIZATION_FLAG), ("POST", QUEUE)]
EVERY = [("GET", path) for path in READS] + WRITES


@pytest.fixture
def people(settings: Any) -> Cast:
    """The cast, with orch-001 of org-001 and orch-002 of org-002, both silent."""
    found = cast.make(settings)
    for number in (1, 2):
        organization = Organization.objects.get(pk=f"org-00{number}")
        instances.create(f"orch-00{number}", organization=organization, name=f"Number {number}", acting_user=None)
    return found


def connect(orchestrator_id: str, **columns: Any) -> None:
    """Give an instance an open session, as registering writes it."""
    row = {"is_connected": True, "session_id": "s1", "epoch": 3, "node": "web:1:abc", "status": "active"}
    row |= {"connected_at": NOW, "last_seen": NOW, "remote_address": "192.0.2.7", "version": "1.2"} | columns
    assert Instance.objects.filter(orchestrator_id=orchestrator_id).update(**row) == 1


def data(answer: HttpResponse, *, status: int = 200) -> Any:
    """Return `data` out of the success envelope, which holds exactly three keys."""
    assert answer.status_code == status, answer.content
    body = json.loads(answer.content)
    assert set(body) == {"success", "data", "timestamp"}
    assert body["success"] is True
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", body["timestamp"])
    return body["data"]


def refusal(answer: Any) -> tuple[int, str]:
    """Return (status, code) after a look at the error object's shape and header."""
    body = json.loads(answer.content)
    assert set(body) - {"fields"} == {"success", "error", "detail", "request_id"}
    assert body["success"] is False
    assert body["request_id"] == answer["X-Request-ID"]
    assert answer["Content-Type"] == "application/json"
    return answer.status_code, body["error"]


def ids(answer: HttpResponse) -> list[str]:
    return [row["orchestrator_id"] for row in data(answer)["items"]]


# --- reading ---------------------------------------------------------------------------------------------------------


def test_one_orchestrator_shows_the_published_columns_and_no_secret(people: Cast) -> None:
    secret: dict[str, Any] = {"database_url": "postgres://u:canary@h/d", "redis_url": "redis://:canary@h"}
    secret |= {"environment_variables": {"KEY": "canary"}}
    instance = Instance.objects.get(orchestrator_id="orch-001")
    instances.update(instance, acting_user=None, **secret)
    Instance.objects.filter(pk=instance.pk).update(credential_id="key_1")
    connect("orch-001", health_status={"status": "healthy"}, features={"a": True})
    answer = people.vera.get(ONE)
    row = data(answer)
    assert b"canary" not in answer.content
    assert row["database_url"] == "postgres://u:***@h/d"
    assert row["environment_variables"] == {"KEY": "***"}
    assert not {"credential_id", "takeovers"} & set(row)
    expected = {
        "orchestrator_id": "orch-001", "organization_id": "org-001", "name": "Number 1", "organization_name": "Acme",
        "status": "active", "health_status": {"status": "healthy"}, "is_independent": False,
        "independence_source": None, "last_seen": "2026-01-02T03:04:05Z", "features": {"a": True}, "version": "1.2",
        "is_connected": True, "node": "web:1:abc", "session_id": "s1", "connected_at": "2026-01-02T03:04:05Z",
        "monitoring_enabled": True, "privacy_mode": False, "session_config": {}, "config_status": "unknown",
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert row["created_at"].endswith("Z")
    assert row["updated_at"].endswith("Z")


def test_the_list_has_the_page_shape_and_the_same_rows(people: Cast) -> None:
    page = data(people.root.get(FLEET))
    assert set(page) == {"items", "page", "page_size", "total_items", "total_pages", "has_next", "has_prev"}
    rest = {name: value for name, value in page.items() if name != "items"}
    assert rest == {
        "page": 1, "page_size": 100, "total_items": 2, "total_pages": 1, "has_next": False, "has_prev": False,
    }  # fmt: skip
    assert page["items"][0] == data(people.root.get(ONE))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["orch-001", "orch-002"]),
        ("?organization_id=org-002", ["orch-002"]),
        ("?status=active", ["orch-001"]),
        ("?status=inactive", ["orch-002"]),
        ("?status=error", []),
        ("?search=ORCH-001", ["orch-001"]),
        ("?search=number%202", ["orch-002"]),
        ("?search=%25", []),
        ("?search=_rch", []),
        ("?status=active&organization_id=org-002", []),
        ("?status=&search=&organization_id=", ["orch-001", "orch-002"]),
    ],
)
def test_the_list_is_filtered(people: Cast, query: str, expected: list[str]) -> None:
    connect("orch-001")
    assert ids(people.root.get(FLEET + query)) == expected


def test_a_deleted_orchestrator_is_nowhere(people: Cast) -> None:
    connect("orch-001")
    instances.delete(Instance.objects.get(orchestrator_id="orch-001"), acting_user=None)
    assert ids(people.root.get(FLEET)) == ["orch-002"]
    assert ids(people.root.get(LIVE)) == []
    for method, path in [("GET", ONE), ("PUT", FLAG), ("POST", QUEUE)]:
        assert refusal(people.root.call(method, path, {})) == (404, "not_found")


def test_live_lists_open_sessions_with_exactly_these_columns(people: Cast) -> None:
    assert data(people.vera.get(LIVE))["total_items"] == 0
    connect("orch-001", is_independent=True)
    assert data(people.vera.get(LIVE))["items"] == [
        {
            "orchestrator_id": "orch-001", "organization_id": "org-001", "status": "active", "session_id": "s1",
            "connected_at": "2026-01-02T03:04:05Z", "last_seen": "2026-01-02T03:04:05Z", "is_independent": True,
            "independence_source": "own", "node": "web:1:abc", "remote_address": "192.0.2.7", "version": "1.2",
        }
    ]  # fmt: skip


def test_the_registry_shows_the_own_flag_and_live_the_effective_one(people: Cast) -> None:
    connect("orch-001")
    Organization.objects.filter(pk="org-001").update(is_independent=True)
    row, live = data(people.vera.get(ONE)), data(people.vera.get(LIVE))["items"][0]
    assert (row["is_independent"], row["independence_source"]) == (False, "organization")
    assert (live["is_independent"], live["independence_source"]) == (True, "organization")


# --- pages -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def seven(people: Cast) -> Cast:
    organization = Organization.objects.get(pk="org-001")
    for number in range(2, 8):
        instances.create(f"more-{number}", organization=organization, acting_user=None)
    return people


@pytest.mark.parametrize(
    ("page", "count", "has_next", "has_prev"), [(1, 3, True, False), (2, 3, True, True), (3, 1, False, True)]
)
def test_pages_tile_the_list(seven: Cast, page: int, count: int, has_next: bool, has_prev: bool) -> None:
    found = data(seven.vera.get(f"{FLEET}?page={page}&page_size=3"))
    assert (len(found["items"]), found["has_next"], found["has_prev"]) == (count, has_next, has_prev)
    assert (found["page"], found["page_size"], found["total_items"], found["total_pages"]) == (page, 3, 7, 3)


def test_the_pages_together_are_the_list_once(seven: Cast) -> None:
    tiled = [row for page in (1, 2, 3) for row in ids(seven.vera.get(f"{FLEET}?page={page}&page_size=3"))]
    assert tiled == ids(seven.vera.get(FLEET))
    assert len(set(tiled)) == 7


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("page", ["2", "99", "9" * 30])
def test_past_the_end_is_empty(people: Cast, path: str, page: str) -> None:
    found = data(people.vera.get(f"{path}?page={page}"))
    assert found["items"] == []
    assert found["has_next"] is False


def test_past_the_end_there_is_a_previous_page_when_there_is_any(seven: Cast) -> None:
    assert data(seven.vera.get(f"{FLEET}?page=9&page_size=3"))["has_prev"] is True
    assert data(seven.vera.get(f"{MESSAGES}?page=9"))["has_prev"] is False


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("size", ["1001", "1000000", "9" * 30])
def test_a_large_page_size_is_clamped(people: Cast, path: str, size: str) -> None:
    assert data(people.vera.get(f"{path}?page_size={size}"))["page_size"] == 1000


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "query",
    [
        "page=0", "page=-1", "page=abc", "page=", "page=1.5", "page=%00", "page=1e6", "page=٣", "page_size=0",
        "page_size=-5", "page_size=x", "page=1&page=2", "ordering=password", "filter[org]=B", "search=%00",
        "organization_ids=org-001", "organization_id=org-001&organization_id=org-002", "__class__=1",
    ],
)  # fmt: skip
def test_an_unusable_parameter_is_400(people: Cast, path: str, query: str) -> None:
    assert refusal(people.vera.get(f"{path}?{query}")) == (400, "invalid_parameter")


@pytest.mark.parametrize(
    ("path", "query"),
    [(FLEET, "status=asleep"), (MESSAGES, "status=asleep"), (MESSAGES, "direction=sideways"), (LIVE, "status=active")],
)
def test_an_unknown_word_of_a_filter_is_400(people: Cast, path: str, query: str) -> None:
    assert refusal(people.vera.get(f"{path}?{query}")) == (400, "invalid_parameter")


def queries(person: Person, path: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert person.get(path).status_code == 200
    return len(captured)


def fill(count: int) -> None:
    Message.objects.all().delete()
    Instance.objects.exclude(orchestrator_id__in=["orch-001", "orch-002"]).delete()
    names = [f"many-{number:04}" for number in range(count)]
    live = {"is_connected": True, "connected_at": NOW, "last_seen": NOW}
    Instance.objects.bulk_create(Instance(orchestrator_id=name, organization_id="org-001", **live) for name in names)
    Message.objects.bulk_create(
        Message(orchestrator_id=name, message_id=f"m-{name}", message_type="note") for name in names
    )


@pytest.mark.parametrize("path", LISTS)
def test_a_list_takes_as_many_queries_for_1000_rows_as_for_10(people: Cast, path: str) -> None:
    fill(10)
    few = queries(people.vera, f"{path}?page_size=1000")
    fill(1000)
    assert queries(people.vera, f"{path}?page_size=1000") == few <= 4


# --- organizations ---------------------------------------------------------------------------------------------------


def test_an_organization_is_made_once(people: Cast) -> None:
    body = {"organization_id": "org-003", "name": "Initech", "admin_email": "a@example.com", "settings": {"x": 1}}
    row = data(people.root.call("POST", ORGANIZATIONS, body), status=201)
    assert set(row) == {
        "organization_id", "name", "status", "is_active", "is_independent", "settings", "admin_email",
        "support_email", "website", "created_at", "updated_at",
    }  # fmt: skip
    assert {name: row[name] for name in body} == body
    assert (row["status"], row["is_active"], row["is_independent"]) == ("active", True, False)
    assert row["created_at"].endswith("Z")
    assert refusal(people.root.call("POST", ORGANIZATIONS, body)) == (409, "conflict")
    assert Organization.objects.count() == 3
    assert AuditEntry.objects.filter(target_id="org-003").count() == 1


@pytest.mark.parametrize("who", ["alice", "oscar", "vera", "charlie", "machine"])
def test_only_a_superadmin_makes_organizations(people: Cast, who: str) -> None:
    body = {"organization_id": "org-003", "name": "Initech"}
    assert refusal(getattr(people, who).call("POST", ORGANIZATIONS, body)) == (403, "forbidden")
    assert Organization.objects.count() == 2


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"organization_id": "no spaces"}, "organization_id"),
        ({"organization_id": ""}, "organization_id"),
        ({"organization_id": "x" * 51}, "organization_id"),
        ({"organization_id": ["x"]}, "organization_id"),
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"status": "asleep"}, "status"),
        ({"settings": []}, "settings"),
        ({"admin_email": "x"}, "admin_email"),
        ({"website": "javascript:alert(1)"}, "website"),
    ],
)
def test_an_unusable_field_is_named(people: Cast, change: dict[str, Any], field: str) -> None:
    body = {"organization_id": "org-003", "name": "Initech"} | change
    answer = people.root.call("POST", ORGANIZATIONS, body)
    assert refusal(answer) == (400, "invalid_field")
    assert list(json.loads(answer.content)["fields"]) == [field]


# --- independence ----------------------------------------------------------------------------------------------------


def test_an_orchestrators_flag_is_set_audited_and_kept(people: Cast) -> None:
    connect("orch-001")
    row = data(people.alice.call("PUT", FLAG, {"is_independent": True, "reason": "maintenance"}))
    assert (row["orchestrator_id"], row["is_independent"], row["status"]) == ("orch-001", True, "independent")
    assert row["independence_source"] == "own"
    assert data(people.vera.get(ONE)) == row
    data(people.alice.call("PUT", FLAG, {"is_independent": True}))
    entry = AuditEntry.objects.get(action="orchestrator.independence")
    assert (entry.before, entry.after, entry.reason) == (
        {"is_independent": False}, {"is_independent": True}, "maintenance",
    )  # fmt: skip
    assert entry.actor.endswith(" (admin)")
    back = data(people.alice.call("PUT", FLAG, {"is_independent": False}))
    assert (back["status"], back["independence_source"]) == ("active", None)


def test_an_organizations_flag_reaches_its_orchestrators_only(people: Cast) -> None:
    connect("orch-001")
    connect("orch-002")
    row = data(people.alice.call("PUT", ORGANIZATION_FLAG, {"is_independent": True}))
    assert row == {"organization_id": "org-001", "name": "Acme", "status": "active", "is_independent": True}
    found = {row["orchestrator_id"]: row["status"] for row in data(people.root.get(FLEET))["items"]}
    assert found == {"orch-001": "independent", "orch-002": "active"}


@pytest.mark.parametrize("path", [FLAG, ORGANIZATION_FLAG])
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_field"),
        ({"is_independent": "perhaps"}, "invalid_field"),
        ({"is_independent": None}, "invalid_field"),
        ({"is_independent": True, "reason": "x" * 501}, "invalid_field"),
        ({"is_independent": True, "organization_id": "org-002"}, "unknown_field"),
        ({"is_independent": True, "id": 7}, "unknown_field"),
    ],
)
def test_an_unusable_wish_changes_nothing(people: Cast, path: str, body: dict[str, Any], code: str) -> None:
    answer: Any = people.alice.call("PUT", path, body)
    assert refusal(answer) == (400, code)
    assert answer.json()["detail"].endswith("Accepted fields: is_independent, reason (optional).")
    assert not Instance.objects.filter(is_independent=True).exists()
    assert not Organization.objects.filter(is_independent=True).exists()


# --- messages --------------------------------------------------------------------------------------------------------


def test_a_message_is_queued_and_listed(people: Cast) -> None:
    body = {"message_type": "restart", "message_content": {"grace": 5, "umlaut": "ü", "deep": [[1.5, None]]}}
    row = data(people.oscar.call("POST", QUEUE, body | {"expires_in": 60}), status=202)
    assert set(row) == {
        "id", "message_id", "orchestrator_id", "direction", "message_type", "message_content", "status", "attempts",
        "error", "result", "expires_at", "sent_at", "finished_at", "created_at", "updated_at",
    }  # fmt: skip
    assert {name: row[name] for name in body} == body
    assert (row["orchestrator_id"], row["direction"], row["status"]) == ("orch-001", "outbound", "pending")
    assert row["attempts"] == 0
    lifetime = datetime.fromisoformat(row["expires_at"]) - datetime.fromisoformat(row["created_at"])
    assert timedelta(seconds=59) < lifetime < timedelta(seconds=61)
    assert data(people.vera.get(MESSAGES))["items"] == [row]
    assert AuditEntry.objects.get(action="message.queue").target_id == "orch-001"


def test_a_message_without_content_or_end_is_fine(people: Cast) -> None:
    row = data(people.oscar.call("POST", QUEUE, {"message_type": "ping_me"}), status=202)
    assert (row["message_content"], row["expires_at"]) == ({}, None)


@pytest.mark.parametrize("who", ["vera", "machine"])
def test_a_viewer_queues_nothing(people: Cast, who: str) -> None:
    answer = getattr(people, who).call("POST", QUEUE, {"message_type": "restart"})
    assert refusal(answer) == (403, "forbidden")
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"message_content": {}}, "invalid_field"),
        ({"message_type": ""}, "invalid_field"),
        ({"message_type": "x" * 51}, "invalid_field"),
        ({"message_type": "provisioning"}, "reserved_message_type"),
        ({"message_type": "goodbye"}, "reserved_message_type"),
        ({"message_type": "note", "expires_in": 0}, "invalid_field"),
        ({"message_type": "note", "expires_in": "soon"}, "invalid_field"),
        ({"message_type": "note", "expires_in": 10**12}, "invalid_field"),
        ({"message_type": "note", "message_content": "x" * (256 * 1024)}, "invalid_field"),
        ({"message_type": "note", "status": "delivered"}, "unknown_field"),
    ],
)
def test_an_unusable_message_is_not_queued(people: Cast, body: dict[str, Any], code: str) -> None:
    assert refusal(people.oscar.call("POST", QUEUE, body)) == (400, code)
    assert not Message.objects.exists()


def test_messages_are_newest_first_and_filtered(people: Cast) -> None:
    queue = messages.queue
    one = queue("orch-001", message_type="a", content={}, acting_user=None)
    two = queue("orch-001", message_type="b", content={}, acting_user=None)
    other = queue("orch-002", message_type="a", content={}, acting_user=None)
    up = Message.objects.create(
        orchestrator_id="orch-001", message_id="u", message_type="b", direction="inbound", status="delivered"
    )

    def found(query: str) -> list[int]:
        return [row["id"] for row in data(people.root.get(f"{MESSAGES}{query}"))["items"]]

    assert found("") == [up.pk, other.pk, two.pk, one.pk]
    assert found("?orchestrator_id=orch-002") == [other.pk]
    assert found("?orchestrator_id=nowhere") == []
    assert found("?message_type=a") == [other.pk, one.pk]
    assert found("?direction=inbound") == found("?status=delivered") == [up.pk]
    assert found("?status=pending&message_type=b") == [two.pk]
    assert found("?organization_id=org-002") == [other.pk]


# --- who may ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), EVERY)
def test_without_a_credential_it_is_401(people: Cast, method: str, path: str) -> None:
    answer = people.nobody.call(method, path, None if method == "GET" else {})
    assert refusal(answer) == (401, "unauthenticated")
    assert answer["WWW-Authenticate"] == 'Bearer realm="moolai"'


@pytest.mark.parametrize(("method", "path"), EVERY)
def test_with_a_wrong_credential_it_is_403(people: Cast, method: str, path: str) -> None:
    answer = people.mallory.call(method, path, None if method == "GET" else {})
    assert refusal(answer) == (403, "forbidden")


@pytest.mark.parametrize(("method", "path"), [("GET", ONE), ("PUT", FLAG), ("PUT", ORGANIZATION_FLAG), ("POST", QUEUE)])
def test_a_foreign_object_answers_as_a_missing_one(people: Cast, method: str, path: str) -> None:
    connect("orch-001")
    answers = []
    for target in (path, path.replace("orch-001", "nowhere").replace("org-001", "nowhere")):
        answer = people.charlie.call(method, target, None if method == "GET" else {"is_independent": True})
        assert refusal(answer) == (404, "not_found")
        answers.append(json.loads(answer.content) | {"request_id": ""})
    assert answers[0] == answers[1]
    assert not Message.objects.exists()
    assert not Instance.objects.filter(is_independent=True).exists()


@pytest.mark.parametrize("path", LISTS)
def test_lists_hold_the_callers_own_rows_only(people: Cast, path: str) -> None:
    for number in (1, 2):
        connect(f"orch-00{number}")
        messages.queue(f"orch-00{number}", message_type="note", content={}, acting_user=None)
    assert ids(people.vera.get(path)) == ["orch-001"]
    assert ids(people.charlie.get(path)) == ["orch-002"]
    assert sorted(ids(people.root.get(path))) == ["orch-001", "orch-002"]
    foreign = people.charlie.get(f"{path}?organization_id=org-001")
    missing = people.charlie.get(f"{path}?organization_id=nowhere")
    assert refusal(foreign) == refusal(missing) == (404, "not_found")


@pytest.mark.parametrize(("who", "status"), [("oscar", 403), ("vera", 403), ("alice", 200), ("root", 200)])
@pytest.mark.parametrize("path", [FLAG, ORGANIZATION_FLAG])
def test_independence_is_for_admins(people: Cast, who: str, status: int, path: str) -> None:
    assert getattr(people, who).call("PUT", path, {"is_independent": True}).status_code == status


# --- requests nobody should send -------------------------------------------------------------------------------------

BAD_BODIES: list[tuple[bytes | str, str]] = [
    ("{bad", "invalid_json"),
    ('{"a": 1} x', "invalid_json"),
    ("{'a': 1}", "invalid_json"),
    (b'{"a": "\xff"}', "invalid_json"),
    (b"\xff\xfe{\x00}\x00", "invalid_json"),
    ("[]", "not_an_object"),
    ("null", "not_an_object"),
    ('"text"', "not_an_object"),
    ("7", "not_an_object"),
    ("", "not_an_object"),
    ("  \n", "not_an_object"),
    ('{"a": NaN}', "invalid_number"),
    ('{"a": [-Infinity]}', "invalid_number"),
    ('{"a": 1e999}', "invalid_number"),
    ('{"a": "x\\u0000y"}', "invalid_string"),
    ('{"a\\u0000": 1}', "invalid_string"),
    ('{"a": "\\ud800"}', "invalid_string"),
    ('{"a": [{"\\udfff": 1}]}', "invalid_string"),
    ('{"a": 9223372036854775808}', "invalid_field"),
    ('{"a": -9223372036854775809}', "invalid_field"),
    ('{"a": ' + "9" * 5000 + "}", "invalid_field"),
    ('{"a": ' + "[" * 32 + "]" * 32 + "}", "too_deep"),
    ('{"a":' * 100_000 + "1" + "}" * 100_000, "too_deep"),
    ("[" * 100_000, "too_deep"),
    ('{"unexpected": 1}', "unknown_field"),
]


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize(("body", "code"), BAD_BODIES, ids=[f"{code}-{n}" for n, (_, code) in enumerate(BAD_BODIES)])
def test_an_unusable_body_is_400(people: Cast, method: str, path: str, body: bytes | str, code: str) -> None:
    assert refusal(people.root.call(method, path, body)) == (400, code)


def test_the_offending_place_is_named(people: Cast) -> None:
    answer = people.root.call("POST", QUEUE, '{"message_content": {"list": [1, {"n": 9223372036854775808}]}}')
    assert list(json.loads(answer.content)["fields"]) == ["message_content.list[1].n"]
    answer = people.root.call("POST", QUEUE, '{\n "a" 1}')
    assert "line 2 column 6" in json.loads(answer.content)["detail"]
    answer = people.root.call("POST", QUEUE, '{"message_type": "x", "superuser": 1, "role": 2}')
    assert list(json.loads(answer.content)["fields"]) == ["role", "superuser"]


def test_the_largest_and_deepest_good_values_are_kept_exactly(people: Cast) -> None:
    nested: Any = "end"
    for _ in range(30):
        nested = [nested]
    content = {"big": 2**63 - 1, "small": -(2**63), "float": 1.5e308, "pair": "😀", "nested": nested}
    row = data(people.oscar.call("POST", QUEUE, {"message_type": "note", "message_content": content}), status=202)
    assert row["message_content"] == content


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "junk"])
@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_body_of_another_type_is_415(people: Cast, method: str, path: str, kind: str) -> None:
    answer = getattr(Client(), method.lower())(path, '{"a": 1}', content_type=kind, headers=people.root.headers)
    assert refusal(answer) == (415, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", "application/json;v=1"])
def test_parameters_of_the_type_do_not_matter(people: Cast, kind: str) -> None:
    answer = Client().put(FLAG, '{"is_independent": true}', content_type=kind, headers=people.root.headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_body_over_1_mib_is_413(people: Cast, method: str, path: str) -> None:
    body = b'{"a": "' + b"x" * (1024 * 1024) + b'"}'
    assert refusal(people.root.call(method, path, body)) == (413, "payload_too_large")
    assert refusal(people.nobody.call(method, path, body)) == (413, "payload_too_large")


@pytest.mark.parametrize("length", ["\u00b2", "\u0663", "-1", "1e3"])
def test_a_length_that_is_no_number_is_413(people: Cast, length: str) -> None:
    answer: Any = Client().post(f"{FLEET}/orch-001/messages", b"", "application/json", CONTENT_LENGTH=length)
    assert refusal(answer) == (413, "payload_too_large")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (ORGANIZATIONS, {"GET", "HEAD", "POST"}),
        (FLEET, {"GET", "HEAD", "POST"}),
        (ONE, {"GET", "HEAD", "PUT", "PATCH", "DELETE"}),
        (LIVE, {"GET", "HEAD"}),
        (FLAG, {"PUT"}),
        (ORGANIZATION_FLAG, {"PUT"}),
        (QUEUE, {"POST"}),
        (MESSAGES, {"GET", "HEAD"}),
    ],
)
def test_a_wrong_method_is_405_and_names_the_right_ones(people: Cast, path: str, allowed: set[str]) -> None:
    methods = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}
    for method in methods - allowed - {"HEAD"}:
        answer = people.root.call(method, path)
        assert refusal(answer) == (405, "method_not_allowed"), method
        assert set(answer["Allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/nothing", "/api", "/api/", "/api/v1/controller//orchestrators", "//api/v1/controller/orchestrators",
        f"{FLEET}//", f"{FLEET}/%00", f"{FLEET}/orch-001%00", f"{FLEET}/%ff", f"{FLEET}/orch-001/more", f"{FLEET}/..;/",
        "/%00", "/..;/", "/nothing", f"{FLEET}/{'x' * 10_000}", f"{FLEET}/' OR 1=1 --", f"{FLEET}/1",
        f"{FLEET}/orch-001%0a", f"{FLEET}/%F0%9F%98%80", f"{FLEET}/ORCH-001",
        "/api/v1/internal/orchestrators/%00/messages/", "/static/%00", "/static/nothing.css",
    ],
)  # fmt: skip
def test_an_unknown_path_is_a_404_in_json(people: Cast, path: str) -> None:
    assert refusal(people.root.get(path)) == (404, "not_found")


@pytest.mark.parametrize("path", READS)
def test_a_trailing_slash_is_tolerated(people: Cast, path: str) -> None:
    assert data(people.vera.get(f"{path}/")) == data(people.vera.get(path))


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_trailing_slash_is_tolerated_on_writes(people: Cast, method: str, path: str) -> None:
    assert refusal(people.root.call(method, f"{path}/", "[]")) == (400, "not_an_object")


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/*", "*/*", "junk"])
def test_the_answer_is_json_whatever_is_accepted(people: Cast, accept: str) -> None:
    assert people.vera.get(FLEET, Accept=accept)["Content-Type"] == "application/json"
    assert refusal(people.nobody.get(FLEET, Accept=accept)) == (401, "unauthenticated")


@pytest.mark.parametrize("given", ["req-1", "0123456789abcdef", "a.b_c:d-e", "x" * 64])
def test_a_sane_request_id_is_echoed(people: Cast, given: str) -> None:
    assert people.vera.get(FLEET, **{"X-Request-ID": given})["X-Request-ID"] == given
    answer = people.nobody.get(FLEET, **{"X-Request-ID": given})
    assert json.loads(answer.content)["request_id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "<script>", "é", "a\tb", '"'])
def test_another_request_id_is_replaced(people: Cast, given: str) -> None:
    found = people.vera.get(FLEET, **{"X-Request-ID": given})["X-Request-ID"]
    assert found != given
    assert re.fullmatch(r"[0-9a-f]{24}", found)


def test_an_unknown_host_is_a_400_in_json(people: Cast) -> None:
    assert refusal(people.vera.get(FLEET, Host="evil.example")) == (400, "bad_request")


# --- when something is broken ----------------------------------------------------------------------------------------


@pytest.fixture
def broken() -> Iterator[Callable[[Exception], None]]:
    """Make every statement of this test's connection fail with the error given."""
    wrappers = connection.execute_wrappers
    before = list(wrappers)

    def fail_with(error: Exception) -> None:
        def execute(*_: Any) -> Any:
            raise error

        wrappers.append(execute)

    yield fail_with
    wrappers[:] = before


@pytest.mark.parametrize(("method", "path"), EVERY)
@pytest.mark.parametrize("who", ["root", "alice"])
def test_without_the_database_it_is_503_with_a_time_to_wait(
    people: Cast, broken: Callable[[Exception], None], method: str, path: str, who: str
) -> None:
    body: Any = None
    if method != "GET":
        body = {"organization_id": "x", "name": "x"} if path == ORGANIZATIONS else {"is_independent": True}
    if (who, path) == ("alice", ORGANIZATIONS):
        body = {}
    broken(OperationalError("server closed the connection: password=canary"))
    answer = getattr(people, who).call(method, path, body)
    assert refusal(answer) == (503, "database_unavailable")
    assert int(answer["Retry-After"]) > 0
    assert b"canary" not in answer.content


def test_a_bug_is_a_500_without_its_text(people: Cast, broken: Callable[[Exception], None]) -> None:
    broken(ZeroDivisionError("canary"))
    answer = people.root.get(FLEET)
    assert refusal(answer) == (500, "internal_error")
    assert b"canary" not in answer.content
    assert b"Traceback" not in answer.content
