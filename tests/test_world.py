"""The test world itself: servers that can be stopped, killed and frozen, and a network that can be bad."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from moolai.testing import again, choice, totals
from moolai.testing.databases import Databases
from moolai.testing.postgres import Postgres
from moolai.testing.postgres_wheel import is_reachable, open_directory
from moolai.testing.processes import Process, ProcessError, wait_until
from moolai.testing.product import PROJECT, CommandError, ServerProcess, manage
from moolai.testing.proxy import Proxy
from moolai.testing.redis import Redis
from moolai.testing.world import World

SLEEP = [sys.executable, "-c", "import time; print('awake', flush=True); time.sleep(600)"]


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """A database with one committed row."""
    url = postgres.create_database("ledger")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE entries (id int PRIMARY KEY)")
        connection.execute("INSERT INTO entries VALUES (1)")
    yield url
    postgres.resume()
    if not postgres.is_running:
        postgres.start()
    postgres.databases.drop("ledger")


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Process]:
    """A process that does nothing for ten minutes."""
    process = Process(SLEEP, log_path=tmp_path / "sleeper.log")
    process.spawn()
    process.wait_ready(lambda: "awake" in process.output(), timeout_seconds=10)
    yield process
    process.kill()


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A server that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def echo(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(4096):
                    connection.sendall(data)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


def rows(url: str) -> int:
    with psycopg.connect(url, connect_timeout=5) as connection:
        row = connection.execute("SELECT count(*) FROM entries").fetchone()
    assert row is not None
    return int(row[0])


def fill(client: redis.Redis) -> None:
    for number in range(10):
        client.set(f"key-{number}", b"x" * 500_000)


# --- PostgreSQL --------------------------------------------------------------------------------------------------


@pytest.mark.once
def test_postgresql_is_18_and_durable_unless_told_otherwise(postgres: Postgres) -> None:
    settings = {name: postgres.databases.query(f"SHOW {name}")[0][0] for name in ("fsync", "synchronous_commit")}
    assert settings == {"fsync": "on", "synchronous_commit": "on"}
    assert str(postgres.databases.query("SHOW server_version")[0][0]).startswith("18.")


@pytest.mark.once
def test_postgresql_runs_without_root_and_listens_on_loopback_only(postgres: Postgres) -> None:
    process = psutil.Process(postgres.process.pid)
    assert process.uids().effective != 0
    assert {item.laddr.ip for item in process.net_connections() if item.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


@pytest.mark.once
def test_the_application_role_is_no_superuser_and_needs_the_password(postgres: Postgres, database: str) -> None:
    with psycopg.connect(database) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("CREATE ROLE other SUPERUSER")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(database.replace(postgres.password, "wrong"))


@pytest.mark.once
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restarted_postgresql_keeps_port_and_rows(postgres: Postgres, database: str, mode: str) -> None:
    port = postgres.port
    postgres.stop(mode=mode)  # type: ignore[arg-type]
    assert not postgres.is_running
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(database, connect_timeout=1)
    postgres.start()
    assert (postgres.port, rows(database)) == (port, 1)


@pytest.mark.once
def test_a_killed_postgresql_leaves_no_backend_and_recovers(postgres: Postgres, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("INSERT INTO entries VALUES (2)")
        backends = postgres.process.family()
        postgres.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert not any(backend.is_running() and backend.status() != psutil.STATUS_ZOMBIE for backend in backends)
    postgres.start()
    assert rows(database) == 2


@pytest.mark.once
def test_a_paused_postgresql_hangs_and_goes_on(postgres: Postgres, database: str) -> None:
    answers: list[int] = []
    with psycopg.connect(database) as connection:
        postgres.pause()
        thread = threading.Thread(target=lambda: answers.append(connection.execute("SELECT 7").fetchone()[0]))  # type: ignore[index]
        thread.start()
        thread.join(0.5)
        assert answers == []
        postgres.resume()
        thread.join(10)
    assert answers == [7]


@pytest.mark.once
def test_a_database_can_be_copied_from_a_template_and_dropped(postgres: Postgres, database: str) -> None:
    copy = postgres.create_database("ledger_copy", template="ledger")
    assert rows(copy) == 1
    with psycopg.connect(copy) as connection:
        connection.execute("DELETE FROM entries")
    assert (rows(copy), rows(database)) == (0, 1)
    postgres.databases.drop("ledger_copy")
    assert not postgres.databases.has("ledger_copy")


def test_a_data_directory_outlives_its_server() -> None:
    with Postgres(fsync=False) as first:
        first.create_database("kept")
        first.stop()
        with Postgres(first.data_dir, fsync=False, password=first.password) as second:
            assert second.databases.has("kept")


@pytest.mark.once
def test_a_data_directory_may_be_named(tmp_path: Path) -> None:
    directory = open_directory("moolai-named-") if os.geteuid() == 0 else tmp_path
    directory.chmod(0o755)
    with Postgres(directory / "data", fsync=False) as server:
        assert server.databases.has("postgres")
    assert (directory / "data" / "PG_VERSION").read_text().strip() == "18"
    shutil.rmtree(directory)


@pytest.mark.once
def test_a_directory_below_a_closed_one_is_not_reachable(tmp_path: Path) -> None:
    open_one, closed_one, stranger = open_directory("moolai-open-"), tmp_path, os.geteuid() + 1
    open_one.chmod(0o755)
    closed_one.chmod(0o700)
    assert is_reachable(open_one / "data", uid=stranger)
    assert not is_reachable(closed_one / "data", uid=stranger)
    assert is_reachable(closed_one / "data", uid=os.geteuid())
    open_one.rmdir()


# --- Redis -------------------------------------------------------------------------------------------------------


@pytest.mark.once
def test_redis_forgets_on_flush_and_on_restart(redis_server: Redis) -> None:
    with redis_server.client() as client:
        for forget in (redis_server.flush, redis_server.restart):
            client.set("key", "value")
            assert client.get("key") == b"value"
            forget()
            assert client.get("key") is None


@pytest.mark.once
def test_a_paused_redis_hangs_and_goes_on(redis_server: Redis) -> None:
    with redis.Redis(port=redis_server.port, socket_timeout=0.3, retry=Retry(NoBackoff(), 0)) as client:
        client.ping()
        redis_server.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        redis_server.resume()
        assert client.ping()


@pytest.mark.once
def test_a_stopped_redis_refuses_connections(redis_server: Redis) -> None:
    redis_server.stop()
    with redis_server.client() as client, pytest.raises(redis.ConnectionError):
        client.ping()


@pytest.mark.once
def test_redis_can_run_out_of_memory(redis_server: Redis) -> None:
    redis_server.configure("maxmemory", "1mb")
    redis_server.configure("maxmemory-policy", "noeviction")
    with redis_server.client() as client, pytest.raises(redis.OutOfMemoryError):
        fill(client)


# --- Processes ---------------------------------------------------------------------------------------------------


@pytest.mark.once
def test_a_process_dies_with_the_one_that_started_it(tmp_path: Path) -> None:
    program = (
        "import sys, os, signal\nfrom pathlib import Path\nfrom moolai.testing.processes import Process\n"
        f"child = Process({SLEEP!r}, log_path=Path({str(tmp_path / 'log')!r}))\nchild.spawn()\n"
        "child.wait_ready(lambda: 'awake' in child.output(), timeout_seconds=10)\n"
        "print(child.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    parent = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert parent.returncode == -signal.SIGKILL, parent.stderr
    assert wait_until(lambda: not psutil.pid_exists(int(parent.stdout)), timeout_seconds=5)


@pytest.mark.once
def test_a_process_that_dies_while_starting_says_why(tmp_path: Path) -> None:
    process = Process([sys.executable, "-c", "raise SystemExit('no such wheel')"], log_path=tmp_path / "log")
    process.spawn()
    with pytest.raises(ProcessError, match=r"ended with 1 while starting:\nno such wheel"):
        process.wait_ready(lambda: False, timeout_seconds=10)


@pytest.mark.once
def test_a_process_that_is_never_ready_is_told_apart(sleeper: Process) -> None:
    with pytest.raises(ProcessError, match=r"not ready within 0.1 s:\nawake"):
        sleeper.wait_ready(lambda: False, timeout_seconds=0.1)
    assert not sleeper.is_running


@pytest.mark.once
def test_a_process_is_not_started_twice(sleeper: Process) -> None:
    with pytest.raises(ProcessError, match="running already"):
        sleeper.spawn()


@pytest.mark.once
def test_a_process_ends_by_request_or_by_force_and_starts_again(sleeper: Process) -> None:
    assert sleeper.end(timeout_seconds=5) == -signal.SIGTERM
    sleeper.spawn()
    sleeper.kill()
    assert (sleeper.is_running, sleeper.exit_code) == (False, -signal.SIGKILL)
    assert sleeper.end() == -signal.SIGKILL


# --- The proxy ---------------------------------------------------------------------------------------------------


def talk(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    received = b""
    while len(received) < len(data):
        part = connection.recv(4096)
        if not part:
            break
        received += part
    return received


def connect(proxy: Proxy, timeout_seconds: float = 5) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=timeout_seconds)


@pytest.mark.once
@pytest.mark.parametrize("mode", ["pass", "slice"])
def test_the_proxy_forwards_both_ways(proxy: Callable[..., Proxy], echo_port: int, mode: str) -> None:
    data = os.urandom(20_000)
    with connect(proxy(echo_port, mode=mode)) as connection:
        assert talk(connection, data) == data


@pytest.mark.once
def test_the_proxy_delays_without_slowing_down(proxy: Callable[..., Proxy], echo_port: int) -> None:
    bad = proxy(echo_port, delay_ms=150)
    with connect(bad) as connection:
        started = time.monotonic()
        assert talk(connection, b"x" * 200_000) == b"x" * 200_000
        assert 0.3 <= time.monotonic() - started < 2


@pytest.mark.once
def test_the_proxy_resets_open_and_new_connections(proxy: Callable[..., Proxy], echo_port: int) -> None:
    bad = proxy(echo_port)
    with connect(bad) as connection:
        assert talk(connection, b"hello") == b"hello"
        bad.mode = "reset"
        bad.reset()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with pytest.raises(ConnectionResetError), connect(bad) as connection:
        talk(connection, b"again")
    bad.mode = "pass"
    with connect(bad) as connection:
        assert talk(connection, b"healed") == b"healed"


@pytest.mark.once
def test_the_proxy_swallows_everything_and_delivers_it_when_healed(proxy: Callable[..., Proxy], echo_port: int) -> None:
    bad = proxy(echo_port)
    with connect(bad, timeout_seconds=0.3) as connection:
        assert talk(connection, b"hello") == b"hello"
        bad.mode = "blackhole"
        connection.sendall(b"late")
        with pytest.raises(TimeoutError):
            connection.recv(1)
        bad.mode = "pass"
        connection.settimeout(5)
        assert connection.recv(16) == b"late"


# --- The product's processes --------------------------------------------------------------------------------------


def test_a_failing_command_says_why() -> None:
    with pytest.raises(CommandError, match="Unknown command: 'no_such_command'"):
        manage("no_such_command")


def test_this_process_tests_on_the_engine_it_says(world: World, db: None) -> None:
    from django.db import connection

    assert connection.vendor == {"sqlite": "sqlite", "postgres": "postgresql"}[world.engine]
    assert "test" in str(connection.settings_dict["NAME"])


@pytest.mark.services
def test_a_web_process_survives_being_killed(web: Callable[..., ServerProcess]) -> None:
    server = web()
    port = server.port
    server.kill()
    assert not server.is_healthy()
    server.start()
    assert server.is_healthy()
    assert server.port == port
    assert server.terminate() == 0


@pytest.mark.services
def test_each_installation_has_a_database_of_its_own(world: World, installation: Callable[..., object]) -> None:
    first, second = installation(), installation()
    urls = {item.env["DATABASE_URL"] for item in (first, second)}  # type: ignore[attr-defined]
    assert len(urls) == 2
    for item in (first, second):
        assert "[X]" in item.manage("showmigrations", "orchestrators").stdout  # type: ignore[attr-defined]
    if world.engine == "postgres":
        assert all(Databases(world.postgres_url).has(url.rpartition("/")[2]) for url in urls)


# --- Counting ----------------------------------------------------------------------------------------------------


@pytest.mark.once
def test_totals_add_up_over_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOOLAI_TEST_TOTALS", str(tmp_path / "totals"))
    totals.record("sqlite", {"passed": 3, "skipped": 1})
    totals.record("postgres", {"passed": 4, "failed": 2})
    assert [text.strip() for text in totals.report(tmp_path / "totals").splitlines()] == [
        "sqlite: 3 passed, 1 skipped",
        "postgres: 4 passed, 2 failed",
        "total: 7 passed, 2 failed, 1 skipped",
    ]


@pytest.mark.once
def test_what_ran_again_counts_once_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOOLAI_TEST_TOTALS", str(tmp_path / "totals"))
    totals.record("sqlite", {"passed": 3, "failed": 1, "error": 1}, ["a.py::one", "a.py::two"])
    totals.record("sqlite", {"passed": 1, "failed": 1}, ["a.py::two"])
    totals.record("postgres", {"passed": 4})
    assert [text.strip() for text in totals.report(tmp_path / "totals").splitlines()] == [
        "sqlite: 3 passed, 1 failed, 1 error",
        "again: 1 passed, 1 failed",
        "postgres: 4 passed",
        "total: 8 passed, 1 failed",
        "failed beside others, passed alone: a.py::one (sqlite; the first failure is above)",
        "failed beside others, and again alone: a.py::two (sqlite; the first failure is above)",
    ]


COUNTING = """
from moolai.testing import totals

def pytest_terminal_summary(terminalreporter):
    found = terminalreporter.stats
    failed = {report.nodeid for name in ("failed", "error") for report in found.get(name, [])}
    totals.record("sqlite", {name: len(found.get(name, [])) for name in totals.OUTCOMES}, failed)
"""
UNSTEADY = """
import pytest
from pathlib import Path

def is_first(word):
    seen = Path(__file__).with_name("seen")
    before = seen.read_text().split() if seen.exists() else []
    seen.write_text(" ".join([*before, word]))
    return word not in before

@pytest.mark.parametrize("word", ["a", "a::b[c]-d/e", "f", "g"])
def test_first(word):
    assert not is_first(word)

def test_good():
    pass

def test_bad():
    raise AssertionError

def test_then_skipped():
    if not is_first("skipped"):
        pytest.skip("gone")
    raise AssertionError
"""


@pytest.mark.once
@pytest.mark.parametrize(
    ("chosen", "code", "said"),
    [
        ("good", 0, ["1 passed", "1 passed"]),
        ("good first[a] first[a::b[c]-d/e] first[f]", 0, ["1 passed, 3 failed", "3 passed", "4 passed"]),
        ("good first", 1, ["1 passed, 4 failed", "1 passed, 4 failed"]),
        ("good bad", 1, ["1 passed, 1 failed", "1 failed", "1 passed, 1 failed"]),
        ("good bad first[a]", 1, ["1 passed, 2 failed", "1 passed, 1 failed", "2 passed, 1 failed"]),
        ("good then_skipped", 1, ["1 passed, 1 failed", "1 skipped", "1 passed, 1 skipped"]),
    ],
)
def test_at_most_three_that_failed_run_again_and_have_to_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str, code: int, said: list[str]
) -> None:
    for name, value in (
        ("PYTHONPATH", str(PROJECT)), ("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1"), ("MOOLAI_TEST_TOTALS", "totals")
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conftest.py").write_text(COUNTING)
    (tmp_path / "test_unsteady.py").write_text(UNSTEADY)
    (tmp_path / "pytest.ini").touch()
    names = [f"test_unsteady.py::test_{name}" for name in chosen.split()]
    first = subprocess.run([sys.executable, "-m", "pytest", *names], check=False)
    assert again.main(Path("totals"), first.returncode) == code
    found = [text.partition(": ")[2] for text in totals.report(Path("totals")).splitlines() if "beside" not in text]
    assert found == said
    assert again.main(Path("totals"), pytest.ExitCode.INTERRUPTED) == pytest.ExitCode.INTERRUPTED


@pytest.mark.once
@pytest.mark.parametrize(
    ("mark", "expected"),
    [
        ("pytestmark = pytest.mark.once", "sqlite"),
        ('pytestmark = [pytest.mark.once("postgres"), pytest.mark.django_db]', "postgres"),
        ("pytestmark = [pytest.mark.django_db, pytest.mark.once]", "sqlite"),
        ("pytestmark = pytest.mark.django_db\n\n\n@pytest.mark.once\ndef test_one(): ...", None),
    ],
)
def test_a_file_belongs_to_a_world_by_the_mark_of_its_module_alone(
    tmp_path: Path, mark: str, expected: str | None
) -> None:
    path = tmp_path / "test_some.py"
    path.write_text(f"import pytest\n\n{mark}\n")
    assert choice.world_of(path) == expected
