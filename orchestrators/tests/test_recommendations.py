"""Recommendations: the doors, their states, and what accepting one changes."""

from typing import Any

import pytest

from moolai.errors import Conflict, NotFound
from orchestrators import instances, recommendations
from orchestrators.configuration import documents
from orchestrators.messages import inbox
from orchestrators.messages.inbox import Inbound
from orchestrators.models import Instance, Message, Recommendation
from orgs.models import AuditEntry, Event, Organization
from orgs.tests import cast
from orgs.tests.cast import Cast

pytestmark = pytest.mark.django_db
LIST = "/api/v1/orchestrators/org-001/recommendations"
SUGGESTION: dict[str, Any] = {"text": "raise the cache", "config": {"features": {"cache": {"size": 2}, "old": None}}}


@pytest.fixture
def people(settings: Any) -> Cast:
    """The cast, with orch-001 of org-001 and orch-002 of org-002."""
    found = cast.make(settings)
    for number in (1, 2):
        home = Organization.objects.get(pk=f"org-00{number}")
        features = {"cache": {"size": 1, "ttl": 5}, "old": True}
        instances.create(f"orch-00{number}", organization=home, acting_user=None, features=features)
    AuditEntry.objects.all().delete()
    return found


def receive(name: str, content: Any = None, *, who: str = "orch-001", kind: str = "recommendation") -> int:
    item = Inbound(who, who.replace("orch", "org"), name, kind, SUGGESTION if content is None else content, name, 1)
    inbox.store([item])
    return int(Message.objects.get(message_id=name).pk)


def data(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.content
    return answer.json()["data"]


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


def orchestrator() -> Instance:
    return Instance.objects.get(orchestrator_id="orch-001")


def test_the_list_holds_the_organizations_recommendations_newest_first(people: Cast) -> None:
    first, second = receive("r1"), receive("r2", {"text": "rest"})
    receive("m1", kind="note")
    receive("r3", who="orch-002")
    items = data(people.vera.get(LIST))["items"]
    assert [item["id"] for item in items] == [second, first]
    assert items[0] == {
        "id": second, "message_id": "r2", "organization_id": "org-001", "orchestrator_id": "orch-001",
        "content": {"text": "rest"}, "suggested_config": None, "status": "new", "review": None,
        "created_at": items[0]["created_at"],
    }  # fmt: skip
    assert items[1]["suggested_config"] == SUGGESTION["config"]
    assert data(people.vera.get(f"{LIST}/{first}"))["status"] == "new"


def test_the_list_is_filtered_by_state_and_orchestrator(people: Cast, django_assert_num_queries: Any) -> None:
    first, second = receive("r1"), receive("r2")
    data(people.oscar.call("POST", f"{LIST}/{first}/dismiss", {"reason": "no"}))

    def ids(query: str) -> list[int]:
        return [item["id"] for item in data(people.vera.get(f"{LIST}?{query}"))["items"]]

    assert ids("status=new") == [second]
    assert ids("status=dismissed") == [first]
    assert ids("status=accepted") == []
    assert ids("orchestrator_id=orch-001") == [second, first]
    assert ids("orchestrator_id=orch-002") == []
    assert refused(people.vera.get(f"{LIST}?status=old")) == (400, "invalid_parameter")
    with django_assert_num_queries(4):  # the key, the organization, the count, the page
        people.vera.get(LIST)


def test_accepting_makes_the_suggestion_the_orchestrators_configuration(people: Cast) -> None:
    pk = receive("r1")
    row = data(people.alice.call("POST", f"{LIST}/{pk}/accept", {"reason": "good idea"}))
    assert row["status"] == "accepted"
    assert row["review"]["reason"] == "good idea"
    assert row["review"]["applied"] == {"target": "orchestrator", "target_id": "orch-001", "version": 2}
    assert orchestrator().features == {"cache": {"size": 2, "ttl": 5}}
    assert orchestrator().config_version == 2
    assert list(AuditEntry.objects.order_by("id").values_list("action", "target_id")) == [
        ("orchestrator.update", "orch-001"), ("recommendation.accept", "r1"),
    ]  # fmt: skip
    event = Event.objects.get(kind="recommendation.accepted")
    assert (event.organization_id, event.orchestrator_id, event.data["message_id"]) == ("org-001", "orch-001", "r1")


def test_accepting_for_the_organization_reaches_all_of_its_orchestrators(people: Cast) -> None:
    home = Organization.objects.get(pk="org-001")
    instances.create("orch-009", organization=home, acting_user=None)
    pk = receive("r1", {"suggested_config": {"llm": {"model": "small"}}})
    assert refused(people.alice.call("POST", f"{LIST}/{pk}/accept", {"target": "orchestrator"})) == (
        400,
        "invalid_field",
    )
    row = data(people.alice.call("POST", f"{LIST}/{pk}/accept", {}))
    assert row["review"]["applied"] == {"target": "organization", "target_id": "org-001", "version": 1}
    assert Organization.objects.get(pk="org-001").settings == {"config": {"llm": {"model": "small"}}}
    found = Instance.objects.filter(organization_id="org-001").select_related("organization")
    assert {row.config_version for row in found} == {2}
    assert {row.config_document()["llm"]["model"] for row in found} == {"small"}


def test_a_recommendation_without_a_suggestion_is_accepted_and_changes_nothing(people: Cast) -> None:
    row = data(people.alice.call("POST", f"{LIST}/{receive('r1', {'text': 'rest'})}/accept", {}))
    assert (row["status"], row["review"]["applied"]) == ("accepted", None)
    assert orchestrator().config_version == 1


@pytest.mark.parametrize("content", [{"config": {"features": 5}}, {"config": {"privacy_mode": "yes"}}])
def test_a_suggestion_that_the_columns_do_not_take_is_refused_and_stays_new(people: Cast, content: Any) -> None:
    pk = receive("r1", content)
    assert refused(people.alice.call("POST", f"{LIST}/{pk}/accept", {})) == (400, "invalid_field")
    assert data(people.alice.get(f"{LIST}/{pk}"))["status"] == "new"
    assert AuditEntry.objects.count() == 0


@pytest.mark.parametrize("verdict", ["accept", "dismiss"])
def test_a_decision_is_made_once(people: Cast, verdict: str) -> None:
    pk = receive("r1")
    stale = Recommendation.objects.get(pk=pk)
    data(people.alice.call("POST", f"{LIST}/{pk}/{verdict}", {}))
    for again in ("accept", "dismiss"):
        assert refused(people.alice.call("POST", f"{LIST}/{pk}/{again}", {})) == (409, "conflict")
    with pytest.raises(Conflict):
        recommendations.accept(stale, acting_user=None)
    after = "accepted" if verdict == "accept" else "dismissed"
    assert data(people.alice.call("POST", f"{LIST}/{pk}/read", {}))["status"] == after


def test_one_that_went_with_its_orchestrator_meanwhile_is_not_found(people: Cast) -> None:
    stale = Recommendation.objects.get(pk=receive("r1"))
    Message.objects.all().delete()
    for decide in (recommendations.accept, recommendations.dismiss, recommendations.read):
        with pytest.raises(NotFound):
            decide(stale, acting_user=None)


def test_reading_is_noted_once_and_decides_nothing(people: Cast) -> None:
    pk = receive("r1")
    assert data(people.oscar.call("POST", f"{LIST}/{pk}/read", {}))["status"] == "read"
    first = data(people.vera.get(f"{LIST}/{pk}"))["review"]
    assert data(people.alice.call("POST", f"{LIST}/{pk}/read", {}))["review"] == first
    assert data(people.alice.call("POST", f"{LIST}/{pk}/accept", {}))["status"] == "accepted"


def test_roles(people: Cast) -> None:
    pk = receive("r1")
    for verb in ("read", "dismiss", "accept"):
        path = f"{LIST}/{pk}/{verb}"
        assert refused(people.vera.call("POST", path, {})) == (403, "forbidden")
        assert people.charlie.call("POST", path, {}).status_code == 404
        assert people.nobody.call("POST", path, {}).status_code == 401
        assert people.mallory.call("POST", path, {}).status_code == 401
        assert people.machine.call("POST", path, {}).status_code == 403
        assert people.alice.call("PUT", path, {}).status_code == 405
    assert refused(people.oscar.call("POST", f"{LIST}/{pk}/accept", {})) == (403, "forbidden")
    for path in (LIST, f"{LIST}/{pk}"):
        assert people.charlie.get(path).status_code == 404
        assert people.nobody.get(path).status_code == 401
    foreign = receive("r9", who="orch-002")
    assert people.alice.get(f"{LIST}/{foreign}").status_code == 404
    assert people.root.call("POST", f"{LIST}/{pk}/accept", {}).status_code == 200


def test_bodies_nobody_should_send(people: Cast) -> None:
    path = f"{LIST}/{receive('r1')}/accept"
    assert refused(people.alice.call("POST", path, {"target": "world"})) == (400, "invalid_field")
    assert refused(people.alice.call("POST", path, {"config": {}})) == (400, "unknown_field")
    assert refused(people.alice.call("POST", path, "[]")) == (400, "not_an_object")
    assert refused(people.alice.call("POST", path, {"reason": "x" * 501})) == (400, "invalid_field")
    assert people.alice.get(f"{LIST}/{receive('m1', kind='note')}").status_code == 404


def test_what_an_orchestrator_sends_may_be_anything(people: Cast) -> None:
    for number, content in enumerate([5, "text", [1], {"config": [1]}, {"config": {}}]):
        receive(f"r{number}", content)
    items = data(people.vera.get(LIST))["items"]
    assert {item["suggested_config"] for item in items} == {None}


@pytest.mark.parametrize(
    ("document", "patch", "result"),  # RFC 7396, appendix A
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}), ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}), ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}), ({"a": "foo"}, {"b": {"c": {"d": None}}},
        {"a": "foo", "b": {"c": {}}}), (["c", "d"], {"a": "b"}, {"a": "b"}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)  # fmt: skip
def test_a_merge_patch_merges_as_the_rfc_says(document: Any, patch: Any, result: Any) -> None:
    assert documents.merge(document, patch) == result
