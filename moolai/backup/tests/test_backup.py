"""The drill: fill, back up, restore into an empty database, compare every row, verify the trail, serve from it."""

import json
import sqlite3
import stat
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.utils import timezone
from psycopg import sql

from moolai import backup
from moolai.backup import archive, stream, tables
from moolai.testing.databases import Databases
from moolai.testing.product import Installation
from moolai.testing.world import World
from orchestrators import independence, instances, messages
from orchestrators.tests.live import DEV_TOKEN, Live, running
from orgs import keys, organizations
from orgs.models import Event

pytestmark = pytest.mark.services
KEY, OTHER = "backup-key-" + "k" * 32, "other-key-" + "o" * 32
CANARY = "cAnArY-b4c0"
VOLATILE = {"django_migrations", "sqlite_sequence", "django_session", "export_chunks"}
ENV = {"ENCRYPTION_KEY": KEY, "DEV_BEARER_TOKEN": DEV_TOKEN}
Make = Callable[..., Installation]
Rows = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
def live(world: World, django_db_blocker: Any, settings: Any) -> Iterator[Live]:
    settings.ENCRYPTION_KEY = KEY
    with running(world, django_db_blocker, ENV) as found:
        # What the rooms write beside the database belongs to this installation, too.
        settings.DATA_DIR = found.installation.data_dir
        settings.INDEPENDENCE_ENV_FILE = settings.DATA_DIR / "independence.env"
        settings.INDEPENDENCE_JSON_FILE = settings.DATA_DIR / "orchestrator_independence.json"
        yield found


@pytest.fixture
def vault_key(settings: Any) -> None:
    settings.ENCRYPTION_KEY = KEY


def fill(live: Live, *, messages_: int = 50) -> None:
    """Have a bit of everything: odd texts and JSON, secrets, an independent one, a session, a deleted one."""
    acme = organizations.create(
        "acme", name="Ácme «ü» 🔑", acting_user=None, settings={"a": [1, 1.5, None, {"b": "\n"}]}
    )
    organizations.create("globex", name="Globex", acting_user=None)
    row = instances.create(
        "orch-1", organization=acme, acting_user=None, database_url=f"postgres://u:{CANARY}@h/d",
        environment_variables={"KEY": CANARY}, features={"big": 2**62, "small": 1e-300, "whole": 1e16},
    )  # fmt: skip
    independence.set_instance("orch-1", is_independent=True, acting_user=None, reason="drill")
    keys.create(acme, name="k", acting_user=None, role="admin")
    for number in range(messages_):
        messages.queue("orch-1", message_type="order", content={"n": number, "t": "x\u2028\\N\t"}, acting_user=None)
    instances.delete(instances.create("gone", organization=acme, acting_user=None), acting_user=None)
    peer = live.register("orch-2")
    peer.send({"type": "monitoring", "message_id": "m-1", "metrics": {"cpu_usage_percent": 12.5, "own": 1}})
    peer.take("ack")
    live.hang_up()
    assert row.pk


def stored(url: str) -> Rows:
    """Return every row of every table, as the database itself tells it."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            found = {name: sorted(database.execute(f'SELECT * FROM "{name}"').fetchall(), key=str) for name in names}
    else:
        with psycopg.connect(url) as connection:
            query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            names = [str(name) for (name,) in connection.execute(query)]
            found = {}
            for name in names:
                statement = sql.SQL("SELECT * FROM {}").format(sql.Identifier(name))
                found[name] = sorted(connection.execute(statement).fetchall(), key=str)
    return {name: rows for name, rows in found.items() if name not in VOLATILE}


def new_rows(before: Rows, after: Rows) -> dict[str, list[tuple[Any, ...]]]:
    assert set(before) == set(after)
    for name, rows in before.items():
        lost = [row for row in rows if row not in after[name]]
        assert name == "audit_heads" or lost == [], name
    return {
        name: [row for row in rows if row not in before[name]] for name, rows in after.items() if rows != before[name]
    }


def the_backup(directory: Path) -> Path:
    [path] = directory.glob("moolai-*.backup")
    return path


def get(port: str, path: str) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {DEV_TOKEN}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def test_the_drill(live: Live, installation: Make, tmp_path: Path) -> None:
    fill(live)
    live.server.terminate()
    said = live.installation.manage("backup", str(tmp_path))
    assert "keep ENCRYPTION_KEY and SECRET_KEY elsewhere" in said.stdout
    path = the_backup(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    assert CANARY.encode() not in path.read_bytes()
    before = stored(live.installation.env["DATABASE_URL"])
    assert all(before[name] for name in ("audit_log", "events", "orchestrator_messages", "user_system_performance"))

    empty = installation(ENV)
    said = empty.manage("restore", str(path))
    assert "the audit trail is intact" in said.stdout
    after = stored(empty.env["DATABASE_URL"])
    added = new_rows(before, after)
    assert set(added) == {"audit_log", "audit_heads"}
    assert [row for row in added["audit_log"] if "backup.restore" in row] == added["audit_log"]
    assert len(added["audit_log"]) == 1

    assert "is intact" in empty.manage("verify_audit").stdout
    heads = json.loads((empty.data_dir / "audit_heads.json").read_text())
    assert heads["acme"] == json.loads((live.installation.data_dir / "audit_heads.json").read_text())["acme"]
    assert "ORCHESTRATOR_ORCH_1_INDEPENDENT=true\n" in (empty.data_dir / "independence.env").read_text()
    refuse_edits(empty.env["DATABASE_URL"])

    empty.serve()
    rows = {
        row["orchestrator_id"]: row
        for row in get(empty.env["PORT"], "/api/v1/controller/orchestrators")["data"]["items"]
    }
    assert rows["orch-1"]["database_url"] == "postgres://u:***@h/d"
    assert rows["orch-1"]["is_independent"]
    made = empty.manage("send_message", "orch-1", "again")  # ids go on after the restored ones
    assert "pending" in made.stdout
    assert "Verified: 2 secrets open" in empty.manage("rotate_encryption_key", "--check").stdout


def refuse_edits(url: str) -> None:
    """The audit trail's triggers are back."""
    statement = "DELETE FROM audit_log"
    if url.startswith("sqlite"):
        database = sqlite3.connect(url.removeprefix("sqlite:///"))
        with closing(database), pytest.raises(sqlite3.IntegrityError, match="append-only"):
            database.execute(statement)
    else:
        with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            connection.execute(statement)


@pytest.mark.once("postgres")
def test_a_backup_while_everything_runs_is_of_one_moment(
    live: Live, installation: Make, tmp_path: Path, vault_key: None
) -> None:
    fill(live, messages_=300)
    peers = [live.register(f"busy-{number}") for number in range(5)]
    for number in range(100):
        peers[number % 5].send({"type": "monitoring", "message_id": f"b-{number}", "metrics": {"cpu_usage_percent": 1}})
    live.installation.manage("backup", str(tmp_path / "one.backup"))
    assert peers[0].is_open()
    found = backup.inspect(tmp_path / "one.backup")
    assert found.tables["orchestrator_messages"].rows >= 300
    empty = installation(ENV)
    assert "is intact" in empty.manage("restore", str(tmp_path / "one.backup")).stdout


@pytest.mark.once
def test_a_database_that_holds_something_is_refused_without_force(
    live: Live, installation: Make, tmp_path: Path
) -> None:
    fill(live)
    live.installation.manage("backup", str(tmp_path))
    path = the_backup(tmp_path)
    refused = live.installation.manage("restore", str(path), "--force", check=False)
    assert "uses this database; stop everything" in refused.stderr
    other = installation(ENV)
    other.manage("create_organization", "mine")
    before = stored(other.env["DATABASE_URL"])
    refused = other.manage("restore", str(path), check=False)
    assert refused.returncode != 0
    assert "not empty (1 organizations, 1 audit trail); --force" in refused.stderr
    assert stored(other.env["DATABASE_URL"]) == before
    other.manage("restore", str(path), "--force")
    assert "is intact" in other.manage("verify_audit").stdout
    names = {row[0] for row in stored(other.env["DATABASE_URL"])["organizations"]}
    assert "acme" in names
    assert "mine" not in names
    assert stored(other.env["DATABASE_URL"])["audit_log"][-1]


@pytest.mark.once("postgres")
def test_a_backup_goes_into_the_other_kind_of_database_and_a_brand_new_one(
    live: Live, world: World, tmp_path: Path, vault_key: None, request: pytest.FixtureRequest
) -> None:
    fill(live)
    live.server.terminate()
    first, second = tmp_path / "first.backup", tmp_path / "second.backup"
    live.installation.manage("backup", str(first))
    with another_database(world, tmp_path, request) as url:
        other = Installation(data_dir=tmp_path / "other", database_url=url, env=ENV)
        said = other.manage("restore", str(first)).stdout
        assert "migrating the empty database default" in said
        other.manage("backup", str(second))
    one, two = backup.inspect(first), backup.inspect(second)
    assert set(one.tables) == set(two.tables)
    before, after = content(first), content(second)
    assert {name for name in before if before[name] != after[name]} == {"audit_log", "audit_heads"}
    assert before["audit_log"] == after["audit_log"][: one.tables["audit_log"].rows]
    assert two.tables["audit_log"].rows == one.tables["audit_log"].rows + 1


def content(path: Path) -> dict[str, list[Any]]:
    """Return the rows in an archive by table; PostgreSQL reorders the keys in JSON and writes 1e16 as an integer."""
    found: dict[str, list[Any]] = {}
    for name, data in archive.members(path):
        if name.startswith("tables/"):
            found.setdefault(name.split("/")[1], []).extend(map(json.loads, data.splitlines()))
    return found


@contextmanager
def another_database(world: World, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Give an empty, unmigrated database: PostgreSQL for a run on SQLite, and the other way round."""
    if world.engine == "postgres":
        yield f"sqlite:///{tmp_path / 'other.sqlite3'}"
        return
    server = request.getfixturevalue("postgres")
    yield server.create_database("restored")
    server.databases.drop("restored")


@pytest.mark.once
def test_the_monitoring_database_is_in_it(live: Live, world: World, tmp_path: Path, vault_key: None) -> None:
    fill(live)
    live.server.terminate()
    live.installation.manage("backup", str(tmp_path / "one.backup"))
    wide = dict(ENV, MONITORING_DATABASE_URL=f"sqlite:///{tmp_path / 'monitoring.sqlite3'}")
    dual = Installation(data_dir=tmp_path / "dual", database_url=f"sqlite:///{tmp_path / 'd.sqlite3'}", env=wide)
    dual.manage("restore", str(tmp_path / "one.backup"))
    assert len(stored(wide["MONITORING_DATABASE_URL"])["user_system_performance"]) == 1
    assert "user_system_performance" not in stored(dual.env["DATABASE_URL"])
    dual.manage("backup", str(tmp_path / "two.backup"))
    one, two = (backup.inspect(tmp_path / f"{name}.backup") for name in ("one", "two"))
    part = "tables/user_system_performance/000001.jsonl"
    assert one.hashes[part] == two.hashes[part]


@pytest.mark.once("postgres")
def test_more_rows_than_one_part_holds_come_back(
    live: Live, installation: Make, tmp_path: Path, vault_key: None
) -> None:
    Event.objects.bulk_create(
        [Event(kind="many", organization_id="acme", data={"n": n}, created_at=timezone.now()) for n in range(12_000)],
        batch_size=1000,
    )
    live.server.terminate()
    live.installation.manage("backup", str(tmp_path / "one.backup"))
    assert len(backup.inspect(tmp_path / "one.backup").tables["events"].parts) == 3
    empty = installation(ENV)
    empty.manage("restore", str(tmp_path / "one.backup"))
    assert stored(empty.env["DATABASE_URL"])["events"] == stored(live.installation.env["DATABASE_URL"])["events"]


# --- what is not a good backup ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, bytes]]:
    """A small backup, and an empty installation to restore into."""
    directory = tmp_path_factory.mktemp("made")
    with world.installation(ENV) as source, world.installation(ENV) as target:
        source.manage("create_organization", "acme")
        source.manage("backup", str(directory / "good.backup"))
        yield target, (directory / "good.backup").read_bytes()


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut in half": (lambda data: data[: len(data) // 2], "cut off or changed"),
    "the last byte is missing": (lambda data: data[:-1], "cut off or changed"),
    "the header alone": (lambda data: b"".join(data.splitlines(keepends=True)[:2]), "cut off or changed"),
    "a bit in the middle": (lambda data: flipped(data, len(data) // 2), "cut off or changed"),
    "a bit in the length": (lambda data: flipped(data, data.index(b"}\n") + 2), "cut off or changed"),
    "a bit in the salt": (lambda data: flipped(data, data.index(b"salt") + 12), "changed"),
    "something behind": (lambda data: data + b"more", "cut off or changed"),
    "empty": (lambda data: b"", "no backup of moolai"),
    "another file": (lambda data: b"PK\x03\x04" + data, "no backup of moolai"),
    "a newer format": (lambda data: data.replace(b"backup 1", b"backup 2", 1), "a newer version"),
    "a foreign key": (lambda data: data.replace(b'"key_id": "', b'"key_id": "f', 1), "another ENCRYPTION_KEY"),
}


@pytest.mark.once
@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_archive_is_refused_with_one_sentence(
    made: tuple[Installation, bytes], tmp_path: Path, vault_key: None, how: str
) -> None:
    change, words = BROKEN[how]
    path = tmp_path / "broken.backup"
    path.write_bytes(change(made[1]))
    with pytest.raises(backup.BackupError) as caught:
        backup.inspect(path)
    assert words in str(caught.value)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


@pytest.mark.once
def test_a_refused_restore_leaves_the_database_alone(made: tuple[Installation, bytes], tmp_path: Path) -> None:
    target, data = made
    path = tmp_path / "broken.backup"
    path.write_bytes(data[:-40])
    before = stored(target.env["DATABASE_URL"])
    for option in ("--force", "--check"):
        refused = target.manage("restore", str(path), option, check=False)
        assert refused.returncode != 0
        assert refused.stderr.strip().count("\n") == 0
        assert "cut off or changed" in refused.stderr
    assert stored(target.env["DATABASE_URL"]) == before
    refused = target.manage("restore", str(tmp_path / "missing.backup"), check=False)
    assert "No such file" in refused.stderr


@pytest.mark.once
def test_another_encryption_key_is_refused_and_the_old_one_still_restores(
    made: tuple[Installation, bytes], tmp_path: Path, settings: Any
) -> None:
    path = tmp_path / "good.backup"
    path.write_bytes(made[1])
    settings.ENCRYPTION_KEY = OTHER
    with pytest.raises(backup.BackupError, match="another ENCRYPTION_KEY"):
        backup.inspect(path)
    settings.ENCRYPTION_KEY = f"{OTHER},{KEY}"
    assert backup.inspect(path).tables["organizations"].rows == 1


@pytest.mark.once
def test_another_schema_is_refused_by_name(
    made: tuple[Installation, bytes], tmp_path: Path, vault_key: None, world: World
) -> None:
    target, data = made
    path = tmp_path / "good.backup"
    path.write_bytes(data)
    add = "INSERT INTO django_migrations (app, name, applied) VALUES ('orgs', '9999_later', '2026-01-01')"
    drop = "DELETE FROM django_migrations WHERE name = '9999_later'"
    execute(world, target, add)
    try:
        refused = target.manage("restore", str(path), check=False)
        assert "another schema (orgs.9999_later differs)" in refused.stderr
    finally:
        execute(world, target, drop)


def execute(world: World, target: Installation, statement: str) -> None:
    url = target.env["DATABASE_URL"]
    if world.engine == "sqlite":
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database, database:
            database.execute(statement)
        return
    admin = Databases(world.postgres_url.removesuffix("/postgres") + "/" + url.rsplit("/", 1)[1])
    with psycopg.connect(admin.admin_url, autocommit=True) as connection:
        connection.execute(statement)


@pytest.mark.once
def test_a_backup_never_replaces_a_file_and_leaves_none_half_written(
    made: tuple[Installation, bytes], tmp_path: Path
) -> None:
    path = tmp_path / "mine.backup"
    path.write_text("mine")
    refused = made[0].manage("backup", str(path), check=False)
    assert "exists already" in refused.stderr
    assert path.read_text() == "mine"
    refused = made[0].manage("backup", str(tmp_path / "nowhere" / "x.backup"), check=False)
    assert "cannot be written: No such file or directory." in refused.stderr
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.once
@pytest.mark.parametrize("size", [0, 1, stream.CHUNK_BYTES, stream.CHUNK_BYTES + 1, 3 * stream.CHUNK_BYTES])
def test_a_stream_of_any_size_comes_back_and_chunks_cannot_be_rearranged(
    tmp_path: Path, vault_key: None, size: int
) -> None:
    path, text = tmp_path / "stream", bytes(range(256)) * (size // 256 + 1)
    with path.open("wb") as file:
        writer = stream.Writer(file)
        writer.write(text[:size])
        writer.finish()
    with path.open("rb") as file:
        assert stream.Reader(file).readall() == text[:size]
    if size < 3 * stream.CHUNK_BYTES:
        return
    data, step = path.read_bytes(), stream.CHUNK_BYTES + stream.TAG_BYTES + 4
    start = data.index(b"}\n") + 2
    chunks = [data[start + n * step : start + (n + 1) * step] for n in range(3)]
    for order in ([1, 0, 2], [0, 2], [0, 1], [0, 1, 2, 2], [0, 0, 1, 2]):
        path.write_bytes(data[:start] + b"".join(chunks[n] for n in order))
        with path.open("rb") as file, pytest.raises(backup.BackupError, match="cut off or changed"):
            stream.Reader(file).readall()


@pytest.mark.once
def test_every_table_of_the_product_is_backed_up() -> None:
    everything = {model._meta.db_table for model in apps.get_models(include_auto_created=True)}
    assert everything - set(tables.backed_up()) == {"django_session", "export_chunks"}
    assert archive.FORMAT == 1
