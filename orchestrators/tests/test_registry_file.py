"""The registry as a file: seeds what is missing, imports by hand, and comes out as it went in."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from moolai import bootstrap, checks
from moolai.testing.product import Installation
from orchestrators import independence, instances, registry_file
from orchestrators.models import Instance
from orgs import organizations, sealed
from orgs.models import AuditEntry, Event, Organization

SIMPLE = {
    "organizations": {
        "org-001": {"name": "Acme", "orchestrators": ["orch-001", "orch-002"], "is_independent": False},
        "org-002": {"name": "Globex", "orchestrators": {"orch-101": {"name": "Ward 7", "is_independent": True}}},
    }
}
Write = Callable[[Any], Path]


@pytest.fixture
def file(tmp_path: Path, settings: Any) -> Write:
    def write(document: Any) -> Path:
        path = tmp_path / "registry.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
        settings.CONTROLLER_CONFIG_FILE = str(path)
        return path

    return write


def registry() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {key: [] for key in Organization.objects.values_list("pk", flat=True)}
    for row in Instance.objects.present():
        found[row.organization_id].append(row.orchestrator_id)
    return found


# --- at the start ---------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_an_empty_registry_is_seeded_and_audited(file: Write) -> None:
    file(SIMPLE)
    assert len(bootstrap.seed_registry()) == 6
    assert registry() == {"org-001": ["orch-001", "orch-002"], "org-002": ["orch-101"]}
    assert Organization.objects.get(pk="org-001").name == "Acme"
    ward = Instance.objects.get(orchestrator_id="orch-101")
    assert (ward.name, ward.is_independent, ward.status) == ("Ward 7", True, "independent")
    assert set(AuditEntry.objects.values_list("actor", flat=True)) == {"CONTROLLER_CONFIG_FILE"}
    assert AuditEntry.objects.filter(action="orchestrator.independence", target_id="orch-101").count() == 1


@pytest.mark.django_db
def test_a_second_start_changes_nothing_that_exists(file: Write) -> None:
    file(SIMPLE)
    bootstrap.seed_registry()
    acme = organizations.update(Organization.objects.get(pk="org-001"), acting_user=None, name="Acme Robotics")
    instances.delete(Instance.objects.get(orchestrator_id="orch-002"), acting_user=None)
    independence.set_instance("orch-101", is_independent=False, acting_user=None)
    rows = AuditEntry.objects.count()
    file({"organizations": {**SIMPLE["organizations"], "org-003": {}}})
    assert bootstrap.seed_registry() == ["made organization org-003"]
    assert AuditEntry.objects.count() == rows + 1
    acme.refresh_from_db()
    assert acme.name == "Acme Robotics"
    assert registry() == {"org-001": ["orch-001"], "org-002": ["orch-101"], "org-003": []}
    assert not Instance.objects.get(orchestrator_id="orch-101").is_independent


@pytest.mark.django_db
def test_a_missing_orchestrator_is_made_in_an_organization_that_exists(file: Write) -> None:
    organizations.create("org-001", name="Mine", acting_user=None)
    file(SIMPLE)
    bootstrap.seed_registry()
    assert registry()["org-001"] == ["orch-001", "orch-002"]


def test_without_the_setting_nothing_is_read(settings: Any) -> None:
    settings.CONTROLLER_CONFIG_FILE = ""
    assert bootstrap.seed_registry() == []
    assert checks.registry_file_is_usable(None) == []


def test_a_bad_file_stops_the_start_with_its_path(file: Write, settings: Any) -> None:
    file({"organizations": {"org-001": {"name": 7}}})
    assert [error.msg for error in checks.registry_file_is_usable(None)] == [
        "CONTROLLER_CONFIG_FILE holds a mistake: organizations.org-001.name: must be a text."
    ]
    settings.CONTROLLER_CONFIG_FILE = "/nowhere/registry.json"
    assert "must name a readable file" in checks.registry_file_is_usable(None)[0].msg


@pytest.mark.once
@pytest.mark.services
def test_up_and_serve_seed_and_refuse(installation: Callable[..., Installation], tmp_path: Path) -> None:
    path = tmp_path / "registry.json"
    path.write_text(json.dumps(SIMPLE))
    place = installation({"CONTROLLER_CONFIG_FILE": str(path)})
    said = place.manage("up", "--prepare-only").stdout
    assert "made organization org-001" in said
    assert "made orchestrator orch-101" in said
    path.write_text(json.dumps({"organizations": {"org-003": {"orchestrators": ["orch-301"]}}}))
    assert "made orchestrator orch-301" in place.serve().output()
    document = json.loads(place.manage("export_config").stdout)
    assert sorted(document["organizations"]) == ["org-001", "org-002", "org-003"]
    path.write_text('{"organizations": {"org-001": {"nam": "x"}}}')
    for command in (["up", "--prepare-only"], ["serve"]):
        refused = place.manage(*command, check=False)
        assert refused.returncode != 0
        assert "organizations.org-001.nam: is unknown; remove it." in refused.stderr
        assert "Traceback" not in refused.stderr


# --- by hand --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_an_import_changes_what_the_file_names_and_says_so(file: Write, capsys: Any) -> None:
    call_command("import_config", file(SIMPLE))
    assert "made orchestrator orch-001" in capsys.readouterr().out
    instances.delete(Instance.objects.get(orchestrator_id="orch-002"), acting_user=None)
    orch = Instance.objects.get(orchestrator_id="orch-101")
    instances.update(orch, acting_user=None, image_name="stays:1")
    document: Any = json.loads(json.dumps(SIMPLE))
    document["organizations"]["org-001"] |= {
        "name": "Acme 2",
        "is_independent": True,
        "settings": {"config": {"llm": {"m": 1}}},
    }
    document["organizations"]["org-002"]["orchestrators"]["orch-101"] = {"features": {"rag": True}}
    before = Instance.objects.get(orchestrator_id="orch-001").config_version
    call_command("import_config", file(document))
    assert capsys.readouterr().out.splitlines() == [
        "changed organization org-001: name, settings",
        "organization org-001 is independent",
        "made orchestrator orch-002",
        "changed orchestrator orch-101: features",
    ]
    orch.refresh_from_db()
    assert (orch.features, orch.image_name, orch.is_independent, orch.name) == (
        {"rag": True},
        "stays:1",
        True,
        "Ward 7",
    )
    assert Instance.objects.get(orchestrator_id="orch-001").config_version == before + 1
    assert AuditEntry.objects.filter(actor="command import_config", action="organization.update").count() == 1
    call_command("import_config", file(document))
    assert capsys.readouterr().out == "Nothing to do: the registry says what the file says.\n"


@pytest.mark.django_db
def test_a_dry_run_says_the_same_and_does_nothing(file: Write, capsys: Any) -> None:
    path = file(SIMPLE)
    call_command("import_config", path, "--dry-run")
    would = capsys.readouterr().out.splitlines()
    assert registry() == {}
    assert AuditEntry.objects.count() == Event.objects.count() == 0
    call_command("import_config", path)
    assert [f"would have: {line}" for line in capsys.readouterr().out.splitlines()] == would


@pytest.mark.django_db
def test_an_orchestrator_of_another_organization_is_refused_and_nothing_is_changed(file: Write) -> None:
    call_command("import_config", file(SIMPLE))
    wrong = {"organizations": {"org-003": {"orchestrators": ["orch-301", "orch-001"]}}}
    with pytest.raises(CommandError, match=r"org-003.orchestrators\[1\]: belongs to org-001"):
        call_command("import_config", file(wrong))
    assert "org-003" not in registry()


@pytest.mark.django_db
def test_what_a_room_refuses_is_named_with_its_path(file: Write) -> None:
    wrong = {"organizations": {"org-001": {"website": "no url", "orchestrators": {"orch-001": {"admin_email": "x"}}}}}
    with pytest.raises(CommandError) as caught:
        call_command("import_config", file(wrong))
    assert "organizations.org-001.website: Enter a valid URL." in str(caught.value)
    wrong["organizations"]["org-001"]["website"] = ""
    with pytest.raises(CommandError, match=r"org-001.orchestrators.orch-001.admin_email: Enter a valid email"):
        call_command("import_config", file(wrong))
    assert registry() == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "The file is not JSON"),
        ("{", "line 1 column 2"),
        ("[]", "organizations: is missing"),
        ('{"organizations": []}', "organizations: is missing"),
        ("[" * 100_000, "nested too deeply"),
        ('{"organizations": {"a": {}, "a": {}}}', "'a' stands twice"),
        ('{"organizations": {"a": {"settings": {"x": NaN}}}}', "NaN is not JSON"),
        ('{"organizations": {}, "extra": 1}', "extra: is unknown; remove it"),
        ('{"organizations": {"a b": {}}}', "organizations.a b: 'a b' is no id"),
        ('{"organizations": {"a": []}}', "organizations.a: must be an object"),
        (
            '{"organizations": {"a": {"is_independent": "yes"}}}',
            "organizations.a.is_independent: must be true or false",
        ),
        ('{"organizations": {"a": {"orchestrators": "x"}}}', "organizations.a.orchestrators: must be a list of ids"),
        ('{"organizations": {"a": {"orchestrators": [1]}}}', "organizations.a.orchestrators[0]: '1' is no id"),
        (
            '{"organizations": {"a": {"orchestrators": ["live"]}}}',
            "organizations.a.orchestrators[0]: 'live' is reserved",
        ),
        ('{"organizations": {"a": {"orchestrators": ["x", "x"]}}}', "stands at organizations.a.orchestrators[0] too"),
        (
            '{"organizations": {"a": {"orchestrators": {"x": {"features": []}}}}}',
            "orchestrators.x.features: must be an",
        ),
        ('{"organizations": {"a": {"orchestrators": {"x": {"status": "active"}}}}}', "x.status: is unknown"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(registry_file.InvalidFile) as caught:
        registry_file.parse(text)
    assert problem in str(caught.value)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(registry_file.InvalidFile) as caught:
        registry_file.parse(json.dumps({"organizations": {f"a{n}": {"name": n} for n in range(30)}}))
    assert len(caught.value.problems) == 30
    assert str(caught.value).endswith("… and 10 more")


# --- round trip -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_an_export_comes_back_without_loss_and_without_secrets(tmp_path: Path, capsys: Any) -> None:
    first, second = tmp_path / "one.json", tmp_path / "two.json"
    acme = organizations.create(
        "acme", name="Ácme «ü»", acting_user=None, status="provisioning", is_active=False, settings={"a": [1, None]},
        admin_email="a@b.example", website="https://acme.example",
    )  # fmt: skip
    organizations.create("empty", name="Empty", acting_user=None)
    instances.create(
        "orch-1", organization=acme, acting_user=None, name="One", features={"x": {"y": 1.5}}, session_config={"t": 1},
        privacy_mode=True, monitoring_enabled=False, image_name="i:1", internal_url="http://plain:8000",
        database_url="postgres://u:CANARY@h/d", environment_variables={"KEY": "CANARY"},
    )  # fmt: skip
    gone = instances.create("gone", organization=acme, acting_user=None)
    instances.delete(gone, acting_user=None)
    independence.set_organization("acme", is_independent=True, acting_user=None)
    independence.set_instance("orch-1", is_independent=True, acting_user=None)
    call_command("export_config", first)
    said = capsys.readouterr().err
    assert "orch-1.database_url, orch-1.environment_variables" in said
    assert "CANARY" not in first.read_text() + said
    Instance.objects.all().delete()
    Organization.objects.all().delete()
    call_command("import_config", first)
    call_command("export_config", second)
    assert second.read_text() == first.read_text()
    row = Instance.objects.get(orchestrator_id="orch-1")
    assert row.is_independent
    assert row.features == {"x": {"y": 1.5}}
    assert sealed.read(row, "internal_url") == "http://plain:8000"
    call_command("import_config", second)
    assert "Nothing to do" in capsys.readouterr().out


@pytest.mark.django_db
def test_secrets_are_taken_in_and_masked_in_the_trail(file: Write, capsys: Any) -> None:
    secrets = {"database_url": "postgres://u:CANARY@h/d", "environment_variables": {"KEY": "CANARY"}}
    path = file({"organizations": {"acme": {"orchestrators": {"orch-1": secrets}}}})
    call_command("import_config", path)
    assert {name: sealed.read(Instance.objects.get(), name) for name in secrets} == secrets
    call_command("import_config", path)
    said = capsys.readouterr()
    assert "Nothing to do" in said.out
    assert "CANARY" not in said.out + said.err + str(list(AuditEntry.objects.values_list()))
