"""The life of an orchestrator without a socket: register, heartbeat, deregister, and whose key may do it for whom."""

import json
from typing import Any

import pytest
from django.http import HttpResponse

from orchestrators import instances
from orchestrators.models import Instance
from orchestrators.tests.test_api import refusal
from orgs import keys
from orgs.models import AuditEntry, Event, Organization
from orgs.tests import cast
from orgs.tests.cast import Cast, Person

pytestmark = pytest.mark.django_db
ROOT = "/api/v1/internal/orchestrators"
REGISTER, HEARTBEAT, DEREGISTER = f"{ROOT}/register", f"{ROOT}/heartbeat", f"{ROOT}/orch-001/deregister"
BODY: dict[str, Any] = {
    "orchestrator_id": "orch-001", "organization_id": "org-001", "name": "One",
    "internal_url": "http://orch-001:8000", "database_url": "postgres://u:canary@db/x",
}  # fmt: skip
BEAT = {"orchestrator_id": "orch-001", "status": "active", "health_status": "healthy"}
CALLS = [("POST", REGISTER, BODY), ("POST", HEARTBEAT, BEAT), ("DELETE", DEREGISTER, None)]


@pytest.fixture
def people(settings: Any) -> Cast:
    return cast.make(settings)


@pytest.fixture
def known(people: Cast) -> Instance:
    organization = Organization.objects.get(pk="org-001")
    return instances.create("orch-001", organization=organization, acting_user=None, name="One")


def key(organization_id: str = "org-001", **fields: Any) -> Person:
    organization = Organization.objects.get(pk=organization_id)
    _, secret = keys.create(organization, name="bot", acting_user=None, scopes=["orchestrator"], **fields)
    return Person({"Authorization": f"Bearer {secret}"})


def flat(answer: HttpResponse, status: str) -> dict[str, Any]:
    assert answer.status_code == 200, answer.content
    body: dict[str, Any] = json.loads(answer.content)
    assert b"canary" not in answer.content
    assert isinstance(body.pop("message"), str)
    assert body == {
        "success": True,
        "orchestrator_id": "orch-001",
        "organization_id": "org-001",
        "status": status,
        "controller_endpoints": {"heartbeat": HEARTBEAT, "deregister": DEREGISTER},
    }
    return body


def audited() -> list[str]:
    return list(AuditEntry.objects.filter(action__startswith="orchestrator.").values_list("action", flat=True))


@pytest.mark.parametrize("who", ["machine", "alice", "root"])
def test_a_whole_life(people: Cast, who: str) -> None:
    person = getattr(people, who)
    more = {"redis_url": "redis://:canary@r", "environment_variables": {"KEY": "canary"}, "monitoring": False}
    flat(person.call("POST", REGISTER, BODY | more | {"container_id": "c1", "image_name": "img:1"}), "active")
    row = Instance.objects.get(orchestrator_id="orch-001")
    assert (row.name, row.container_id, row.image_name, row.monitoring_enabled) == ("One", "c1", "img:1", False)
    assert row.last_seen is not None
    assert row.deadline_at is not None
    flat(person.call("POST", HEARTBEAT, BEAT | {"status": "degraded", "health_status": "degraded"}), "degraded")
    row.refresh_from_db()
    assert row.health_status == {"status": "degraded"}
    flat(person.call("POST", f"{HEARTBEAT}/", BEAT), "active")
    flat(person.call("DELETE", DEREGISTER), "inactive")
    assert Instance.objects.filter(status="inactive", deadline_at=None).exists()
    assert sorted(audited()) == ["orchestrator.create", "orchestrator.deregister"]
    assert not AuditEntry.objects.filter(actor="anonymous").exists()


@pytest.mark.parametrize(
    ("status", "health", "expected"),
    [
        ("active", "healthy", "active"),
        ("active", "degraded", "degraded"),
        ("active", "unhealthy", "error"),
        ("degraded", "healthy", "degraded"),
        ("error", "degraded", "error"),
    ],
)
def test_the_worse_word_counts(people: Cast, known: Instance, status: str, health: str, expected: str) -> None:
    flat(people.machine.call("POST", HEARTBEAT, BEAT | {"status": status, "health_status": health}), expected)


def test_registering_again_changes_nothing_twice(people: Cast) -> None:
    for _ in range(2):
        flat(people.machine.call("POST", REGISTER, BODY), "active")
    assert Instance.objects.count() == 1
    assert audited() == ["orchestrator.create"]
    flat(people.machine.call("POST", REGISTER, BODY | {"name": "Uno"}), "active")
    assert sorted(audited()) == ["orchestrator.create", "orchestrator.update"]


def test_leaving_twice_is_one_leave(people: Cast) -> None:
    people.machine.call("POST", REGISTER, BODY)
    for _ in range(2):
        flat(people.machine.call("DELETE", DEREGISTER), "inactive")
    assert audited().count("orchestrator.deregister") == 1
    assert Event.objects.filter(kind="orchestrator.disconnected").count() == 1


def test_nothing_of_an_independent_one_moves(people: Cast, known: Instance) -> None:
    Instance.objects.update(is_independent=True, status="independent")
    for method, path, body in CALLS:
        flat(people.machine.call(method, path, body), "independent")
    row = Instance.objects.get()
    assert (row.last_seen, row.health_status) == (None, {})


def test_a_bound_key_speaks_for_its_own_and_makes_none(people: Cast) -> None:
    bound = key(orchestrator_id="orch-001")
    assert refusal(bound.call("POST", REGISTER, BODY)) == (404, "not_found")
    people.alice.call("POST", REGISTER, BODY)
    people.alice.call("POST", REGISTER, BODY | {"orchestrator_id": "orch-009"})
    flat(bound.call("POST", REGISTER, BODY), "active")
    flat(bound.call("POST", HEARTBEAT, BEAT), "active")
    other = {"orchestrator_id": "orch-009"}
    assert refusal(bound.call("POST", REGISTER, BODY | other)) == (403, "forbidden")
    assert refusal(bound.call("POST", HEARTBEAT, BEAT | other)) == (403, "forbidden")
    assert refusal(bound.call("DELETE", f"{ROOT}/orch-009/deregister")) == (403, "forbidden")
    flat(bound.call("DELETE", DEREGISTER), "inactive")


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_a_foreign_one_is_as_absent_as_a_missing_one(
    people: Cast, known: Instance, method: str, path: str, body: Any
) -> None:
    for person in (people.charlie, key("org-002")):
        foreign = person.call(method, path, body)
        Instance.objects.update(orchestrator_id="elsewhere")
        missing = person.call(
            method, path, body and body | {"organization_id": "nowhere"} if path == REGISTER else body
        )
        Instance.objects.update(orchestrator_id="orch-001")
        assert refusal(foreign) == refusal(missing) == (404, "not_found")
    assert Instance.objects.get().status == "inactive"


def test_an_id_of_another_organization_is_not_taken_over(people: Cast, known: Instance) -> None:
    answer = key("org-002").call("POST", REGISTER, BODY | {"organization_id": "org-002"})
    assert refusal(answer) == (404, "not_found")
    assert Instance.objects.get().organization_id == "org-001"


def test_a_deleted_one_stays_away(people: Cast, known: Instance) -> None:
    instances.delete(known, acting_user=None)
    for method, path, body in CALLS:
        assert refusal(people.machine.call(method, path, body)) == (404, "not_found")


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
@pytest.mark.parametrize(("who", "status"), [("nobody", 401), ("mallory", 403), ("oscar", 403), ("vera", 403)])
def test_others_speak_for_nobody(
    people: Cast, known: Instance, method: str, path: str, body: Any, who: str, status: int
) -> None:
    assert refusal(getattr(people, who).call(method, path, body))[0] == status
    assert Instance.objects.get().last_seen is None


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (REGISTER, {}, "invalid_field"),
        (REGISTER, BODY | {"orchestrator_id": "no spaces"}, "invalid_field"),
        (REGISTER, BODY | {"orchestrator_id": "x" * 51}, "invalid_field"),
        (REGISTER, BODY | {"name": ""}, "invalid_field"),
        (REGISTER, BODY | {"internal_url": 7.5e3, "database_url": []}, "invalid_field"),
        (REGISTER, BODY | {"environment_variables": {"A": {}}}, "invalid_field"),
        (REGISTER, BODY | {"monitoring": "perhaps"}, "invalid_field"),
        (REGISTER, BODY | {"is_independent": True}, "unknown_field"),
        (REGISTER, "{bad", "invalid_json"),
        (HEARTBEAT, {}, "invalid_field"),
        (HEARTBEAT, BEAT | {"status": "inactive"}, "invalid_field"),
        (HEARTBEAT, BEAT | {"health_status": "fine"}, "invalid_field"),
        (HEARTBEAT, BEAT | {"last_seen": 0}, "unknown_field"),
        (HEARTBEAT, "[]", "not_an_object"),
    ],
)
def test_an_unusable_body_changes_nothing(people: Cast, known: Instance, path: str, body: Any, code: str) -> None:
    assert refusal(people.machine.call("POST", path, body)) == (400, code)
    assert Instance.objects.get().last_seen is None


@pytest.mark.parametrize(("path", "allowed"), [(REGISTER, "POST"), (HEARTBEAT, "POST"), (DEREGISTER, "DELETE")])
def test_a_wrong_method_is_405(people: Cast, path: str, allowed: str) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - {allowed}:
        answer = people.root.call(method, path)
        assert refusal(answer) == (405, "method_not_allowed")
        assert answer["Allow"] == allowed
