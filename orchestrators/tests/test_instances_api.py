"""The orchestrators' doors that write: make with a key, replace, change, delete; and who may not."""

import json
from typing import Any

import pytest
from django.conf import settings as configured

from orchestrators import instances
from orchestrators.models import Instance
from orchestrators.tests.test_organizations_api import data, refusal, together
from orgs import keys
from orgs.models import ApiKey, AuditEntry, Event, Organization
from orgs.tests import cast
from orgs.tests.cast import Cast, Person

pytestmark = pytest.mark.django_db
FLEET = "/api/v1/controller/orchestrators"
ONE, OTHER = f"{FLEET}/orch-001", f"{FLEET}/orch-002"
NEW = {"orchestrator_id": "orch-003", "organization_id": "org-001"}
FULL: dict[str, Any] = {
    "name": "Line 3", "is_independent": True, "features": {"a": True}, "session_config": {"ttl": 5},
    "privacy_mode": True, "monitoring_enabled": False, "internal_url": "http://10.0.0.4:8080",
    "database_url": "postgres://u:canary@h/d", "redis_url": "redis://:canary@h", "container_id": "c1",
    "image_name": "registry/image:1", "environment_variables": {"KEY": "canary"}, "phoenix_endpoint": "http://p:6006",
    "admin_email": "a@example.com", "support_email": "s@example.com", "website": "https://example.com",
}  # fmt: skip
MASKED = FULL | {
    "database_url": "postgres://u:***@h/d", "redis_url": "redis://:***@h", "environment_variables": {"KEY": "***"},
}  # fmt: skip
EMPTY: dict[str, Any] = {
    "name": "orch-001", "is_independent": False, "features": {}, "session_config": {}, "privacy_mode": False,
    "monitoring_enabled": True, "internal_url": "", "database_url": "", "redis_url": "", "container_id": "",
    "image_name": "", "environment_variables": {}, "phoenix_endpoint": "", "admin_email": "", "support_email": "",
    "website": "",
}  # fmt: skip


@pytest.fixture
def people(settings: Any) -> Cast:
    """The cast, with orch-001 of org-001 and orch-002 of org-002, both silent."""
    found = cast.make(settings)
    for number in (1, 2):
        organization = Organization.objects.get(pk=f"org-00{number}")
        instances.create(f"orch-00{number}", organization=organization, acting_user=None)
    return found


def row(orchestrator_id: str = "orch-001") -> Instance:
    return Instance.objects.get(orchestrator_id=orchestrator_id)


def changes() -> int:
    return AuditEntry.objects.count()


def machine(secret: str) -> Person:
    return Person({"X-API-Key": secret})


# --- making ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["root", "alice"])
def test_a_new_one_comes_with_its_key_in_one_audit_row(people: Cast, who: str) -> None:
    before = changes()
    answer = getattr(people, who).call("POST", FLEET, NEW | FULL)
    made = data(answer, status=201)
    assert {name: made[name] for name in MASKED} == MASKED
    assert (made["orchestrator_id"], made["organization_id"], made["status"]) == ("orch-003", "org-001", "independent")
    assert b"canary" not in answer.content
    shown = data(people.alice.get(f"{FLEET}/orch-003"))
    assert shown == {name: value for name, value in made.items() if name not in ("secret", "key_id")}
    assert changes() == before + 1
    entry = AuditEntry.objects.latest("id")
    assert (entry.action, entry.target_id, entry.organization_id) == ("orchestrator.create", "orch-003", "org-001")
    assert entry.after is not None
    assert entry.after["key_id"] == made["key_id"]
    assert made["secret"] not in str(entry.after)
    assert "canary" not in str(entry.after)
    key = ApiKey.objects.get(key_id=made["key_id"])
    assert (key.scopes, key.orchestrator_id, key.role) == (["orchestrator"], "orch-003", "")


def test_the_key_speaks_for_its_own_orchestrator_alone(people: Cast) -> None:
    own = machine(data(people.alice.call("POST", FLEET, NEW), status=201)["secret"])
    assert data(own.get(f"{FLEET}/orch-003"))["name"] == "orch-003"
    assert refusal(own.get(ONE)) == (403, "forbidden")
    assert refusal(own.get(OTHER)) == (404, "not_found")
    assert [item["orchestrator_id"] for item in data(own.get(FLEET))["items"]] == ["orch-003"]
    beat = {"orchestrator_id": "orch-003", "status": "active", "health_status": "healthy"}
    assert own.call("POST", "/api/v1/internal/orchestrators/heartbeat", beat).status_code == 200
    for method in ("PUT", "PATCH", "DELETE"):
        assert refusal(own.call(method, f"{FLEET}/orch-003", {"name": "x"})) == (403, "forbidden")
    assert refusal(own.call("POST", FLEET, NEW | {"orchestrator_id": "orch-004"})) == (403, "forbidden")


def test_an_id_is_taken_once_whoever_has_it(people: Cast) -> None:
    data(people.alice.call("POST", FLEET, NEW), status=201)
    before = ApiKey.objects.count()
    assert refusal(people.alice.call("POST", FLEET, NEW)) == (409, "conflict")
    assert refusal(people.charlie.call("POST", FLEET, NEW | {"organization_id": "org-002"})) == (409, "conflict")
    assert ApiKey.objects.count() == before


def test_a_blocked_id_of_another_organization_is_taken_for_all_but_a_superadmin(people: Cast) -> None:
    data(people.alice.call("POST", FLEET, NEW), status=201)
    people.alice.call("DELETE", f"{FLEET}/orch-003")
    wish, before = NEW | {"organization_id": "org-002"}, changes()
    answer = people.charlie.call("POST", FLEET, wish)
    assert refusal(answer) == (409, "conflict")
    assert "org-001" not in answer.content.decode()
    assert (row("orch-003").organization_id, changes()) == ("org-001", before)
    data(people.root.call("POST", FLEET, wish), status=201)
    assert (row("orch-003").organization_id, row("orch-003").deleted_at) == ("org-002", None)
    lost, made = AuditEntry.objects.order_by("id")[before:]
    assert (lost.action, lost.organization_id, lost.target_id) == ("orchestrator.delete", "org-001", "orch-003")
    assert lost.reason == "A superadmin gave its id to another organization."
    assert (made.action, made.organization_id) == ("orchestrator.create", "org-002")


@pytest.mark.django_db(transaction=True)
def test_one_id_made_twice_at_once_is_one_orchestrator_with_one_key(people: Cast) -> None:
    answers = together(*[lambda: people.alice.call("POST", FLEET, NEW)] * 3)
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    assert ApiKey.objects.filter(orchestrator_id="orch-003").count() == 1
    assert AuditEntry.objects.filter(target_id="orch-003").count() == 1


def test_a_repeat_with_the_same_idempotency_key_shows_the_same_secret(people: Cast) -> None:
    first, second = (people.alice.call("POST", FLEET, NEW, **{"Idempotency-Key": "k"}) for _ in range(2))
    assert data(first, status=201) == data(second, status=201)
    assert ApiKey.objects.filter(orchestrator_id="orch-003").count() == 1


@pytest.mark.parametrize(
    ("who", "status"),
    [("nobody", 401), ("mallory", 403), ("machine", 403), ("oscar", 403), ("vera", 403), ("charlie", 404)],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_others_change_nothing(people: Cast, method: str, who: str, status: int) -> None:
    path, body = (FLEET, NEW) if method == "POST" else (ONE, {"name": "Mine"})
    assert refusal(getattr(people, who).call(method, path, body))[0] == status
    assert row().name == "orch-001"
    assert row().deleted_at is None
    assert Instance.objects.count() == 2


def test_a_foreign_organization_is_as_absent_as_a_missing_one(people: Cast) -> None:
    bodies = []
    for organization_id in ("org-002", "nowhere"):
        answer = people.alice.call("POST", FLEET, NEW | {"organization_id": organization_id})
        assert refusal(answer) == (404, "not_found")
        bodies.append({**json.loads(answer.content), "request_id": ""})
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"orchestrator_id": "no spaces"}, "orchestrator_id"),
        ({"orchestrator_id": "x" * 51}, "orchestrator_id"),
        ({"orchestrator_id": "live"}, "orchestrator_id"),
        ({"orchestrator_id": None}, "orchestrator_id"),
        ({"organization_id": ["org-001"]}, "organization_id"),
    ],
)
def test_an_unusable_id_is_named(people: Cast, body: dict[str, Any], field: str) -> None:
    answer = people.alice.call("POST", FLEET, NEW | body)
    assert refusal(answer) == (400, "invalid_field")
    assert list(answer.json()["fields"]) == [field]
    assert not ApiKey.objects.exclude(orchestrator_id="").exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "x" * 10_000}, "name"),
        ({"name": "   "}, "name"),
        ({"name": "a\r\nb"}, "name"),
        ({"name": "user\u202egpj"}, "name"),
        ({"features": []}, "features"),
        ({"session_config": "x"}, "session_config"),
        ({"privacy_mode": "perhaps"}, "privacy_mode"),
        ({"environment_variables": {"A": {"deep": 1}}}, "environment_variables.A"),
        ({"environment_variables": {"NEW": "***"}}, "environment_variables"),
        ({"database_url": "x" * 8001}, "database_url"),
        ({"database_url": "postgres://u:***@h/d"}, "database_url"),
        ({"container_id": "x" * 201}, "container_id"),
        ({"admin_email": "nobody"}, "admin_email"),
        ({"website": "javascript:alert(1)"}, "website"),
        ({"is_independent": None}, "is_independent"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_an_unusable_column_is_named_and_nothing_is_changed(
    people: Cast, method: str, body: dict[str, Any], field: str
) -> None:
    path, extra = (FLEET, NEW) if method == "POST" else (ONE, {})
    answer = people.alice.call(method, path, {**extra, **body})
    assert refusal(answer) == (400, "invalid_field")
    assert list(answer.json()["fields"]) == [field]
    assert Instance.objects.count() == 2
    assert data(people.alice.get(ONE))["name"] == "orch-001"


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize(
    "extra", ["organization_id", "orchestrator_id", "id", "status", "is_connected", "last_seen", "secret", "epoch"]
)
def test_mass_assignment_is_refused(people: Cast, method: str, extra: str) -> None:
    assert refusal(people.root.call(method, ONE, {extra: "org-001"})) == (400, "unknown_field")


@pytest.mark.parametrize(("method", "path"), [("POST", FLEET), ("PUT", ONE), ("PATCH", ONE)])
@pytest.mark.parametrize(("body", "code"), [("[]", "not_an_object"), ("{bad", "invalid_json"), ("", "not_an_object")])
def test_an_unusable_body_is_400(people: Cast, method: str, path: str, body: str, code: str) -> None:
    assert refusal(people.alice.call(method, path, body)) == (400, code)


# --- changing --------------------------------------------------------------------------------------------------------


def test_patch_changes_what_it_names_with_one_audit_row(people: Cast) -> None:
    data(people.alice.call("PATCH", ONE, FULL | {"is_independent": False}))
    before, version = changes(), row().config_version
    changed = data(people.alice.call("PATCH", ONE, {"features": {"b": 1}, "database_url": "postgres://u:canary2@h/d"}))
    assert (changed["features"], changed["name"], changed["container_id"]) == ({"b": 1}, "Line 3", "c1")
    assert (changes(), row().config_version) == (before + 1, version + 1)
    entry = AuditEntry.objects.latest("id")
    assert (entry.action, entry.before, entry.after) == (
        "orchestrator.update",
        {"features": {"a": True}, "database_url": "postgres://u:***@h/d"},
        {"features": {"b": 1}, "database_url": "postgres://u:***@h/d"},
    )
    data(people.alice.call("PATCH", ONE, {"features": {"b": 1}, "database_url": "postgres://u:***@h/d"}))
    assert changes() == before + 1


def test_put_replaces_everything_and_takes_back_what_it_showed(people: Cast) -> None:
    assert {name: data(people.alice.call("PUT", ONE, FULL))[name] for name in MASKED} == MASKED
    before = changes()
    again = data(people.alice.call("PUT", ONE, MASKED))
    assert ({name: again[name] for name in MASKED}, changes()) == (MASKED, before)
    empty = data(people.alice.call("PUT", ONE, {}))
    assert {name: empty[name] for name in EMPTY} == EMPTY
    assert changes() == before + 1


@pytest.mark.django_db(transaction=True)
def test_the_flag_is_one_audit_row_with_the_rest_and_is_mirrored(people: Cast) -> None:
    Instance.objects.filter(orchestrator_id="orch-001").update(is_connected=True, status="active")
    before = changes()
    changed = data(people.alice.call("PATCH", ONE, {"is_independent": True, "name": "Free"}))
    assert (changed["is_independent"], changed["status"], changed["independence_source"]) == (
        True,
        "independent",
        "own",
    )
    assert changes() == before + 1
    assert AuditEntry.objects.latest("id").after == {"is_independent": True, "name": "Free"}
    assert Event.objects.filter(kind="independence.changed", orchestrator_id="orch-001").count() == 1
    mirrored = json.loads(configured.INDEPENDENCE_JSON_FILE.read_text())["orchestrators"]["orch-001"]
    assert mirrored["is_independent"] is True
    back = data(people.alice.call("PATCH", ONE, {"is_independent": False}))
    assert (back["status"], row().deadline_at is not None) == ("active", True)


def test_a_name_from_the_wire_that_is_no_name_does_not_stand_in_the_way(people: Cast) -> None:
    Instance.objects.filter(orchestrator_id="orch-001").update(name="from\nthe wire")
    assert data(people.alice.call("PATCH", ONE, {"privacy_mode": True}))["privacy_mode"] is True
    assert data(people.alice.call("PATCH", ONE, {"name": ""}))["name"] == "orch-001"


@pytest.mark.django_db(transaction=True)
def test_changes_at_the_same_time_all_stay(people: Cast) -> None:
    fields: dict[str, Any] = {"name": "Both", "features": {"a": 1}, "privacy_mode": True, "is_independent": True}
    calls = [lambda change={name: value}: people.alice.call("PATCH", ONE, change) for name, value in fields.items()]
    assert [answer.status_code for answer in together(*calls)] == [200] * 4
    assert {name: getattr(row(), name) for name in fields} == fields
    assert row().config_version == 4


# --- deleting --------------------------------------------------------------------------------------------------------


def test_a_deleted_one_is_gone_with_its_keys_until_it_is_made_anew(people: Cast) -> None:
    first = data(people.alice.call("POST", FLEET, NEW), status=201)
    fleet_key, _ = keys.create(
        Organization.objects.get(pk="org-001"), name="f", acting_user=None, scopes=["orchestrator"]
    )
    before, path = changes(), f"{FLEET}/orch-003"
    answer = people.alice.call("DELETE", path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert changes() == before + 1
    entry = AuditEntry.objects.latest("id")
    assert (entry.action, entry.before) == ("orchestrator.delete", {"name": "orch-003", "api_keys": [first["key_id"]]})
    revoked = Event.objects.filter(kind="api_key.revoked")
    assert [event.data["key_id"] for event in revoked] == [first["key_id"]]
    assert ApiKey.objects.get(pk=fleet_key.pk).revoked_at is None
    assert refusal(machine(first["secret"]).get(path)) == (403, "forbidden")
    assert refusal(people.alice.get(path)) == (404, "not_found")
    assert refusal(people.alice.call("DELETE", path)) == (404, "not_found")
    second = data(people.alice.call("POST", FLEET, NEW), status=201)
    assert second["id"] == first["id"]
    assert machine(second["secret"]).get(path).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_change_of_what_is_being_deleted_is_done_or_404(people: Cast) -> None:
    calls = [lambda: people.alice.call("DELETE", ONE), lambda: people.alice.call("PATCH", ONE, {"name": "Late"})]
    deleted, patched = together(*calls)
    assert deleted.status_code == 204
    assert patched.status_code in (200, 404)
    assert row().deleted_at is not None


# --- a key rotates itself --------------------------------------------------------------------------------------------


def rotation(key_id: str, organization_id: str = "org-001") -> str:
    return f"/api/v1/orchestrators/{organization_id}/api-keys/{key_id}/rotate"


def test_an_orchestrators_key_rotates_itself_and_no_other(people: Cast) -> None:
    made = data(people.alice.call("POST", FLEET, NEW), status=201)
    own = machine(made["secret"])
    another, _ = keys.create(
        Organization.objects.get(pk="org-001"), name="o", acting_user=None, scopes=["orchestrator"]
    )
    foreign, _ = keys.create(Organization.objects.get(pk="org-002"), name="f", acting_user=None, role="admin")
    assert refusal(own.call("POST", rotation(another.key_id))) == (403, "forbidden")
    assert refusal(own.call("POST", rotation(foreign.key_id, "org-002"))) == (404, "not_found")
    assert refusal(own.call("POST", rotation(made["key_id"], "org-002"))) == (404, "not_found")
    assert refusal(own.call("DELETE", rotation(made["key_id"]).removesuffix("/rotate"))) == (403, "forbidden")
    before = changes()
    successor = data(own.call("POST", rotation(made["key_id"]), {"grace_seconds": 60}))
    assert (successor["orchestrator_id"], successor["scopes"]) == ("orch-003", ["orchestrator"])
    assert changes() == before + 1
    for secret in (made["secret"], successor["secret"]):
        assert machine(secret).get(f"{FLEET}/orch-003").status_code == 200


def test_a_key_with_a_role_does_not_rotate_itself(people: Cast) -> None:
    row, secret = keys.create(Organization.objects.get(pk="org-001"), name="v", acting_user=None, role="viewer")
    assert refusal(machine(secret).call("POST", rotation(row.key_id))) == (403, "forbidden")
