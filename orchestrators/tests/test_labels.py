"""Labels: what they may be, and that they choose orchestrators, in lists and by selectors."""

import json
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from moolai.errors import InvalidInput
from orchestrators import instances, labels, registry_file, selection
from orchestrators.models import Instance
from orgs.models import AuditEntry, Organization
from orgs.tests import cast
from orgs.tests.cast import Cast

pytestmark = pytest.mark.django_db
FLEET = "/api/v1/controller/orchestrators"
FOUR = {
    "a": {"env": "prod", "region": "eu"},
    "b": {"env": "prod", "region": "us", "in": "x", "0": "zero", "a__b": "y", "dot.ted-name": "z"},
    "c": {"env": "test"},
    "d": {},
}


@pytest.fixture
def people(settings: Any) -> Cast:
    """The cast, with a, b and c of org-001 and d of org-002."""
    found = cast.make(settings)
    for name, carried in FOUR.items():
        organization = Organization.objects.get(pk="org-002" if name == "d" else "org-001")
        instances.create(name, organization=organization, acting_user=None, labels=carried)
    return found


def chosen(**selector: Any) -> list[str]:
    rows = selection.rows(selection.read(selector), Instance.objects.present())
    return sorted(rows.values_list("orchestrator_id", flat=True))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"env": "prod"}, ["a", "b"]),
        ({"env": "prod", "region": "eu"}, ["a"]),
        ({"env": "PROD"}, []),
        ({"in": "x"}, ["b"]),
        ({"0": "zero"}, ["b"]),
        ({"a__b": "y", "dot.ted-name": "z"}, ["b"]),
        ({"nowhere": "x"}, []),
    ],
)
def test_labels_choose_those_that_carry_all_of_them(people: Cast, wanted: dict[str, str], found: list[str]) -> None:
    assert chosen(labels=wanted) == found


def test_everything_a_selector_names_must_hold(people: Cast) -> None:
    Instance.objects.filter(orchestrator_id="a").update(status="active", name="Frankfurt")
    assert chosen(status="active") == ["a"]
    assert chosen(search="frank") == ["a"]
    assert chosen(organization_id="org-002") == ["d"]
    assert chosen(orchestrator_ids=["a", "d", "nobody"]) == ["a", "d"]
    assert chosen(orchestrator_ids=["a", "d"], labels={"env": "prod"}) == ["a"]
    assert chosen(all=True) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("selector", "place"),
    [
        ({}, "selector"), ([], "selector"), ({"all": False}, "selector"), ({"labels": {}}, "selector"),
        ({"label": {}}, "selector.label"), ({"labels": {"Env": "x"}}, "selector.labels"),
        ({"status": "gone"}, "selector.status"), ({"orchestrator_ids": []}, "selector.orchestrator_ids"),
        ({"orchestrator_ids": "a"}, "selector.orchestrator_ids"), ({"search": 5}, "selector.search"),
        ({"all": 1}, "selector.all"),
    ],
)  # fmt: skip
def test_a_selector_that_says_nothing_or_nonsense_is_refused_by_path(selector: Any, place: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        selection.read(selector)
    assert list(refusal.value.fields) == [place]


@pytest.mark.parametrize(
    "value",
    [
        [], "env=prod", {"Env": "x"}, {"": "x"}, {"-a": "x"}, {"a" * 64: "x"}, {"a": ""}, {"a": "x" * 64}, {"a": 1},
        {"a": None}, {"a": "line\nbreak"}, {"a": "x,y"}, {"a": " x"}, {f"n{index}": "x" for index in range(33)},
    ],
)  # fmt: skip
def test_labels_that_could_not_be_written_or_shown_are_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        labels.validate(value)


def test_the_limits_themselves_are_allowed() -> None:
    labels.validate({f"{index:x>63}": "ä" * 63 for index in range(32)})


def test_labels_as_text_round_trip() -> None:
    assert labels.parse(labels.text(FOUR["b"])) == FOUR["b"]
    assert labels.parse(" env = prod , ,region=eu") == FOUR["a"]
    assert labels.parse("expr=a=b") == {"expr": "a=b"}
    for bad in ("env", "env=a,env=b", "=x", "env="):
        with pytest.raises(ValidationError):
            labels.parse(bad)


def test_the_list_is_narrowed_by_labels_and_shows_them(people: Cast) -> None:
    answer = people.vera.get(f"{FLEET}?labels=env%3Dprod,region%3Deu").json()["data"]
    assert [(row["orchestrator_id"], row["labels"]) for row in answer["items"]] == [("a", FOUR["a"])]
    assert people.charlie.get(f"{FLEET}?labels=env%3Dprod").json()["data"]["total_items"] == 0
    assert people.vera.get(f"{FLEET}?labels=prod").json()["error"] == "invalid_parameter"


def test_changing_labels_is_audited_and_pushes_no_configuration(people: Cast) -> None:
    row = instances.update(Instance.objects.get(orchestrator_id="c"), acting_user=None, labels={"env": "stage"})
    entry = AuditEntry.objects.latest("id")
    assert (row.labels, row.config_version) == ({"env": "stage"}, 1)
    assert (entry.before, entry.after) == ({"labels": {"env": "test"}}, {"labels": {"env": "stage"}})
    with pytest.raises(InvalidInput) as refusal:
        instances.update(row, acting_user=None, labels={"Env": "x"})
    assert list(refusal.value.fields) == ["labels"]


def test_the_registry_file_carries_labels_there_and_back(people: Cast) -> None:
    document, _ = registry_file.export()
    assert document["organizations"]["org-001"]["orchestrators"]["b"]["labels"] == FOUR["b"]
    Instance.objects.filter(orchestrator_id="b").update(labels={})
    done = registry_file.apply(registry_file.parse(json.dumps(document)))
    assert done == ["changed orchestrator b: labels"]
    assert Instance.objects.get(orchestrator_id="b").labels == FOUR["b"]
    document["organizations"]["org-001"]["orchestrators"]["b"]["labels"] = {"Bad": "x"}
    with pytest.raises(registry_file.InvalidFile, match=r"org-001\.orchestrators\.b\.labels"):
        registry_file.apply(registry_file.parse(json.dumps(document)))
