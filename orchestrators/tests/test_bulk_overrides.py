"""The bulk action that changes what many orchestrators have of their own: at every door, checked for each."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from orchestrators import bulk, configuration, instances, jobs
from orchestrators.configuration import overrides
from orchestrators.jobs import running
from orchestrators.models import Instance, Job, OverrideVersion
from orgs.models import AuditEntry, Event, Organization
from orgs.tests import cast
from orgs.tests.cast import Cast

pytestmark = pytest.mark.django_db
BULK = "/api/v1/internal/bulk"
PATCH: dict[str, Any] = {"features": {"mode": "fast", "old": None}, "privacy_mode": True}


@pytest.fixture
def people(settings: Any) -> Cast:
    """The cast, with a-1 … a-5 of org-001 (odd ones env=prod) and b-1 of org-002."""
    found = cast.make(settings)
    ours, theirs = Organization.objects.get(pk="org-001"), Organization.objects.get(pk="org-002")
    for number in range(1, 6):
        own: dict[str, Any] = {
            "features": {"old": True, "n": number},
            "labels": {"env": "prod" if number % 2 else "test"},
        }
        instances.create(f"a-{number}", organization=ours, acting_user=None, **own)
    instances.create("b-1", organization=theirs, acting_user=None, features={"old": True})
    for model in (AuditEntry, Event, OverrideVersion):
        model.objects.all().delete()
    return found


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of two rows."""
    monkeypatch.setattr(bulk, "CHUNK", 2)


def order(parameters: Any, selector: Any = None) -> dict[str, Any]:
    return {"action": "configuration", "selector": selector or {"all": True}, "parameters": parameters}


def data(answer: Any, status: int = 202) -> Any:
    assert answer.status_code == status, answer.content
    return answer.json()["data"]


def features() -> dict[str, Any]:
    return dict(Instance.objects.order_by("orchestrator_id").values_list("orchestrator_id", "features"))


def test_a_patch_is_merged_into_what_each_of_the_chosen_has(people: Cast) -> None:
    wish = order({"patch": PATCH, "comment": "beta"}, {"labels": {"env": "prod"}})
    row = data(people.alice.call("POST", BULK, wish))
    assert (row["kind"], row["total"]) == ("bulk.configuration", 3)
    jobs.drain()
    job = Job.objects.get()
    assert (job.status, job.done, job.failed) == ("completed", 3, 0)
    assert features()["a-1"] == {"n": 1, "mode": "fast"}
    assert features()["a-2"] == {"n": 2, "old": True}
    assert features()["b-1"] == {"old": True}
    one = Instance.objects.select_related("organization").get(orchestrator_id="a-3")
    assert (one.privacy_mode, one.config_version) == (True, 2)
    assert one.config_hash == configuration.digest(one.config_document())
    changed = Event.objects.filter(kind="config.changed").values_list("orchestrator_id", flat=True)
    assert sorted(changed) == ["a-1", "a-3", "a-5"]


def test_each_gets_a_version_and_the_organization_one_audit_row(people: Cast) -> None:
    data(people.alice.call("POST", BULK, order({"patch": PATCH, "comment": "beta"})))
    jobs.drain()
    entry = AuditEntry.objects.get()
    after = entry.after or {}
    assert (entry.action, entry.reason, after["orchestrators"]) == ("bulk.configuration", "beta", 5)
    assert after["parameters"]["patch"] == PATCH
    rows = OverrideVersion.objects.filter(source="bulk")
    assert {(row.version, row.comment, row.author) for row in rows} == {(2, "beta", entry.actor)}
    assert [change["path"] for change in rows[0].changes] == ["features.mode", "features.old", "privacy_mode"]


def test_clearing_takes_everything_of_their_own_away(people: Cast) -> None:
    data(people.alice.call("POST", BULK, order({"clear": True})))
    jobs.drain()
    assert [features()[f"a-{number}"] for number in range(1, 6)] == [{}] * 5
    assert features()["b-1"] == {"old": True}


def test_those_whom_it_does_not_fit_are_named_and_stay_as_they_are(people: Cast) -> None:
    home = Organization.objects.get(pk="org-001")
    home.settings = {"config_schema": {"properties": {"features": {"not": {"properties": {"n": {"const": 4}}}}}}}
    home.save()
    data(people.alice.call("POST", BULK, order({"patch": {"features": {"x": 1}}})))
    jobs.drain()
    job = Job.objects.get()
    assert (job.status, job.done, job.failed) == ("completed", 4, 1)
    assert [row["orchestrator_id"] for row in job.errors] == ["a-4"]
    assert job.errors[0]["error"].startswith("features: ")
    assert features()["a-4"] == {"n": 4, "old": True}
    assert features()["a-5"] == {"n": 5, "old": True, "x": 1}


def test_a_superadmins_reaches_organizations_each_by_its_own_schema(people: Cast) -> None:
    theirs = Organization.objects.get(pk="org-002")
    theirs.settings = {"config_schema": {"properties": {"features": {"maxProperties": 1}}}}
    theirs.save()
    data(people.root.call("POST", BULK, order({"patch": {"features": {"x": 1}}})))
    jobs.drain()
    assert [row["orchestrator_id"] for row in Job.objects.get().errors] == ["b-1"]
    assert AuditEntry.objects.filter(action="bulk.configuration").count() == 2


def test_what_is_cleared_shares_nothing(people: Cast) -> None:
    instances.override_many([Instance.objects.get(orchestrator_id="a-1").pk], patch=None, acting_user=None)
    overrides.columns(overrides.BLANK)["features"]["mine"] = 1
    assert overrides.BLANK["features"] == {}


def test_done_twice_it_changes_nothing_the_second_time(people: Cast) -> None:
    for _ in range(2):
        data(people.alice.call("POST", BULK, order({"patch": PATCH})))
        jobs.drain()
    assert set(OverrideVersion.objects.filter(source="bulk").values_list("version", flat=True)) == {2}
    assert set(Instance.objects.filter(organization_id="org-001").values_list("config_version", flat=True)) == {2}


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({}, "parameters"),
        ({"patch": {}}, "parameters.patch"),
        ({"patch": 5}, "parameters.patch"),
        ({"patch": {"llm": {}}}, "parameters.patch.llm"),
        ({"patch": {"features": 5}}, "parameters.patch.features"),
        ({"patch": {"privacy_mode": "yes"}}, "parameters.patch.privacy_mode"),
        ({"patch": {"features": {"x": "y" * 40_000}}}, "parameters.patch"),
        ({"patch": PATCH, "clear": True}, "parameters"),
        ({"clear": False}, "parameters.clear"),
        ({"clear": True, "comment": "x" * 501}, "parameters.comment"),
        ({"clear": True, "reason": ""}, "parameters.reason"),
    ],
)
def test_parameters_nobody_should_send(people: Cast, parameters: Any, field: str) -> None:
    answer = people.alice.call("POST", BULK, order(parameters))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_field")
    assert list(answer.json()["fields"]) == [field]
    assert (Job.objects.count(), AuditEntry.objects.count()) == (0, 0)


def test_it_takes_an_administrator(people: Cast) -> None:
    for who in (people.vera, people.oscar):
        assert who.call("POST", BULK, order({"clear": True})).status_code == 403


def test_the_command_takes_a_patch_from_a_file_or_as_text(people: Cast, tmp_path: Path) -> None:
    (tmp_path / "patch.json").write_text(json.dumps(PATCH))
    out, err = io.StringIO(), io.StringIO()
    call_command(
        "bulk", "configuration", "--file", str(tmp_path / "patch.json"), "--id", "a-1", "--comment", "x", stdout=out
    )
    assert features()["a-1"] == {"n": 1, "mode": "fast"}
    call_command("bulk", "configuration", '{"features": {"n": null}}', "--id", "a-2", stdout=out)
    assert features()["a-2"] == {"old": True}
    call_command("bulk", "configuration", "--clear", "--id", "a-3", stdout=out, stderr=err)
    assert features()["a-3"] == {}
    assert out.getvalue().count("1 done, 0 failed of 1") == 3
    for wrong in (["{"], [], ["--clear", "{}"], ['{"llm": {}}'], ["--file", str(tmp_path / "none")]):
        with pytest.raises(CommandError):
            call_command("bulk", "configuration", *wrong, "--id", "a-1", stdout=out, stderr=err)


def test_a_piece_looks_at_equal_ones_once_and_takes_few_statements(
    people: Cast, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    monkeypatch.setattr(bulk, "CHUNK", 1000)
    home = Organization.objects.get(pk="org-001")
    for number in range(10, 60):
        instances.create(f"a-{number}", organization=home, acting_user=None)
    job = bulk.start("configuration", selector={"all": True}, parameters={"patch": PATCH}, acting_user=None)
    claimed = running.claim(job.job_id)
    assert claimed is not None
    with django_assert_max_num_queries(25):
        running.run(claimed)
    assert Job.objects.get().done == 56
