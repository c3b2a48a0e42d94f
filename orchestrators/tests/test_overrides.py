"""Overrides: whether they fit the organization's schema and limits, their versions, and the way back."""

import json
import tracemalloc
from typing import Any

import pytest
from django.core.exceptions import ObjectDoesNotExist

from moolai.errors import AppError, InvalidInput
from orchestrators import configuration, instances, registry_file
from orchestrators.configuration import documents, overrides, rollouts
from orchestrators.models import Instance, OverrideVersion
from orgs import organizations
from orgs.models import AuditEntry, Organization
from orgs.tests import cast
from orgs.tests.cast import Cast

pytestmark = pytest.mark.django_db
FLEET = "/api/v1/controller/orchestrators"
ONE, OWN = f"{FLEET}/orch-001", "/api/v1/orchestrators/org-001"
SCHEMA: dict[str, Any] = {
    "additionalProperties": False,
    "properties": {
        "features": {"additionalProperties": False, "properties": {"mode": {"enum": ["fast", "safe"]}}},
        "session": {"properties": {"ttl": {"type": "integer"}}},
        "privacy_mode": {},
        "llm": {"properties": {"model": {"type": "string"}}},
    },
}


@pytest.fixture
def people(settings: Any) -> Cast:
    """The cast, with orch-001 and orch-002 of org-001, which has a schema."""
    found = cast.make(settings)
    home = Organization.objects.get(pk="org-001")
    for number in (1, 2):
        instances.create(f"orch-00{number}", organization=home, acting_user=None)
    set_schema(SCHEMA)
    AuditEntry.objects.all().delete()
    return found


def set_schema(schema: Any) -> None:
    home = Organization.objects.get(pk="org-001")
    home.settings = {**home.settings, "config_schema": schema}
    home.save()


def home() -> Organization:
    return Organization.objects.get(pk="org-001")


def orch(name: str = "orch-001") -> Instance:
    return Instance.objects.select_related("organization").get(orchestrator_id=name)


def data(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.content
    return answer.json()["data"]


def fields(answer: Any, error: str = "invalid_field") -> dict[str, str]:
    body = answer.json()
    assert (answer.status_code, body["error"]) == (400, error), body
    found: dict[str, str] = body["fields"]
    return found


# --- what fits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"features": {"mode": "slow"}}, "features.mode"),
        ({"features": {"other": 1}}, "features"),
        ({"session_config": {"ttl": "long"}}, "session_config.ttl"),
        ({"monitoring_enabled": False}, "features"),
        ({"features": {"text": "x" * documents.MAX_BYTES}}, "features"),
    ],
)
def test_an_override_that_the_schema_or_a_limit_refuses_is_not_saved(people: Cast, change: Any, field: str) -> None:
    assert field in fields(people.alice.call("PATCH", ONE, change))
    assert field in fields(people.alice.call("PUT", ONE, change))
    new = {"orchestrator_id": "orch-003", "organization_id": "org-001", **change}
    assert field in fields(people.alice.call("POST", FLEET, new))
    assert overrides.of(orch()) == overrides.BLANK
    assert not Instance.objects.filter(orchestrator_id="orch-003").exists()
    assert (AuditEntry.objects.count(), OverrideVersion.objects.count()) == (0, 0)


def test_size_is_that_of_both_together(people: Cast) -> None:
    set_schema({})
    configuration.publish(home(), {"llm": {"prompt": "x" * (documents.MAX_BYTES // 2)}}, acting_user=None)
    half = {"features": {"text": "x" * (documents.MAX_BYTES // 2)}}
    assert "bytes" in fields(people.alice.call("PATCH", ONE, half))["features"]
    set_schema({})


def test_what_the_controller_adds_by_itself_is_not_held_against_the_schema(people: Cast) -> None:
    assert data(people.alice.call("PATCH", ONE, {"features": {"mode": "fast"}}))["features"] == {"mode": "fast"}
    assert {"metadata", "monitoring_enabled"} <= orch().config_document().keys()


def test_what_is_checked_is_what_is_sent(people: Cast) -> None:
    base: dict[str, Any] = {"features": {"a": 1, "b": {"c": 1}}, "session": {"x": 1}, "llm": {"m": 1}}
    own: dict[str, Any] = {"features": {"b": {"d": 2}}, "session": {"y": 2}, "privacy_mode": True}
    laid = overrides.laid_over(base, overrides.BLANK | own | {"monitoring_enabled": False})
    row = Instance(organization=Organization(settings={"config": base}), monitoring_enabled=False)
    row.features, row.session_config, row.privacy_mode = own["features"], own["session"], True
    sent = row.config_document()
    assert laid == {name: sent[name] for name in laid}
    assert overrides.laid_over(base, overrides.BLANK) == base


def test_a_registry_file_names_the_place_of_what_does_not_fit(people: Cast) -> None:
    entry = {"orch-001": {"features": {"mode": "slow"}}, "orch-009": {"session_config": {"ttl": "x"}}}
    text = {"organizations": {"org-001": {"orchestrators": entry}}}
    with pytest.raises(registry_file.InvalidFile) as refused:
        registry_file.apply(registry_file.parse(json.dumps(text)))
    paths = [problem.split(":")[0] for problem in refused.value.problems]
    where = "organizations.org-001.orchestrators"
    assert paths == [f"{where}.orch-001.features.mode", f"{where}.orch-009.session_config.ttl"]


def test_a_number_that_no_frame_can_hold_is_refused(people: Cast) -> None:
    set_schema({})
    with pytest.raises(InvalidInput):
        instances.update(orch(), acting_user=None, features={"n": 2**70})


# --- what would break -----------------------------------------------------------------------------------------------


def test_a_version_that_an_override_would_not_go_with_is_refused_and_says_which(people: Cast) -> None:
    set_schema({"if": {"properties": {"llm": {"required": ["strict"]}}, "required": ["llm"]},
                "then": {"properties": {"features": {"properties": {"mode": {"const": "safe"}}}}}})  # fmt: skip
    people.alice.call("PATCH", ONE, {"features": {"mode": "fast"}})
    strict = {"config": {"llm": {"strict": True}}}
    for call in (
        people.alice.call("PUT", f"{OWN}/config", strict),
        people.alice.call("POST", f"{OWN}/config/rollouts", {**strict, "stages": [{"percent": 50}]}),
    ):
        found = fields(call)
        assert set(found) == {"config", "overrides.orch-001.features.mode"}
        assert "does not go with it: 1." in found["config"]
    verdict = data(people.vera.call("POST", f"{OWN}/config/validate", strict))
    assert [row["path"] for row in verdict["errors"]] == ["overrides.orch-001.features.mode"]
    people.alice.call("PATCH", ONE, {"features": {"mode": "safe"}})
    data(people.alice.call("PUT", f"{OWN}/config", strict))


def test_a_schema_that_an_override_would_not_go_with_is_refused(people: Cast) -> None:
    people.alice.call("PATCH", ONE, {"features": {"mode": "fast"}})
    stricter = {"settings": {"config_schema": {"properties": {"features": {"maxProperties": 0}}}}}
    path = "/api/v1/controller/organizations/org-001"
    assert "overrides.orch-001.features" in fields(people.alice.call("PATCH", path, stricter))
    assert home().settings["config_schema"] == SCHEMA


def test_a_version_that_leaves_no_room_for_an_override_is_refused(people: Cast) -> None:
    set_schema({})
    half = "x" * (documents.MAX_BYTES // 2)
    data(people.alice.call("PATCH", ONE, {"features": {"text": half}}))
    found = fields(people.alice.call("PUT", f"{OWN}/config", {"config": {"llm": {"prompt": half}}}))
    assert "bytes" in found["overrides.orch-001"]


def test_what_did_not_fit_before_keeps_nobody_from_publishing(people: Cast) -> None:
    Instance.objects.filter(orchestrator_id="orch-001").update(features={"mode": "ancient"})
    assert data(people.alice.call("PUT", f"{OWN}/config", {"config": {"llm": {"model": "m"}}}))["version"] == 1


def test_a_rollback_to_a_version_that_an_override_does_not_go_with_is_refused(people: Cast) -> None:
    set_schema({"properties": {"features": {"maxProperties": 2}}})
    for config in ({"features": {"a": 1, "b": 2}}, {"features": {"a": 1}}):
        data(people.alice.call("PUT", f"{OWN}/config", {"config": config}))
    data(people.alice.call("PATCH", ONE, {"features": {"c": 3}}))
    found = fields(people.alice.call("POST", f"{OWN}/config/rollback", {"version": 1}))
    assert "overrides.orch-001.features" in found


def test_during_a_staged_rollout_an_override_must_go_with_both_versions(people: Cast) -> None:
    set_schema({"properties": {"features": {"maxProperties": 2}}})
    Instance.objects.update(is_connected=True, is_acknowledging=True)
    row = rollouts.start(
        home(), {"features": {"a": 1, "b": 2}}, wanted=[{"percent": 50}], acting_user=None, comment="two"
    )
    assert row.is_active
    fields(people.alice.call("PATCH", ONE, {"features": {"c": 3}}))
    rollouts.cancel(row, acting_user=None)
    data(people.alice.call("PATCH", ONE, {"features": {"c": 3}}))


def test_many_that_would_break_are_named_only_in_part(people: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overrides, "MAX_NAMED", 2)
    instances.create("orch-003", organization=home(), acting_user=None)
    for number in (1, 2, 3):
        data(people.alice.call("PATCH", f"{FLEET}/orch-00{number}", {"features": {"mode": "fast"}}))
    schema = {"config_schema": {"properties": {"features": {"maxProperties": 0}}}}
    found = fields(people.alice.call("PATCH", "/api/v1/controller/organizations/org-001", {"settings": schema}))
    assert set(found) == {"settings", "overrides.orch-001.features", "overrides.orch-002.features"}
    assert "2 or more" in found["settings"]


# --- versions -------------------------------------------------------------------------------------------------------


def test_each_change_is_a_version_with_author_source_and_difference(people: Cast) -> None:
    data(people.alice.call("PATCH", ONE, {"features": {"mode": "fast"}}))
    data(people.alice.call("PATCH", ONE, {"name": "Edge"}))
    data(people.alice.call("PATCH", ONE, {"features": {"mode": "safe"}, "privacy_mode": True}))
    rows = list(OverrideVersion.objects.order_by("version"))
    assert [(row.version, row.source, row.author) for row in rows] == [
        (1, "edit", rows[0].author),
        (2, "edit", rows[0].author),
    ]
    assert rows[0].author not in ("", "system", "anonymous")
    assert rows[1].document == overrides.BLANK | {"features": {"mode": "safe"}, "privacy_mode": True}
    assert rows[1].changes == [
        {"path": "features.mode", "before": "fast", "after": "safe"},
        {"path": "privacy_mode", "before": False, "after": True},
    ]


def test_what_was_there_before_versions_were_kept_is_kept_as_the_first(people: Cast) -> None:
    Instance.objects.filter(orchestrator_id="orch-001").update(features={"mode": "fast"})
    data(people.alice.call("PATCH", ONE, {"features": {"mode": "safe"}}))
    rows = OverrideVersion.objects.order_by("version")
    assert [(row.version, row.document["features"]["mode"]) for row in rows] == [(1, "fast"), (2, "safe")]


def test_true_instead_of_1_is_a_change(people: Cast) -> None:
    set_schema({})
    data(people.alice.call("PATCH", ONE, {"features": {"n": 1}}))
    assert data(people.alice.call("PATCH", ONE, {"features": {"n": True}}))["features"] == {"n": True}
    path = "/api/v1/controller/organizations/org-001"
    for value in (1, True):
        data(people.alice.call("PATCH", path, {"settings": {"config": {"llm": {"n": value}}}}))
    assert home().settings["config"]["llm"]["n"] is True


def test_an_orchestrator_made_anew_goes_on_with_its_history(people: Cast) -> None:
    instances.create("orch-007", organization=home(), acting_user=None, features={"mode": "fast"})
    instances.delete(orch("orch-007"), acting_user=None)
    instances.create("orch-007", organization=home(), acting_user=None)
    rows = OverrideVersion.objects.filter(orchestrator__orchestrator_id="orch-007").order_by("version")
    assert [row.document["features"] for row in rows] == [{"mode": "fast"}, {}]


def test_the_versions_are_listed_shown_and_rolled_back_to_over_http(people: Cast) -> None:
    for mode in ("fast", "safe"):
        data(people.alice.call("PATCH", ONE, {"features": {"mode": mode}}))
    listed = data(people.vera.get(f"{ONE}/config/versions"))["items"]
    assert [row["version"] for row in listed] == [2, 1]
    assert "override" not in listed[0]
    assert data(people.vera.get(f"{ONE}/config/versions/1"))["override"]["features"] == {"mode": "fast"}
    before = orch().config_version
    AuditEntry.objects.all().delete()
    row = data(people.alice.call("POST", f"{ONE}/config/rollback", {"version": 1, "comment": "too slow"}))
    assert (row["version"], row["source"], row["comment"]) == (3, "rollback", "too slow")
    assert (orch().features, orch().config_version) == ({"mode": "fast"}, before + 1)
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.reason) == ("orchestrator.update", "too slow")
    assert people.alice.get(f"{ONE}/config/versions/9").status_code == 404
    assert people.alice.call("POST", f"{ONE}/config/rollback", {"version": 9}).status_code == 404


def test_a_rollback_to_what_does_not_fit_any_more_is_refused(people: Cast) -> None:
    data(people.alice.call("PATCH", ONE, {"features": {"mode": "fast"}}))
    data(people.alice.call("PATCH", ONE, {"features": {}}))
    set_schema({"properties": {"features": {"maxProperties": 0}}})
    assert "features" in fields(people.alice.call("POST", f"{ONE}/config/rollback", {"version": 1}))


def test_roles(people: Cast) -> None:
    data(people.alice.call("PATCH", ONE, {"features": {"mode": "fast"}}))
    for path in (f"{ONE}/config/versions", f"{ONE}/config/versions/1"):
        assert people.nobody.get(path).status_code == 401
        assert people.charlie.get(path).status_code == 404
    for who, status in ((people.vera, 403), (people.oscar, 403), (people.charlie, 404), (people.root, 200)):
        assert who.call("POST", f"{ONE}/config/rollback", {"version": 1}).status_code == status


def test_a_stale_writer_is_told(people: Cast) -> None:
    data(people.alice.call("PATCH", ONE, {"features": {"mode": "fast"}}))
    with pytest.raises(AppError) as refused:
        instances.update(orch(), acting_user=None, expected=0, features={"mode": "safe"})
    assert refused.value.code == "precondition_failed"
    instances.update(orch(), acting_user=None, expected=0, name="Edge")
    instances.update(orch(), acting_user=None, expected=1, features={"mode": "safe"})


def test_versions_go_with_their_orchestrator(people: Cast) -> None:
    data(people.alice.call("PATCH", ONE, {"features": {"mode": "fast"}}))
    Instance.objects.filter(orchestrator_id="orch-001").delete()
    with pytest.raises(ObjectDoesNotExist):
        OverrideVersion.objects.get()
    assert organizations.lock_many(["org-001", "nowhere"]).keys() == {"org-001"}


def test_what_was_looked_at_is_not_kept(people: Cast) -> None:
    set_schema(None)
    check = overrides.Checker(home())
    tracemalloc.start()
    try:
        for number in range(50):
            assert check.problems({**overrides.BLANK, "features": {"text": str(number) * 100_000}}) == []
        assert tracemalloc.get_traced_memory()[0] < 1024 * 1024
    finally:
        tracemalloc.stop()
