"""Secrets of orchestrators: sealed in the database, masked for every reader, sealed anew under another key."""

import json
import logging
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse

from moolai.errors import InvalidInput
from moolai.testing.product import Installation
from moolai.testing.world import World
from orchestrators import instances
from orchestrators.models import Instance
from orchestrators.tests.live import Live, running
from orgs import organizations, rotation, sealed, vault
from orgs.models import AuditEntry, Event, Organization, User

OLD, NEW = "old-key-" + "o" * 32, "new-key-" + "n" * 32
CANARY = "cAnArY-7f3e91"
TOKEN = "token-of-the-secrets-tests"
SECRETS: dict[str, Any] = {
    "internal_url": f"http://moolai:{CANARY}@10.0.0.5:8000/base",
    "database_url": f"postgres://moolai:{CANARY}@db:5432/orch",
    "redis_url": f"redis://:{CANARY}@redis:6379/0",
    "environment_variables": {"OPENAI_API_KEY": CANARY, "LEVEL": "debug"},
}
MASKED: dict[str, Any] = {
    "internal_url": "http://moolai:***@10.0.0.5:8000/base",
    "database_url": "postgres://moolai:***@db:5432/orch",
    "redis_url": "redis://:***@redis:6379/0",
    "environment_variables": {"OPENAI_API_KEY": "***", "LEVEL": "***"},
}


@pytest.fixture
def acme(db: None, settings: Any) -> Organization:
    settings.ENCRYPTION_KEY, settings.DEV_BEARER_TOKEN = OLD, TOKEN
    return organizations.create("acme", name="Acme", acting_user=None)


@pytest.fixture
def orch(acme: Organization) -> Instance:
    return instances.create("orch-001", organization=acme, acting_user=None, **SECRETS)


def plain(row: Instance) -> dict[str, Any]:
    row.refresh_from_db()
    return {name: sealed.read(row, name) for name in SECRETS}


def columns(row: Instance) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(SECRETS)} FROM orchestrator_instances WHERE id = %s", [row.pk])
        return str(cursor.fetchone())


def test_secrets_are_ciphertext_in_the_database_and_open_again(orch: Instance) -> None:
    assert CANARY not in columns(orch)
    assert columns(orch).count("enc:v1:") == 5
    assert plain(orch) == SECRETS


def test_what_is_empty_stays_empty(acme: Organization) -> None:
    row = instances.create("orch-002", organization=acme, acting_user=None, database_url="", environment_variables={})
    assert "enc:" not in columns(row)
    assert plain(row) == {"internal_url": "", "database_url": "", "redis_url": "", "environment_variables": {}}


def test_the_api_shows_every_column_masked(client: Client, orch: Instance) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    one = client.get("/api/v1/controller/orchestrators/orch-001", headers=headers)
    assert {name: one.json()["data"][name] for name in MASKED} == MASKED
    many = client.get("/api/v1/controller/orchestrators", headers=headers)
    assert many.json()["data"]["items"] == [one.json()["data"]]
    assert CANARY not in (one.content + many.content).decode()


def test_the_audit_trail_and_the_events_hold_no_secret(orch: Instance) -> None:
    changed: dict[str, Any] = {
        "database_url": f"mysql://root:{CANARY}-2@db/orch",
        "environment_variables": {"NEW": f"{CANARY}-2"},
    }
    instances.update(orch, acting_user=None, **changed)
    entry = AuditEntry.objects.get(action="orchestrator.update")
    assert entry.before == {name: MASKED[name] for name in changed}
    assert entry.after == {"database_url": "mysql://root:***@db/orch", "environment_variables": {"NEW": "***"}}
    rows = [list(model.objects.values_list()) for model in (AuditEntry, Event)]
    assert CANARY not in str(rows)


def test_writing_the_same_secrets_again_writes_nothing(orch: Instance) -> None:
    before = columns(orch)
    instances.update(orch, acting_user=None, **SECRETS)
    assert columns(orch) == before
    assert not AuditEntry.objects.filter(action="orchestrator.update").exists()


def test_masked_values_that_come_back_leave_the_secrets_alone(orch: Instance) -> None:
    instances.update(orch, acting_user=None, name="Other", **MASKED)
    assert plain(orch) == SECRETS
    variables = {"OPENAI_API_KEY": "***", "ADDED": "1"}
    instances.update(orch, acting_user=None, environment_variables=variables)
    assert plain(orch)["environment_variables"] == {"OPENAI_API_KEY": CANARY, "ADDED": "1"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"database_url": "postgres://moolai:***@elsewhere:5432/orch"},  # the password would go to another host
        {"redis_url": "***"},
        {"environment_variables": {"OTHER": "***"}},
        {"environment_variables": {"A": {"deep": 1}}},
        {"environment_variables": ["A=1"]},
        {"database_url": 7},
        {"database_url": "x" * 10_000},
    ],
)
def test_what_cannot_be_sealed_is_refused_by_name(orch: Instance, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        instances.update(orch, acting_user=None, **wrong)
    assert set(caught.value.fields) == set(wrong)
    assert plain(orch) == SECRETS
    with pytest.raises(InvalidInput):
        instances.create("orch-003", organization=orch.organization, acting_user=None, **wrong)


def test_a_plain_value_cannot_reach_the_database_past_the_room(orch: Instance) -> None:
    orch.database_url = SECRETS["database_url"]
    with pytest.raises(ValueError, match="database_url is sealed"), transaction.atomic():
        orch.save()
    changes: list[dict[str, Any]] = [{"redis_url": "redis://:x@y"}, {"environment_variables": {"A": "1"}}]
    for change in [*changes, {"environment_variables": []}]:
        with pytest.raises(ValueError, match="is sealed") as caught, transaction.atomic():
            Instance.objects.filter(pk=orch.pk).update(**change)
        assert "redis://" not in str(caught.value)
    orch.refresh_from_db()
    with pytest.raises(ValueError, match="is sealed"), transaction.atomic():
        Instance.objects.bulk_create([Instance(orchestrator_id="x", organization_id="acme", internal_url="http://a")])


def test_ciphertexts_swapped_between_two_organizations_or_fields_do_not_open(orch: Instance) -> None:
    globex = organizations.create("globex", name="Globex", acting_user=None)
    other = instances.create("orch-009", organization=globex, acting_user=None, database_url="postgres://a:b@c/d")
    Instance.objects.filter(pk=other.pk).update(database_url=orch.database_url)
    Instance.objects.filter(pk=orch.pk).update(redis_url=orch.database_url)
    other.refresh_from_db()
    orch.refresh_from_db()
    for row, name in ((other, "database_url"), (orch, "redis_url")):
        with pytest.raises(vault.Unreadable):
            sealed.read(row, name)
        assert sealed.masked(row)[name] == "***"


def test_the_api_answers_without_the_key_too(client: Client, orch: Instance, settings: Any) -> None:
    settings.ENCRYPTION_KEY = NEW
    answer = client.get("/api/v1/controller/orchestrators/orch-001", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    assert answer.json()["data"]["database_url"] == "***"


def test_the_console_shows_stars_and_takes_them_back(client: Client, orch: Instance) -> None:
    client.force_login(User.objects.create_superuser("root", password="correct horse battery"))
    page = reverse("admin:orchestrators_instance_change", args=[orch.pk])
    text = client.get(page).content.decode()
    assert MASKED["internal_url"] in text
    assert CANARY not in text
    assert "enc:v1:" not in text
    form = {"name": "New", "features": "{}", "session_config": "{}", "monitoring_enabled": "on"}
    answer = client.post(page, form | {"internal_url": MASKED["internal_url"]})
    assert answer.status_code == 302
    assert plain(orch) == SECRETS
    assert orch.name == "New"
    assert client.post(page, form | {"internal_url": "http://new:pw@host"}).status_code == 302
    assert plain(orch)["internal_url"] == "http://new:pw@host"


# --- rotation -------------------------------------------------------------------------------------------------------


def test_rotation_seals_everything_with_the_first_key(orch: Instance, settings: Any, capsys: Any) -> None:
    old_id = vault.ring()[0].key_id
    settings.ENCRYPTION_KEY = f"{NEW},{OLD}"
    updated_at = orch.updated_at
    call_command("rotate_encryption_key", "--check")
    assert f"Still needed: {old_id}" in capsys.readouterr().out
    call_command("rotate_encryption_key")
    said = capsys.readouterr().out
    assert "Verified: 5 secrets open" in said
    assert f"No stored secret needs {old_id} any more" in said
    settings.ENCRYPTION_KEY = NEW
    assert plain(orch) == SECRETS
    assert orch.updated_at == updated_at
    assert AuditEntry.objects.get(action="encryption.rotate").after == {"rows": 1}
    assert CANARY not in said


def test_an_interrupted_rotation_goes_on_where_it_stopped(
    acme: Organization, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "BATCH", 2)
    rows = [
        instances.create(f"orch-{number}", organization=acme, acting_user=None, redis_url=f"redis://:{number}@r")
        for number in range(5)
    ]
    settings.ENCRYPTION_KEY = f"{NEW},{OLD}"

    def stop(text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotation.rotate(stop)
    assert sorted(rotation.survey().by_key.values()) == [2, 3]
    assert rotation.rotate(lambda text: None) == 3
    assert rotation.rotate(lambda text: None) == 0
    settings.ENCRYPTION_KEY = NEW
    assert [sealed.read(Instance.objects.get(pk=row.pk), "redis_url") for row in rows] == [
        f"redis://:{number}@r" for number in range(5)
    ]


def test_rotation_says_what_it_cannot_read_and_keeps_the_key(orch: Instance, settings: Any, capsys: Any) -> None:
    settings.ENCRYPTION_KEY = NEW
    with pytest.raises(CommandError, match="4 of the columns cannot be read; drop no key"):
        call_command("rotate_encryption_key")
    assert f"orchestrator_instances {orch.pk} redis_url" in capsys.readouterr().err
    settings.ENCRYPTION_KEY = OLD
    assert plain(orch) == SECRETS


def test_the_migration_seals_what_the_previous_release_stored(orch: Instance) -> None:
    with connection.cursor() as cursor:
        values = [json.dumps(value) if isinstance(value, dict) else value for value in SECRETS.values()]
        change = ", ".join(f"{name} = %s" for name in SECRETS)
        cursor.execute(f"UPDATE orchestrator_instances SET {change} WHERE id = %s", [*values, orch.pk])
    assert CANARY in columns(orch)
    migration = import_module("orchestrators.migrations.0004_seal_existing_rows")
    for _ in range(2):
        migration.seal_rows(apps, None)
        assert CANARY not in columns(orch)
        assert plain(orch) == SECRETS


# --- the canary, in a real installation -------------------------------------------------------------------------------


@pytest.fixture
def live(world: World, django_db_blocker: Any) -> Iterator[Live]:
    keys = {"ENCRYPTION_KEY": OLD, "LOG_LEVEL": "DEBUG"}
    with running(world, django_db_blocker, keys) as found:
        yield found


def dump(world: World, installation: Installation) -> bytes:
    """Return everything in the database, as bytes."""
    if world.engine == "sqlite":
        path = Path(installation.env["DATABASE_URL"].removeprefix("sqlite:///"))
        return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        texts = []
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT t::text FROM "{table}" t')
            texts.append(str(cursor.fetchall()))
        return "\n".join(texts).encode()


@pytest.mark.services
def test_a_canary_secret_is_found_nowhere(
    world: World, live: Live, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.ENCRYPTION_KEY = OLD
    caplog.set_level(logging.DEBUG)
    organization = live.organization("acme")
    row = instances.create("canary", organization=organization, acting_user=None, **SECRETS)
    instances.update(
        row, acting_user=None, environment_variables={"B": f"{CANARY}-2"}, redis_url=f"redis://:{CANARY}@b"
    )
    for path in ("orchestrators", "orchestrators/canary", "orchestrators/live"):
        status, body = live.call("GET", f"/api/v1/controller/{path}")
        assert status == 200
        assert CANARY not in json.dumps(body)
    live.installation.manage("fleet_status")
    stored = dump(world, live.installation)
    assert b"canary" in stored
    assert CANARY.encode() not in stored
    assert CANARY not in caplog.text
    for file in live.installation.data_dir.rglob("*"):
        assert not file.is_file() or CANARY.encode() not in file.read_bytes(), file
