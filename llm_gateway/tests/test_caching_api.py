"""The doors of caches and guardrails: set, shown, refused by place; what is wrong is not written."""

import json
from typing import Any

import pytest

from llm_gateway.guardrails.detectors import DETECTORS
from llm_gateway.models import CacheRule, Guardrails
from llm_gateway.plane import catalog
from orgs.tests import cast
from orgs.tests.cast import Cast

pytestmark = [pytest.mark.django_db, pytest.mark.once]
OWN = "/api/v1/orchestrators/org-001"


@pytest.fixture
def people(settings: Any) -> Cast:
    return cast.make(settings)


def data(answer: Any, *, status: int = 200) -> Any:
    assert answer.status_code == status, answer.content
    return json.loads(answer.content)["data"]


def fields(answer: Any) -> set[str]:
    assert answer.status_code == 400, answer.content
    return set(json.loads(answer.content)["fields"])


def test_a_cache_is_off_until_it_is_set_and_what_is_left_out_is_as_before(people: Cast) -> None:
    blank = {"organization_id": "org-001", "is_enabled": True, "models": [], "ttl_seconds": 3600, "hits": 0,
             "saved_usd": 0.0}  # fmt: skip
    assert data(people.vera.get(f"{OWN}/cache")) == blank
    before = catalog.fingerprint()
    told = data(people.alice.call("PUT", f"{OWN}/cache", {"models": ["*", "a/b", "*"], "ttl_seconds": 60}))
    assert (told["models"], told["ttl_seconds"]) == (["*", "a/b"], 60)
    assert catalog.fingerprint() != before
    assert catalog.read().caching["org-001"].models == {"*", "a/b"}
    assert data(people.alice.call("PUT", f"{OWN}/cache", {})) == blank
    assert people.alice.call("DELETE", f"{OWN}/cache/entries").status_code == 204
    assert CacheRule.objects.get().epoch == 1


@pytest.mark.parametrize(
    ("body", "place"),
    [({"models": ["x y"]}, "models.0"), ({"models": "x"}, "models"), ({"ttl_seconds": 0}, "ttl_seconds"),
     ({"ttl_seconds": 10**9}, "ttl_seconds"), ({"epoch": 4}, "epoch"), ({"models": ["a"] * 101}, "models")],
)  # fmt: skip
def test_a_cache_that_makes_no_sense_is_refused(people: Cast, body: Any, place: str) -> None:
    assert fields(people.alice.call("PUT", f"{OWN}/cache", body)) == {place}
    assert not CacheRule.objects.exists()


def test_guardrails_are_set_whole_and_known_to_the_plane(people: Cast) -> None:
    assert data(people.vera.get(f"{OWN}/guardrails")) == {"organization_id": "org-001", "rules": []}
    told = data(people.alice.call("PUT", f"{OWN}/guardrails", {"rules": [{"name": "mine", "kind": "redact"}]}))["rules"]
    assert told == [
        {"name": "mine", "kind": "redact", "on": ["request", "answer"], "detect": list(DETECTORS), "action": "redact"}
    ]
    assert catalog.read().guards["org-001"].request.clean("a@b.example") == "[EMAIL]"
    assert data(people.alice.call("PUT", f"{OWN}/guardrails", {"rules": []}))["rules"] == []
    assert catalog.read().guards == {}


@pytest.mark.parametrize(
    ("rules", "place"),
    [([{"name": "a", "kind": "deny", "words": ["ok", "*"]}], "rules.0.words.1"), ("x", "rules"), ([1], "rules.0"),
     ([{"name": "a", "kind": "regex"}], "rules.0.kind"), ([{"name": "a", "kind": "redact"}] * 2, "rules.1.name")],
)  # fmt: skip
def test_guardrails_that_make_no_sense_are_refused(people: Cast, rules: Any, place: str) -> None:
    assert fields(people.alice.call("PUT", f"{OWN}/guardrails", {"rules": rules})) == {place}
    assert not Guardrails.objects.exists()
