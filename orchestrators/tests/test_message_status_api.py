"""The door that settles a message by hand: along the state machine, by operators and admins of its organization."""

from typing import Any

import pytest

from orchestrators import instances, messages
from orchestrators.models import Message
from orchestrators.tests.test_api import data, refusal
from orgs.models import AuditEntry, Event, Organization
from orgs.tests import cast
from orgs.tests.cast import Cast

pytestmark = pytest.mark.django_db
WORDS = ["pending", "sent", "delivered", "failed", "expired"]
MAY = {
    ("pending", "failed"), ("pending", "expired"), ("sent", "failed"), ("sent", "expired"), ("sent", "delivered"),
    ("failed", "pending"), ("expired", "pending"),
}  # fmt: skip


@pytest.fixture
def people(settings: Any) -> Cast:
    found = cast.make(settings)
    instances.create("orch-001", organization=Organization.objects.get(pk="org-001"), acting_user=None)
    return found


@pytest.fixture
def message(people: Cast) -> Message:
    return messages.queue("orch-001", message_type="note", content={}, acting_user=None)


def path(message: Message) -> str:
    return f"/api/v1/internal/messages/{message.pk}/status"


def changes() -> int:
    return AuditEntry.objects.filter(action="message.status").count()


@pytest.mark.parametrize("who", ["oscar", "alice", "root"])
def test_an_operator_fails_a_message_and_queues_it_anew(people: Cast, message: Message, who: str) -> None:
    Message.objects.filter(pk=message.pk).update(status="sent", attempts=3)
    row = data(getattr(people, who).call("PUT", path(message), {"status": "failed", "error": "wrong address"}))
    assert (row["id"], row["status"], row["error"], row["attempts"]) == (message.pk, "failed", "wrong address", 3)
    assert row["finished_at"] is not None
    entry = AuditEntry.objects.get(action="message.status")
    assert (entry.before, entry.after) == ({"status": "sent"}, {"status": "failed", "error": "wrong address"})
    assert (entry.organization_id, entry.target_id) == ("org-001", message.message_id)
    row = data(getattr(people, who).call("PUT", f"{path(message)}/", {"status": "pending"}))
    assert (row["status"], row["error"], row["attempts"], row["finished_at"]) == ("pending", "", 0, None)
    assert changes() == 2
    assert Event.objects.filter(kind="message.queued").count() == 2


@pytest.mark.parametrize("before", WORDS)
@pytest.mark.parametrize("wanted", WORDS)
def test_only_the_state_machine_is_walked(people: Cast, message: Message, before: str, wanted: str) -> None:
    Message.objects.filter(pk=message.pk).update(status=before)
    answer = people.oscar.call("PUT", path(message), {"status": wanted})
    if (before, wanted) in MAY:
        assert data(answer)["status"] == wanted
    else:
        assert refusal(answer) == (409, "conflict")
        assert Message.objects.get().status == before
    assert changes() == ((before, wanted) in MAY)


def test_the_same_verdict_twice_is_a_conflict_and_one_change(people: Cast, message: Message) -> None:
    assert people.oscar.call("PUT", path(message), {"status": "expired"}).status_code == 200
    assert refusal(people.oscar.call("PUT", path(message), {"status": "expired"})) == (409, "conflict")
    assert changes() == 1


def test_what_came_up_is_nobodys_to_settle(people: Cast) -> None:
    up = Message.objects.create(orchestrator_id="orch-001", message_id="u", message_type="b", direction="inbound")
    assert refusal(people.root.call("PUT", path(up), {"status": "failed"})) == (409, "conflict")


def test_a_foreign_message_is_as_absent_as_a_missing_one(people: Cast, message: Message) -> None:
    assert refusal(people.charlie.call("PUT", path(message), {"status": "failed"})) == (404, "not_found")
    message.pk += 1000
    assert refusal(people.root.call("PUT", path(message), {"status": "failed"})) == (404, "not_found")
    assert changes() == 0


@pytest.mark.parametrize("pk", ["x", "-1", "1.0", "%00", "9" * 18, "9" * 30, "٣"])
def test_an_impossible_id_is_404(people: Cast, pk: str) -> None:
    answer = people.root.call("PUT", f"/api/v1/internal/messages/{pk}/status", {"status": "failed"})
    assert refusal(answer) == (404, "not_found")


@pytest.mark.parametrize(
    ("who", "status"), [("nobody", 401), ("mallory", 403), ("vera", 403), ("machine", 403), ("charlie", 404)]
)
def test_others_settle_nothing(people: Cast, message: Message, who: str, status: int) -> None:
    assert refusal(getattr(people, who).call("PUT", path(message), {"status": "failed"}))[0] == status
    assert Message.objects.get().status == "pending"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_field"),
        ({"status": "asleep"}, "invalid_field"),
        ({"status": ["failed"]}, "invalid_field"),
        ({"status": "failed", "error": "x" * 1001}, "invalid_field"),
        ({"status": "failed", "attempts": 0}, "unknown_field"),
        ("[]", "not_an_object"),
        ("{bad", "invalid_json"),
    ],
)
def test_an_unusable_verdict_changes_nothing(people: Cast, message: Message, body: Any, code: str) -> None:
    assert refusal(people.oscar.call("PUT", path(message), body)) == (400, code)
    assert changes() == 0


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_a_wrong_method_is_405(people: Cast, message: Message, method: str) -> None:
    answer = people.root.call(method, path(message))
    assert refusal(answer) == (405, "method_not_allowed")
    assert answer["Allow"] == "PUT"


def test_all_that_is_wrong_with_a_body_is_said_at_once(people: Cast) -> None:
    body = {"message_type": "x", "message_content": {}, "foo": 1, "expires_in": -5}
    answer = people.alice.call("POST", "/api/v1/internal/orchestrators/orch-001/messages", body)
    assert (answer.status_code, answer.json()["error"]) == (400, "unknown_field")
    assert sorted(answer.json()["fields"]) == ["expires_in", "foo"]
