"""The organizations' doors: list, make, replace, change, delete; what their fleets make of it; and who may not."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from django.db import connection

from orchestrators import instances, messages, notices
from orchestrators.models import Instance, Message
from orgs import chain, keys
from orgs.models import ApiKey, AuditEntry, Event, Membership, Organization, User
from orgs.tests import cast
from orgs.tests.cast import Cast, Person

pytestmark = pytest.mark.django_db
LIST = "/api/v1/controller/organizations"
ONE, OTHER = f"{LIST}/org-001", f"{LIST}/org-002"
COLUMNS = {
    "organization_id", "name", "status", "is_active", "is_independent", "settings", "admin_email", "support_email",
    "website", "created_at", "updated_at",
}  # fmt: skip
FULL = {
    "name": "Acme Robotics", "settings": {"config": {"features": {"a": True}}}, "admin_email": "a@example.com",
    "support_email": "s@example.com", "website": "https://example.com", "is_independent": True,
}  # fmt: skip


@pytest.fixture
def people(settings: Any) -> Cast:
    """The cast, with orch-001 of org-001 and orch-002 of org-002, both silent."""
    found = cast.make(settings)
    for number in (1, 2):
        organization = Organization.objects.get(pk=f"org-00{number}")
        instances.create(f"orch-00{number}", organization=organization, acting_user=None)
    return found


def data(answer: Any, *, status: int = 200) -> Any:
    assert answer.status_code == status, answer.content
    return json.loads(answer.content)["data"]


def refusal(answer: Any) -> tuple[int, str]:
    body = json.loads(answer.content)
    assert body["success"] is False
    return answer.status_code, body["error"]


def ids(answer: Any) -> list[str]:
    return [row["organization_id"] for row in data(answer)["items"]]


def row(organization_id: str = "org-001") -> Organization:
    return Organization.objects.get(pk=organization_id)


def changes() -> int:
    return AuditEntry.objects.count()


# --- reading ---------------------------------------------------------------------------------------------------------


def test_everybody_lists_their_own(people: Cast) -> None:
    assert ids(people.root.get(LIST)) == ["org-001", "org-002"]
    for person in (people.alice, people.oscar, people.vera):
        page = data(person.get(LIST))
        assert [item["organization_id"] for item in page["items"]] == ["org-001"]
        assert (page["total_items"], page["total_pages"], page["has_next"]) == (1, 1, False)
        assert set(page["items"][0]) == COLUMNS
    assert ids(people.charlie.get(LIST)) == ["org-002"]
    assert refusal(people.machine.get(LIST)) == (403, "forbidden")
    assert refusal(people.nobody.get(LIST)) == (401, "unauthenticated")
    assert refusal(people.mallory.get(LIST)) == (403, "forbidden")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?status=active", ["org-001"]),
        ("?status=suspended", ["org-002"]),
        ("?status=", ["org-001", "org-002"]),
        ("?search=ORG-00", ["org-001", "org-002"]),
        ("?search=glob", ["org-002"]),
        ("?search=%25", []),
        ("?search=acme&status=suspended", []),
        ("?page_size=1", ["org-001"]),
        ("?page_size=1&page=2", ["org-002"]),
        ("?page=9", []),
    ],
)
def test_the_list_is_filtered_and_paged(people: Cast, query: str, expected: list[str]) -> None:
    Organization.objects.filter(pk="org-002").update(status="suspended")
    assert ids(people.root.get(LIST + query)) == expected


@pytest.mark.parametrize(
    "query", ["status=asleep", "ordering=name", "page=0", "organization_id=org-001", "search=a&search=b", "search=%00"]
)
def test_an_unusable_parameter_is_400(people: Cast, query: str) -> None:
    assert refusal(people.root.get(f"{LIST}?{query}")) == (400, "invalid_parameter")


def test_one_is_read_by_its_members_and_absent_for_others(people: Cast) -> None:
    for person in (people.root, people.alice, people.oscar, people.vera):
        assert data(person.get(ONE))["name"] == "Acme"
    foreign, missing = people.charlie.get(ONE), people.charlie.get(f"{LIST}/nowhere")
    bodies = [{**json.loads(answer.content), "request_id": ""} for answer in (foreign, missing)]
    assert refusal(foreign) == (404, "not_found")
    assert bodies[0] == bodies[1]
    assert refusal(people.machine.get(ONE)) == (403, "forbidden")
    assert refusal(people.machine.get(OTHER)) == (404, "not_found")
    assert refusal(people.nobody.get(ONE)) == (401, "unauthenticated")


def test_the_alias_is_the_same_door(people: Cast) -> None:
    alias = LIST.replace("/controller", "")
    assert data(people.alice.get(alias)) == data(people.alice.get(LIST))
    assert data(people.alice.get(f"{alias}/org-001/")) == data(people.alice.get(ONE))
    assert data(people.alice.call("PATCH", f"{alias}/org-001", {"name": "New"}))["name"] == "New"
    body = {"organization_id": "org-003", "name": "Initech"}
    assert data(people.root.call("POST", alias, body), status=201)["organization_id"] == "org-003"
    assert refusal(people.mallory.get(alias)) == (401, "unauthenticated")


# --- writing ---------------------------------------------------------------------------------------------------------


def test_a_new_one_takes_every_writable_column(people: Cast) -> None:
    body = {"organization_id": "org-003", "status": "provisioning", "is_active": False} | FULL
    made = data(people.root.call("POST", LIST, body), status=201)
    assert {name: made[name] for name in body} == body
    assert AuditEntry.objects.filter(organization_id="org-003").count() == 1
    assert refusal(people.root.call("POST", LIST, body)) == (409, "conflict")


def test_patch_changes_what_it_names_with_one_audit_row(people: Cast) -> None:
    before = changes()
    changed = data(people.alice.call("PATCH", ONE, {"admin_email": "ops@example.com", "name": "Acme 2"}))
    assert (changed["name"], changed["admin_email"], changed["status"]) == ("Acme 2", "ops@example.com", "active")
    assert data(people.alice.get(ONE)) == changed
    assert changes() == before + 1
    entry = AuditEntry.objects.latest("id")
    assert (entry.action, entry.target_id, entry.organization_id) == ("organization.update", "org-001", "org-001")
    assert (entry.before, entry.after) == (
        {"name": "Acme", "admin_email": ""}, {"name": "Acme 2", "admin_email": "ops@example.com"},
    )  # fmt: skip
    data(people.alice.call("PATCH", ONE, {"name": "Acme 2"}))
    data(people.alice.call("PATCH", ONE, {}))
    assert changes() == before + 1


def test_put_replaces_everything_and_what_is_left_out_is_its_default(people: Cast) -> None:
    governed = {"status": "inactive", "is_active": False}
    first = data(people.root.call("PUT", ONE, FULL | governed))
    assert {name: first[name] for name in FULL | governed} == FULL | governed
    second = data(people.root.call("PUT", ONE, {"name": "Acme"}))
    assert {name: second[name] for name in COLUMNS - {"created_at", "updated_at"}} == {
        "organization_id": "org-001", "name": "Acme", "status": "active", "is_active": True, "is_independent": False,
        "settings": {}, "admin_email": "", "support_email": "", "website": "",
    }  # fmt: skip
    answer = people.root.call("PUT", ONE, {"status": "active"})
    assert refusal(answer) == (400, "invalid_field")
    assert list(answer.json()["fields"]) == ["name"]


def test_an_administrator_replaces_its_own_fields_and_leaves_the_rest(people: Cast) -> None:
    Organization.objects.filter(pk="org-001").update(status="provisioning", admin_email="old@example.com")
    changed = data(people.alice.call("PUT", ONE, {"name": "Mine"}))
    assert (changed["name"], changed["status"], changed["admin_email"]) == ("Mine", "provisioning", "")


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("field", [{"status": "active"}, {"status": "suspended"}, {"is_active": True}])
def test_status_is_a_superadmins(people: Cast, method: str, field: dict[str, Any]) -> None:
    assert refusal(people.alice.call(method, ONE, {"name": "x"} | field)) == (403, "forbidden")
    assert (row().name, row().status) == ("Acme", "active")
    assert people.root.call(method, ONE, {"name": "x"} | field).status_code == 200


def test_suspending_one_ends_what_its_keys_may(people: Cast) -> None:
    data(people.root.call("PATCH", ONE, {"status": "suspended"}))
    assert Event.objects.filter(kind="organization.suspended", organization_id="org-001").exists()
    assert people.alice.get(ONE).status_code == 403


def test_a_new_name_or_new_settings_are_a_new_configuration(people: Cast) -> None:
    before = Instance.objects.get(orchestrator_id="orch-001")
    data(people.alice.call("PATCH", ONE, {"settings": {"config": {"features": {"beta": True}}}}))
    middle = Instance.objects.get(orchestrator_id="orch-001")
    assert middle.config_version == before.config_version + 1
    data(people.alice.call("PATCH", ONE, {"name": "Other"}))
    after = Instance.objects.get(orchestrator_id="orch-001")
    assert (after.organization_name, after.config_version) == ("Other", before.config_version + 2)
    data(people.alice.call("PATCH", ONE, {"website": "https://example.com"}))
    assert Instance.objects.get(orchestrator_id="orch-001").config_version == before.config_version + 2
    assert Event.objects.filter(kind="config.changed", orchestrator_id="orch-001").count() == 2


@pytest.mark.django_db(transaction=True)
def test_the_flag_is_one_audit_row_with_the_rest_and_reaches_fleet_and_mirror(people: Cast) -> None:
    before = changes()
    data(people.alice.call("PATCH", ONE, {"is_independent": True, "name": "Free"}))
    assert changes() == before + 1
    entry = AuditEntry.objects.latest("id")
    assert (entry.action, entry.before, entry.after) == (
        "organization.update",
        {"name": "Acme", "is_independent": False},
        {"name": "Free", "is_independent": True},
    )
    assert Instance.objects.get(orchestrator_id="orch-001").status == "independent"
    assert Instance.objects.get(orchestrator_id="orch-002").status == "inactive"
    assert Event.objects.filter(kind="independence.changed", organization_id="org-001").count() == 1
    mirrored = json.loads(configured.INDEPENDENCE_JSON_FILE.read_text())["organizations"]["org-001"]
    assert mirrored["is_independent"] is True
    data(people.alice.call("PATCH", ONE, {"is_independent": True}))
    assert changes() == before + 1
    data(people.alice.call("PUT", ONE, {"name": "Free"}))
    assert Instance.objects.get(orchestrator_id="orch-001").status == "inactive"


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"name": "x" * 10_000}, "name", "200"),
        ({"name": "   "}, "name", "visible"),
        ({"name": ""}, "name", "blank"),
        ({"name": "user\u202egpj"}, "name", "U+202E"),
        ({"name": "a\r\nSet-Cookie: x"}, "name", "U+000D"),
        ({"name": "Acme\r\n"}, "name", "U+000D"),
        ({"name": 7, "admin_email": "x"}, "admin_email", "email"),
        ({"name": None}, "name", "null"),
        ({"name": ["x"]}, "name", "string"),
        ({"status": "asleep"}, "status", "asleep"),
        ({"is_independent": "perhaps"}, "is_independent", "boolean"),
        ({"settings": []}, "settings", "dictionary"),
        ({"website": "javascript:alert(1)"}, "website", "URL"),
        ({"admin_email": "a" * 300 + "@example.com"}, "admin_email", "254"),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST"])
def test_an_unusable_field_is_named_with_the_reason(
    people: Cast, method: str, body: dict[str, Any], field: str, words: str
) -> None:
    path, extra = (LIST, {"organization_id": "org-003"}) if method == "POST" else (ONE, {})
    answer = people.root.call(method, path, {"name": "Fine", **extra, **body})
    assert refusal(answer) == (400, "invalid_field")
    assert words in answer.json()["fields"][field]
    assert row().name == "Acme"
    assert Organization.objects.count() == 2


def test_every_field_that_is_unusable_is_named_at_once(people: Cast) -> None:
    wrong = {
        "organization_id": "no/id", "name": "", "status": "asleep", "is_active": "perhaps", "settings": [],
        "admin_email": "x", "support_email": "x", "website": "x",
    }  # fmt: skip
    answer = people.root.call("POST", LIST, wrong)
    assert refusal(answer) == (400, "invalid_field")
    assert answer.json()["fields"].keys() == wrong.keys()
    assert refusal(people.root.call("POST", LIST, {**wrong, "odd": 1})) == (400, "unknown_field")


@pytest.mark.parametrize(("sent", "stored"), [("Cafe\u0301", "Café"), ("  Acme  ", "Acme"), ("👩‍💻 Ltd", "👩‍💻 Ltd")])
def test_a_name_is_stored_normalized(people: Cast, sent: str, stored: str) -> None:
    assert data(people.alice.call("PATCH", ONE, {"name": sent}))["name"] == stored
    assert row().name == stored


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("extra", ["organization_id", "id", "created_at", "is_superuser", "spent"])
def test_mass_assignment_is_refused(people: Cast, method: str, extra: str) -> None:
    assert refusal(people.root.call(method, ONE, {"name": "x", extra: "org-001"})) == (400, "unknown_field")
    assert row().name == "Acme"


@pytest.mark.parametrize(("method", "path"), [("POST", LIST), ("PUT", ONE), ("PATCH", ONE)])
@pytest.mark.parametrize(
    ("body", "code"),
    [("[]", "not_an_object"), ("{bad", "invalid_json"), ("", "not_an_object"), ('{"a": "\\u0000"}', "invalid_string")],
)
def test_an_unusable_body_is_400(people: Cast, method: str, path: str, body: str, code: str) -> None:
    assert refusal(people.root.call(method, path, body)) == (400, code)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    ("who", "status"),
    [("nobody", 401), ("mallory", 403), ("machine", 403), ("oscar", 403), ("vera", 403), ("charlie", 404)],
)
def test_others_change_nothing(people: Cast, method: str, who: str, status: int) -> None:
    assert refusal(getattr(people, who).call(method, ONE, {"name": "Mine"}))[0] == status
    assert row().name == "Acme"


@pytest.mark.parametrize(
    ("path", "allowed"), [(LIST, {"GET", "HEAD", "POST"}), (ONE, {"GET", "HEAD", "PUT", "PATCH", "DELETE"})]
)
def test_a_wrong_method_is_405(people: Cast, path: str, allowed: set[str]) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - allowed:
        answer = people.root.call(method, path)
        assert refusal(answer) == (405, "method_not_allowed")
        assert set(answer["Allow"].split(", ")) == allowed


def test_a_repeat_with_the_same_idempotency_key_is_answered_again(people: Cast) -> None:
    before = changes()
    for _ in range(2):
        answer = people.root.call("PATCH", ONE, {"name": "Once"}, **{"Idempotency-Key": "k1"})
        assert data(answer)["name"] == "Once"
    assert changes() == before + 1
    other = people.root.call("PATCH", ONE, {"name": "Twice"}, **{"Idempotency-Key": "k1"})
    assert refusal(other) == (409, "idempotency_conflict")


# --- deleting --------------------------------------------------------------------------------------------------------


def test_it_goes_with_its_fleet_keys_and_memberships_and_its_audit_trail_stays(people: Cast) -> None:
    messages.queue("orch-001", message_type="note", content={}, acting_user=None)
    ann, bob = User.objects.create_user("ann"), User.objects.create_user("bob")
    for user, organization_id in ((ann, "org-001"), (bob, "org-001"), (bob, "org-002")):
        Membership.objects.create(user=user, organization_id=organization_id)
    key_ids = set(ApiKey.objects.filter(organization="org-001").values_list("key_id", flat=True))
    trail = AuditEntry.objects.filter(organization_id="org-001").count()
    answer = people.root.call("DELETE", ONE)
    assert (answer.status_code, answer.content) == (204, b"")
    assert list(Organization.objects.values_list("pk", flat=True)) == ["org-002"]
    assert list(Instance.objects.values_list("orchestrator_id", flat=True)) == ["orch-002"]
    assert not Message.objects.exists()
    assert not ApiKey.objects.filter(key_id__in=key_ids).exists()
    assert [User.objects.get(pk=user.pk).is_active for user in (ann, bob)] == [False, True]
    assert AuditEntry.objects.filter(organization_id="org-001").count() == trail + 1
    entry = AuditEntry.objects.latest("id")
    assert entry.action == "organization.delete"
    assert entry.before is not None
    assert (entry.before["orchestrator_ids"], entry.before["users"]) == (["orch-001"], 2)
    assert not [found for found in chain.verify()[1] if "DATA_DIR" not in found.problem]
    revoked = Event.objects.filter(kind="api_key.revoked", organization_id="org-001")
    assert {event.data["key_id"] for event in revoked} == key_ids
    assert refusal(people.root.call("DELETE", ONE)) == (404, "not_found")
    assert people.alice.get(LIST).status_code == 403


def test_a_session_that_is_still_open_is_told_to_end(people: Cast) -> None:
    people.root.call("DELETE", ONE)
    rows = list(Event.objects.filter(kind="organization.deleted"))
    found = notices._meaning(rows, held={"orch-001"}, node_id="here")
    assert [(notice.organization_id, notice.code) for notice in found if isinstance(notice, notices.Closing)] == [
        ("org-001", 4403)
    ]


def test_it_stays_while_an_orchestrator_is_connected(people: Cast) -> None:
    Instance.objects.filter(orchestrator_id="orch-001").update(is_connected=True)
    before = changes()
    answer = people.root.call("DELETE", ONE)
    assert refusal(answer) == (409, "conflict")
    assert "Connected orchestrators: 1." in answer.json()["detail"]
    assert (Organization.objects.count(), changes()) == (2, before)
    assert people.alice.get(ONE).status_code == 200


def test_its_administrator_does_not_delete_it(people: Cast) -> None:
    assert refusal(people.alice.call("DELETE", ONE)) == (403, "forbidden")
    assert Organization.objects.count() == 2


def test_an_id_is_free_again_and_its_chain_goes_on(people: Cast) -> None:
    people.root.call("DELETE", ONE)
    data(people.root.call("POST", LIST, {"organization_id": "org-001", "name": "New"}), status=201)
    sequences = AuditEntry.objects.filter(organization_id="org-001").order_by("sequence")
    assert list(sequences.values_list("sequence", flat=True)) == list(range(1, sequences.count() + 1))


# --- at the same time ------------------------------------------------------------------------------------------------


def together(*calls: Any) -> list[Any]:
    """Make the calls in threads of their own and return the answers."""
    answers: list[Any] = [None] * len(calls)

    def run(index: int) -> None:
        try:
            answers[index] = calls[index]()
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return answers


@pytest.mark.django_db(transaction=True)
def test_changes_at_the_same_time_all_stay(people: Cast) -> None:
    fields = {"name": "Both", "admin_email": "a@example.com", "website": "https://example.com"}
    calls = [lambda change={name: value}: people.alice.call("PATCH", ONE, change) for name, value in fields.items()]
    assert [answer.status_code for answer in together(*calls)] == [200] * 3
    assert {name: getattr(row(), name) for name in fields} == fields


@pytest.mark.django_db(transaction=True)
def test_one_id_made_twice_at_once_is_one_organization(people: Cast) -> None:
    body = {"organization_id": "org-003", "name": "Initech"}
    answers = together(*[lambda: people.root.call("POST", LIST, body)] * 3)
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    assert AuditEntry.objects.filter(organization_id="org-003").count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_change_of_what_is_being_deleted_is_done_or_404(people: Cast) -> None:
    calls = [lambda: people.root.call("DELETE", ONE), lambda: people.root.call("PATCH", ONE, {"name": "Late"})]
    deleted, patched = together(*calls)
    assert deleted.status_code == 204
    assert patched.status_code in (200, 404)
    assert not Organization.objects.filter(pk="org-001").exists()


def test_a_members_key_dies_with_its_organization(people: Cast) -> None:
    _, secret = keys.create(row(), name="k", acting_user=None, role="viewer")
    person = Person({"X-API-Key": secret})
    assert person.get(ONE).status_code == 200
    people.root.call("DELETE", ONE)
    assert refusal(person.get(ONE)) == (403, "forbidden")


@pytest.mark.parametrize("number", [1e16, 1e23, 1e308, 9.007199254740993e17, -1e23, -0.0])
def test_the_trail_stays_whole_whatever_number_the_settings_hold(
    people: Cast, number: float, settings: Any, tmp_path: Path
) -> None:
    settings.DATA_DIR = tmp_path  # the heads kept there are not those of other tests
    for value in (number, 1):  # the second time it is the value before, read from the database
        data(people.alice.call("PATCH", ONE, {"settings": {"n": value}}))
    assert chain.verify_newest("org-001", limit=100).findings == []
