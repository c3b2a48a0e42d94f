"""The doors of an organization's configuration: read, write, check, versions, the way back."""

import json
from typing import Any

import pytest

from orchestrators import configuration, instances, tenants
from orchestrators.configuration import documents
from orchestrators.models import ConfigVersion, Instance, Rollout
from orgs import keys
from orgs.models import AuditEntry, Organization
from orgs.tests import cast as casting
from orgs.tests.cast import Cast

URL = "/api/v1/orchestrators/org-001/config"
Json = dict[str, Any]


@pytest.fixture
def cast(db: None, settings: Any) -> Cast:
    return casting.make(settings)


@pytest.fixture
def fleet(cast: Cast) -> list[Instance]:
    """Make three orchestrators of org-001."""
    home = Organization.objects.get(pk="org-001")
    return [instances.create(f"orch-00{number}", organization=home, acting_user=None) for number in (1, 2, 3)]


def put(cast: Cast, config: Any, **headers: str) -> Any:
    return cast.alice.call("PUT", URL, {"config": config}, **headers)


def data(response: Any) -> Any:
    assert response.status_code < 300, response.content
    return response.json()["data"]


def versions() -> list[tuple[int, Json, str]]:
    rows = ConfigVersion.objects.filter(organization="org-001").order_by("version")
    return list(rows.values_list("version", "document", "source"))


# --- works -----------------------------------------------------------------------------------------------------------


def test_what_nobody_published_is_version_0(cast: Cast) -> None:
    answer = cast.vera.get(URL)
    assert answer["ETag"] == '"0"'
    assert (data(answer)["version"], data(answer)["config"], data(answer)["author"]) == (0, {}, "")


def test_a_put_is_version_1_with_author_comment_hash_and_etag(cast: Cast, fleet: list[Instance]) -> None:
    body = {"config": {"features": {"beta": True}}, "comment": "first"}
    answer = cast.alice.call("PUT", URL, body)
    row = data(answer)
    assert (row["version"], row["config"], row["comment"], row["source"]) == (1, body["config"], "first", "edit")
    assert row["author"].endswith(" (admin)")
    assert (answer["ETag"], row["config_hash"]) == ('"1"', documents.digest(row["config"]))
    assert data(cast.vera.get(URL)) == row
    assert Organization.objects.get(pk="org-001").settings["config"] == body["config"]
    for before in fleet:
        after = Instance.objects.get(pk=before.pk)
        assert (after.config_version, after.config_hash) == (2, configuration.digest(after.config_document()))
        assert after.config_document()["features"] == {"beta": True}


def test_a_repeat_has_the_etag_of_the_first_answer(cast: Cast) -> None:
    first, second = (put(cast, {"features": {"n": 1}}, **{"Idempotency-Key": "k"}) for _ in range(2))
    assert (second["Idempotency-Replayed"], second["ETag"]) == ("true", first["ETag"])
    assert data(second) == data(first)


def test_a_put_leaves_one_audit_row(cast: Cast, fleet: list[Instance]) -> None:
    before = AuditEntry.objects.count()
    put(cast, {"llm": {"model": "m"}})
    entry = AuditEntry.objects.get(action="config.publish")
    assert (entry.action, entry.target_id, entry.before) == ("config.publish", "org-001", {"version": 0})
    assert (entry.after or {})["version"] == 1
    assert AuditEntry.objects.count() == before + 1


def test_the_same_again_changes_nothing(cast: Cast, fleet: list[Instance]) -> None:
    first = data(put(cast, {"llm": {"a": 1, "b": 2}}))
    entries = AuditEntry.objects.count()
    assert data(put(cast, {"llm": {"b": 2, "a": 1}})) == first
    assert (AuditEntry.objects.count(), len(versions())) == (entries, 1)


def test_true_is_another_value_than_1(cast: Cast) -> None:
    put(cast, {"llm": {"x": 1}})
    assert data(put(cast, {"llm": {"x": True}}))["version"] == 2
    assert data(cast.vera.get(URL))["config"] == {"llm": {"x": True}}
    assert Organization.objects.get(pk="org-001").settings["config"]["llm"]["x"] is True


def test_if_match_keeps_from_writing_over_what_another_one_wrote(cast: Cast) -> None:
    put(cast, {"features": {"n": 1}})
    assert data(put(cast, {"features": {"n": 2}}, **{"If-Match": '"1"'}))["version"] == 2
    late = put(cast, {"features": {"n": 3}}, **{"If-Match": '"1"'})
    assert (late.status_code, late.json()["error"]) == (412, "precondition_failed")
    assert "version 2" in late.json()["detail"]
    assert put(cast, {"features": {"n": 3}}, **{"If-Match": "nonsense"}).status_code == 412
    assert data(put(cast, {"features": {"n": 3}}, **{"If-Match": "*"}))["version"] == 3
    assert [version for version, _, _ in versions()] == [1, 2, 3]


def test_versions_are_listed_newest_first_with_what_they_changed(cast: Cast) -> None:
    put(cast, {"features": {"a": 1, "b": [1]}})
    put(cast, {"features": {"a": 2}, "llm": {"model": "m"}})
    page = data(cast.vera.get(f"{URL}/versions"))
    assert [row["version"] for row in page["items"]] == [2, 1]
    assert page["items"][0]["changes"] == [
        {"path": "features.a", "before": 1, "after": 2},
        {"path": "features.b", "before": [1]},
        {"path": "llm", "after": {"model": "m"}},
    ]
    assert "config" not in page["items"][0]
    assert data(cast.vera.get(f"{URL}/versions/1"))["config"] == {"features": {"a": 1, "b": [1]}}
    assert cast.vera.get(f"{URL}/versions/9").status_code == 404


def test_a_rollback_is_a_new_version_with_the_old_content(cast: Cast, fleet: list[Instance]) -> None:
    put(cast, {"features": {"n": 1}})
    put(cast, {"features": {"n": 2}})
    for stale in ('"1"', "nonsense"):
        late = cast.alice.call("POST", f"{URL}/rollback", {"version": 1}, **{"If-Match": stale})
        assert (late.status_code, late.json()["error"]) == (412, "precondition_failed")
    row = data(cast.alice.call("POST", f"{URL}/rollback", {"version": 1}, **{"If-Match": '"2"'}))
    assert (row["version"], row["config"], row["source"]) == (3, {"features": {"n": 1}}, "rollback")
    assert row["comment"] == "Back to version 1."
    assert Instance.objects.get(pk=fleet[0].pk).config_version == 4
    assert AuditEntry.objects.filter(action="config.rollback").count() == 1
    assert cast.alice.call("POST", f"{URL}/rollback", {"version": 77}).status_code == 404


def test_an_idempotency_key_publishes_once(cast: Cast) -> None:
    for _ in range(2):
        assert data(put(cast, {"features": {"n": 1}}, **{"Idempotency-Key": "k"}))["version"] == 1
    put(cast, {"features": {"n": 2}})
    assert data(put(cast, {"features": {"n": 1}}, **{"Idempotency-Key": "k"}))["version"] == 1
    assert len(versions()) == 2


# --- the check -------------------------------------------------------------------------------------------------------


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"features": []}, "features"),
        ({"session": "x"}, "session"),
        ({"metadata": None}, "metadata"),
        ({"llm": 1}, "llm"),
        ({"privacy_mode": "yes"}, "privacy_mode"),
        ({"monitoring_enabled": 1}, "monitoring_enabled"),
        ({"x": "y" * (200 * 1024)}, ""),
    ],
)
def test_a_document_that_does_not_fit_is_refused_by_its_path(cast: Cast, config: Json, path: str) -> None:
    verdict = data(cast.vera.call("POST", f"{URL}/validate", {"config": config}))
    assert (verdict["valid"], [row["path"] for row in verdict["errors"]]) == (False, [path])
    refused = put(cast, config)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_field")
    assert list(refused.json()["fields"]) == [f"config.{path}".rstrip(".")]
    assert versions() == []


@pytest.mark.parametrize("config", [[], "x", None, 1])
def test_what_is_no_object_is_no_configuration(cast: Cast, config: Any) -> None:
    assert put(cast, config).status_code == 400
    answer = cast.vera.call("POST", f"{URL}/validate", {"config": config})
    assert answer.status_code == 400 if config is None else not data(answer)["valid"]


def test_unknown_sections_and_32_levels_are_taken_and_33_are_not() -> None:
    assert documents.problems({"anything": [1]}) == []
    assert documents.problems(deep(32)) == []
    assert documents.problems(deep(33))[0]["problem"] == "Nest at most 32 levels."


@pytest.mark.parametrize("value", ["a\x00b", 2**63, float("nan"), float("inf"), "\ud800"])
def test_values_that_no_column_takes_are_refused(value: Any) -> None:
    assert documents.problems({"a": {"b": [value]}})


def test_an_organization_adds_a_schema_of_its_own(cast: Cast) -> None:
    schema = {"properties": {"llm": {"required": ["model"], "properties": {"model": {"enum": ["a", "b"]}}}}}
    home = Organization.objects.get(pk="org-001")
    tenants.update(home, acting_user=None, settings={"config_schema": schema})
    assert put(cast, {"llm": {"model": "a"}}).status_code == 200
    refused = put(cast, {"llm": {"model": "c"}})
    assert list(refused.json()["fields"]) == ["config.llm.model"]
    assert not data(cast.vera.call("POST", f"{URL}/validate", {"config": {"llm": {}}}))["valid"]


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": 7}, "config_schema.type"),
        ({"$ref": "http://127.0.0.1:9/schema"}, "config_schema.$ref"),
        ({"properties": {"x": {"pattern": "(a+)+$"}}}, "config_schema.properties.x.pattern"),
        ({"allOf": [{"not": {"patternProperties": {}}}]}, "config_schema.allOf[0].not.patternProperties"),
        ({"$defs": {"a": {"$dynamicRef": "#a"}}}, "config_schema.$defs.a.$dynamicRef"),
        ({"description": "x" * 70_000}, "config_schema"),
        (["x"], "config_schema"),
    ],
)
def test_a_schema_that_could_cost_others_is_refused(cast: Cast, schema: Any, path: str) -> None:
    body = {"settings": {"config_schema": schema}}
    refused = cast.root.call("PATCH", "/api/v1/controller/organizations/org-001", body)
    assert refused.status_code == 400, refused.content
    assert list(refused.json()["fields"]) == [f"settings.config.{path}"]
    assert Organization.objects.get(pk="org-001").settings == {}


def test_a_property_may_be_called_pattern() -> None:
    schema = {"properties": {"pattern": {"type": "string"}, "$ref": {"type": "object"}}}
    assert documents.problems({"pattern": "x"}, schema=schema) == []
    assert documents.problems({"pattern": 1}, schema=schema)


# --- other doors -----------------------------------------------------------------------------------------------------


def test_the_settings_door_writes_a_version_too(cast: Cast, fleet: list[Instance]) -> None:
    entries = AuditEntry.objects.count()
    body = {"settings": {"config": {"features": {"n": 1}}}}
    assert cast.alice.call("PATCH", "/api/v1/controller/organizations/org-001", body).status_code == 200
    assert versions() == [(1, {"features": {"n": 1}}, "edit")]
    assert Instance.objects.get(pk=fleet[0].pk).config_version == 2
    assert AuditEntry.objects.count() == entries + 1
    bad = {"settings": {"config": {"features": 1}}}
    refused = cast.alice.call("PATCH", "/api/v1/controller/organizations/org-001", bad)
    assert (refused.status_code, list(refused.json()["fields"])) == (400, ["settings.config.features"])


def test_an_organization_made_with_a_configuration_begins_at_version_1(cast: Cast) -> None:
    body = {"organization_id": "org-003", "name": "New", "settings": {"config": {"llm": {"m": 1}}}}
    assert cast.root.call("POST", "/api/v1/controller/organizations", body).status_code == 201
    answer = cast.root.get("/api/v1/orchestrators/org-003/config")
    assert (data(answer)["version"], data(answer)["config"]) == (1, {"llm": {"m": 1}})


def test_what_was_there_before_versions_were_kept_can_be_gone_back_to(cast: Cast) -> None:
    Organization.objects.filter(pk="org-001").update(settings={"config": {"llm": {"old": 1}}})
    assert data(put(cast, {"llm": {"new": 1}}))["version"] == 2
    assert versions()[0] == (1, {"llm": {"old": 1}}, "import")
    row = data(cast.alice.call("POST", f"{URL}/rollback", {"version": 1}))
    assert (row["version"], row["config"]) == (3, {"llm": {"old": 1}})


def test_monitoring_off_for_an_organization_is_off_for_its_orchestrators(cast: Cast, fleet: list[Instance]) -> None:
    put(cast, {"monitoring_enabled": False})
    assert Instance.objects.get(pk=fleet[0].pk).config_document()["monitoring_enabled"] is False


def test_an_orchestrator_that_comes_back_goes_on_counting(cast: Cast, fleet: list[Instance]) -> None:
    put(cast, {"features": {"n": 1}})
    instances.delete(fleet[0], acting_user=None)
    put(cast, {"features": {"n": 2}})
    home = Organization.objects.get(pk="org-001")
    row = instances.create("orch-001", organization=home, acting_user=None)
    assert row.config_version == 3
    assert row.config_hash == configuration.digest(row.config_document())


# --- who may ---------------------------------------------------------------------------------------------------------

READS = ["", "/versions", "/versions/1", "/rollouts", "/rollouts/{rollout}"]
WRITES = [
    ("PUT", "", {"config": {}}),
    ("POST", "/rollback", {"version": 1}),
    ("POST", "/rollouts", {"config": {}, "stages": [{"percent": 10}]}),
    ("POST", "/rollouts/{rollout}/pause", {}),
    ("POST", "/rollouts/{rollout}/resume", {}),
    ("POST", "/rollouts/{rollout}/cancel", {}),
]


@pytest.fixture
def rollout(cast: Cast) -> int:
    put(cast, {"features": {"n": 1}})
    return Rollout.objects.get().pk


@pytest.mark.parametrize("path", READS)
def test_members_read_and_nobody_else(cast: Cast, rollout: int, path: str) -> None:
    url = URL + path.format(rollout=rollout)
    status = {who: getattr(cast, who).get(url).status_code for who in vars(cast)}
    assert {status[who] for who in ("root", "alice", "oscar", "vera")} == {200}
    assert (status["charlie"], status["nobody"], status["mallory"]) == (404, 401, 401)
    assert status["machine"] == (200 if path == "" else 403)


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_administrators_write_and_nobody_else(cast: Cast, rollout: int, method: str, path: str, body: Json) -> None:
    url = URL + path.format(rollout=rollout)
    status = {who: getattr(cast, who).call(method, url, body).status_code for who in vars(cast)}
    assert (status["oscar"], status["vera"], status["machine"]) == (403, 403, 403)
    assert (status["charlie"], status["nobody"], status["mallory"]) == (404, 401, 401)
    assert status["root"] not in (401, 403, 404)


def test_a_foreign_rollout_is_as_absent_as_a_missing_one(cast: Cast, rollout: int) -> None:
    foreign = cast.charlie.get(f"/api/v1/orchestrators/org-002/config/rollouts/{rollout}")
    missing = cast.charlie.get("/api/v1/orchestrators/org-002/config/rollouts/999999")
    assert foreign.status_code == missing.status_code == 404
    assert foreign.json()["detail"] == missing.json()["detail"]


def test_a_key_bound_to_an_orchestrator_reads_its_organizations_configuration(
    cast: Cast, fleet: list[Instance]
) -> None:
    home = Organization.objects.get(pk="org-001")
    _, secret = keys.create(
        home, name="own", acting_user=None, scopes=["orchestrator"], orchestrator_id=fleet[0].orchestrator_id
    )
    own = casting.Person({"X-API-Key": secret})
    put(cast, {"llm": {"m": 1}})
    assert data(own.get(URL))["config"] == {"llm": {"m": 1}}
    assert own.get("/api/v1/orchestrators/org-002/config").status_code == 404
    assert own.call("POST", f"{URL}/validate", {"config": {}}).status_code == 403


@pytest.mark.parametrize(
    "body",
    ["{", "[]", {}, {"config": {}, "x": 1}, {"config": {}, "comment": 1.5e3 * 10**9, "version": 1}, json.dumps(None)],
)
def test_malformed_bodies_are_refused(cast: Cast, body: Any) -> None:
    assert cast.alice.call("PUT", URL, body).status_code == 400
    assert versions() == []


def test_the_difference_is_bounded() -> None:
    many = documents.difference({}, {f"k{number:04}": number for number in range(500)})
    assert len(many) == documents.MAX_CHANGES
    assert documents.difference({"a": "x" * 5000}, {}) == [{"path": "a", "before": "(5002 bytes)"}]
