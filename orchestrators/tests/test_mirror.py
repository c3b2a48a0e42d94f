"""The two independence files: exact, atomic, rebuilt from the database, never in the way of a toggle."""

import json
import logging
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from orchestrators import independence, instances, mirror
from orchestrators.models import Instance
from orgs import organizations
from orgs.models import Organization


@pytest.fixture
def files(settings: Any, tmp_path: Path) -> tuple[Path, Path]:
    """Where this test's two files are (environment, JSON)."""
    settings.INDEPENDENCE_ENV_FILE = tmp_path / "deep" / "independence.env"
    settings.INDEPENDENCE_JSON_FILE = tmp_path / "deeper" / "still" / "independence.json"
    return settings.INDEPENDENCE_ENV_FILE, settings.INDEPENDENCE_JSON_FILE


def fleet(*orchestrator_ids: str) -> Organization:
    acme = organizations.create("acme", name="Acme", acting_user=None)
    for orchestrator_id in orchestrator_ids:
        instances.create(orchestrator_id, organization=acme, acting_user=None)
    return acme


def toggle(orchestrator_id: str, is_independent: bool) -> None:
    independence.set_instance(orchestrator_id, is_independent=is_independent, acting_user=None)


def document(files: tuple[Path, Path]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files[1].read_text())
    return found


@pytest.mark.django_db
def test_both_files_say_what_the_database_says(files: tuple[Path, Path]) -> None:
    fleet("orch-001", "orch-002")
    Instance.objects.filter(orchestrator_id="orch-002").update(is_independent=True)
    mirror.write()
    assert files[0].read_text() == ("ORCHESTRATOR_ORCH_001_INDEPENDENT=false\nORCHESTRATOR_ORCH_002_INDEPENDENT=true\n")
    found = document(files)
    assert set(found) == {"orchestrators", "organizations"}
    assert set(found["orchestrators"]["orch-002"]) == {"is_independent", "updated_at"}
    assert found["orchestrators"]["orch-002"]["is_independent"] is True
    assert found["orchestrators"]["orch-001"]["is_independent"] is False
    assert found["organizations"]["acme"]["is_independent"] is False
    assert found["organizations"]["acme"]["updated_at"].endswith("Z")


@pytest.mark.django_db
def test_an_empty_registry_gives_empty_files(files: tuple[Path, Path]) -> None:
    mirror.write()
    assert files[0].read_text() == ""
    assert document(files) == {"orchestrators": {}, "organizations": {}}


@pytest.mark.django_db
def test_ids_that_share_a_name_are_one_true_line_and_exact_in_json(files: tuple[Path, Path]) -> None:
    fleet("orch-1", "orch_1", "ORCH-1")
    Instance.objects.filter(orchestrator_id="orch_1").update(is_independent=True)
    mirror.write()
    assert files[0].read_text() == "ORCHESTRATOR_ORCH_1_INDEPENDENT=true\n"
    flags = {name: entry["is_independent"] for name, entry in document(files)["orchestrators"].items()}
    assert flags == {"orch-1": False, "orch_1": True, "ORCH-1": False}


@pytest.mark.django_db
def test_an_organizations_flag_is_its_own_in_json(files: tuple[Path, Path]) -> None:
    fleet("orch-001")
    Organization.objects.update(is_independent=True)
    mirror.write()
    assert document(files)["organizations"]["acme"]["is_independent"] is True
    assert document(files)["orchestrators"]["orch-001"]["is_independent"] is False


@pytest.mark.django_db(transaction=True)
def test_a_toggle_is_in_the_files_once_it_is_committed(files: tuple[Path, Path]) -> None:
    fleet("orch-001")
    mirror.write()
    with transaction.atomic():
        toggle("orch-001", True)
        assert "=false" in files[0].read_text()
    assert files[0].read_text() == "ORCHESTRATOR_ORCH_001_INDEPENDENT=true\n"
    assert document(files)["orchestrators"]["orch-001"]["is_independent"] is True
    independence.set_organization("acme", is_independent=True, acting_user=None)
    assert document(files)["organizations"]["acme"]["is_independent"] is True


@pytest.mark.django_db(transaction=True)
def test_a_toggle_that_is_rolled_back_leaves_the_files_alone(files: tuple[Path, Path]) -> None:
    fleet("orch-001")
    mirror.write()
    with transaction.atomic():
        toggle("orch-001", True)
        transaction.set_rollback(True)
    assert "=false" in files[0].read_text()


@pytest.mark.django_db(transaction=True)
def test_a_deleted_orchestrator_leaves_the_files(files: tuple[Path, Path]) -> None:
    fleet("orch-001", "orch-002")
    instances.delete(Instance.objects.get(orchestrator_id="orch-001"), acting_user=None)
    assert "ORCH_001" not in files[0].read_text()
    assert set(document(files)["orchestrators"]) == {"orch-002"}


@pytest.mark.django_db
def test_what_somebody_wrote_into_the_files_does_not_stay(files: tuple[Path, Path]) -> None:
    fleet("orch-001")
    for path in files:
        path.parent.mkdir(parents=True)
        path.write_text("ORCHESTRATOR_ORCH_001_INDEPENDENT=true\nPASSWORD=x\n")
    mirror.write()
    assert files[0].read_text() == "ORCHESTRATOR_ORCH_001_INDEPENDENT=false\n"
    assert not Instance.objects.get().is_independent


@pytest.mark.django_db
def test_only_the_files_and_the_lock_remain_and_are_private(files: tuple[Path, Path]) -> None:
    fleet("orch-001")
    mirror.write()
    mirror.write()
    assert os.listdir(files[0].parent) == ["independence.env"]
    assert sorted(os.listdir(files[1].parent)) == ["independence.json", "independence.json.lock"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


@pytest.mark.django_db(transaction=True)
def test_a_broken_disk_is_logged_and_the_toggle_stands(
    files: tuple[Path, Path], caplog: pytest.LogCaptureFixture, settings: Any, tmp_path: Path
) -> None:
    fleet("orch-001")
    (tmp_path / "file").write_text("")
    settings.INDEPENDENCE_ENV_FILE = tmp_path / "file" / "independence.env"
    with caplog.at_level(logging.ERROR):
        toggle("orch-001", True)
    assert "sync_independence" in caplog.text
    assert Instance.objects.get().is_independent


@pytest.mark.django_db(transaction=True)
def test_readers_never_see_half_a_file_and_the_last_write_is_true(files: tuple[Path, Path]) -> None:
    names = [f"orch-{number:03}" for number in range(40)]
    fleet(*names)
    mirror.write()
    done, wrong = threading.Event(), []

    def read() -> None:
        while not done.is_set():
            if set(json.loads(files[1].read_text())["orchestrators"]) != set(names):
                wrong.append("json")
            if files[0].read_text().count("\n") != len(names):
                wrong.append("env")

    def write(mine: list[str]) -> None:
        try:
            for name in mine:
                toggle(name, True)
        finally:
            connection.close()

    reader = threading.Thread(target=read)
    reader.start()
    writers = [threading.Thread(target=write, args=(names[number::4],)) for number in range(4)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join(60)
    done.set()
    reader.join(10)
    assert wrong == []
    assert "=false" not in files[0].read_text()
    assert all(entry["is_independent"] for entry in document(files)["orchestrators"].values())


@pytest.mark.parametrize(
    ("orchestrator_id", "name"),
    [
        ("orch-001", "ORCHESTRATOR_ORCH_001_INDEPENDENT"),
        ("Eu-west_1-a", "ORCHESTRATOR_EU_WEST_1_A_INDEPENDENT"),
        ("7", "ORCHESTRATOR_7_INDEPENDENT"),
    ],
)
def test_an_id_becomes_a_variable(orchestrator_id: str, name: str) -> None:
    assert mirror.variable(orchestrator_id) == name
