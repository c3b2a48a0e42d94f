"""Settings: what the environment means, without reading the code that parses it."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from moolai.testing.product import PROJECT

pytestmark = pytest.mark.once
READ = """
import json, sys
from moolai import settings
print(json.dumps({name: getattr(settings, name) for name in sys.argv[1:]}, default=str))
"""


def read(*names: str, data_dir: Path, **env: str) -> dict[str, Any]:
    """Return settings as a fresh process with exactly this environment sees them."""
    base = {"PATH": os.defpath, "PYTHONPATH": str(PROJECT), "DATA_DIR": str(data_dir)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", READ, *names],
        cwd=data_dir,
        env=base | env,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(autouse=True)
def _no_dotenv() -> None:
    if (PROJECT / ".env").exists():
        pytest.skip("there is a .env beside manage.py, which these settings would read")


def database(tmp_path: Path, **env: str) -> dict[str, Any]:
    found: dict[str, Any] = read("DATABASES", data_dir=tmp_path, **env)["DATABASES"]["default"]
    return found


def test_without_an_environment_it_is_safe_development_on_loopback(tmp_path: Path) -> None:
    names = ("ENVIRONMENT", "DEBUG", "HOST", "PORT", "REDIS_URL", "DEV_BEARER_TOKEN", "ALLOW_ANONYMOUS_REGISTRATION")
    assert read(*names, data_dir=tmp_path) == {
        "ENVIRONMENT": "development", "DEBUG": False, "HOST": "127.0.0.1", "PORT": 8000, "REDIS_URL": "",
        "DEV_BEARER_TOKEN": "", "ALLOW_ANONYMOUS_REGISTRATION": False,
    }  # fmt: skip


def test_the_default_database_is_sqlite_in_the_data_directory(tmp_path: Path) -> None:
    found = database(tmp_path)
    assert found["ENGINE"].endswith("sqlite3")
    assert found["NAME"] == str(tmp_path / "moolai.sqlite3")
    assert "journal_mode=WAL" in found["OPTIONS"]["init_command"]
    assert found["OPTIONS"]["transaction_mode"] == "IMMEDIATE"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+asyncpg", "postgres+x"])
def test_a_driver_in_the_url_is_ignored(tmp_path: Path, scheme: str) -> None:
    found = database(tmp_path, DATABASE_URL=f"{scheme}://u:p%40ss@db.example:6543/fleet")
    assert found["ENGINE"].endswith("postgresql")
    assert (found["USER"], found["PASSWORD"], found["HOST"], found["PORT"], found["NAME"]) == (
        "u", "p@ss", "db.example", 6543, "fleet",
    )  # fmt: skip
    assert found["CONN_MAX_AGE"] == 0
    assert found["OPTIONS"]["pool"]["max_size"] == 10
    assert "statement_timeout" in found["OPTIONS"]["options"]


@pytest.mark.parametrize("url", ["sqlite:///other.sqlite3", "sqlite+aiosqlite:///other.sqlite3"])
def test_a_relative_sqlite_file_is_in_the_data_directory(tmp_path: Path, url: str) -> None:
    assert database(tmp_path, DATABASE_URL=url)["NAME"] == str(tmp_path / "other.sqlite3")


def test_an_absolute_sqlite_file_is_where_it_says(tmp_path: Path) -> None:
    assert database(tmp_path, DATABASE_URL="sqlite:////var/tmp/x.sqlite3")["NAME"] == "/var/tmp/x.sqlite3"


def test_a_database_in_parts_may_have_any_password(tmp_path: Path) -> None:
    password = "p@ss:w/ord#?%41"
    found = database(
        tmp_path,
        DATABASE_HOST="db",
        DATABASE_USER="us er",
        DATABASE_PASSWORD=password,
        DATABASE_NAME="fleet",
        DATABASE_PORT="6543",
    )
    assert (found["USER"], found["PASSWORD"], found["HOST"], found["PORT"], found["NAME"]) == (
        "us er", password, "db", 6543, "fleet",
    )  # fmt: skip


def test_parts_have_defaults_and_the_url_beats_them(tmp_path: Path) -> None:
    found = database(tmp_path, DATABASE_HOST="db")
    assert (found["USER"], found["HOST"], found["PORT"], found["NAME"]) == ("moolai", "db", 5432, "moolai")
    assert database(tmp_path, DATABASE_HOST="db", DATABASE_URL="sqlite:///x")["ENGINE"].endswith("sqlite3")


def test_the_older_names_are_read_where_the_newer_are_unset(tmp_path: Path) -> None:
    older = {"CONTROLLER_HOST": "127.0.0.2", "CONTROLLER_PORT": "9001", "CONTROLLER_DATABASE_URL": "sqlite:///old.db"}
    found = read("HOST", "PORT", "DATABASES", data_dir=tmp_path, **older)
    assert (found["HOST"], found["PORT"]) == ("127.0.0.2", 9001)
    assert found["DATABASES"]["default"]["NAME"].endswith("/old.db")
    newer = {"HOST": "127.0.0.3", "PORT": "9002", "DATABASE_URL": "sqlite:///new.db"}
    found = read("HOST", "PORT", "DATABASES", data_dir=tmp_path, **older, **newer)
    assert (found["HOST"], found["PORT"]) == ("127.0.0.3", 9002)
    assert found["DATABASES"]["default"]["NAME"].endswith("/new.db")


def test_an_empty_variable_counts_as_unset(tmp_path: Path) -> None:
    found = read("PORT", "DEBUG", "ENVIRONMENT", data_dir=tmp_path, PORT="", DEBUG="", ENVIRONMENT=" ")
    assert found == {"PORT": 8000, "DEBUG": False, "ENVIRONMENT": "development"}


def test_metrics_have_their_own_database_when_asked(tmp_path: Path) -> None:
    assert set(read("DATABASES", data_dir=tmp_path)["DATABASES"]) == {"default"}
    found = read("DATABASES", data_dir=tmp_path, MONITORING_DATABASE_URL="sqlite:///metrics.sqlite3")["DATABASES"]
    assert found["monitoring"]["NAME"] == str(tmp_path / "metrics.sqlite3")


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("true", True), ("Yes", True), ("on", True), ("false", False)]
)
def test_flags_are_read_in_words(tmp_path: Path, text: str, value: bool) -> None:
    assert read("DEBUG", data_dir=tmp_path, DEBUG=text)["DEBUG"] is value


def test_lists_are_separated_by_commas(tmp_path: Path) -> None:
    found = read("ALLOWED_HOSTS", data_dir=tmp_path, ALLOWED_HOSTS=" a.example, ,b.example,")
    assert found["ALLOWED_HOSTS"] == ["a.example", "b.example"]


def test_secrets_are_generated_once_private_and_stable(tmp_path: Path) -> None:
    first = read("SECRET_KEY", "ENCRYPTION_KEY", data_dir=tmp_path)
    assert first == read("SECRET_KEY", "ENCRYPTION_KEY", data_dir=tmp_path)
    assert all(len(secret) >= 50 for secret in first.values())
    assert first["SECRET_KEY"] != first["ENCRYPTION_KEY"]
    for name in ("secret_key", "encryption_key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    given = {"SECRET_KEY": "s" * 50, "ENCRYPTION_KEY": "e" * 32}
    assert read(*given, data_dir=tmp_path, **given) == given


def test_processes_that_start_together_agree_on_the_secret(tmp_path: Path) -> None:
    code = "from moolai import settings; print(settings.SECRET_KEY)"
    env = {"PATH": os.defpath, "PYTHONPATH": str(PROJECT), "DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    started = [subprocess.Popen(command, env=env, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    found = {process.communicate(timeout=60)[0] for process in started}
    assert len(found) == 1
    assert len(found.pop().strip()) >= 50


def test_production_generates_no_secrets(tmp_path: Path) -> None:
    found = read("SECRET_KEY", "ENCRYPTION_KEY", "ALLOWED_HOSTS", data_dir=tmp_path, ENVIRONMENT="production")
    assert found == {"SECRET_KEY": "missing", "ENCRYPTION_KEY": "", "ALLOWED_HOSTS": []}
    assert not (tmp_path / "secret_key").exists()


def test_production_sends_cookies_over_tls_only(tmp_path: Path) -> None:
    names = ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SESSION_COOKIE_HTTPONLY", "SECURE_SSL_REDIRECT")
    found = read(*names, "SECURE_HSTS_SECONDS", data_dir=tmp_path, ENVIRONMENT="production")
    assert all(found[name] is True for name in names)
    assert found["SECURE_HSTS_SECONDS"] >= 31_536_000


def test_two_instances_on_one_host_share_nothing(tmp_path: Path) -> None:
    names = ["SESSION_COOKIE_NAME", "CSRF_COOKIE_NAME", "SECRET_KEY", "DATABASES", "INDEPENDENCE_ENV_FILE"]
    names += ["INDEPENDENCE_JSON_FILE", "CELERY_BROKER_TRANSPORT_OPTIONS", "STATIC_ROOT"]
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = read(*names, data_dir=tmp_path / "one", PORT="8001")
    two = read(*names, data_dir=tmp_path / "two", PORT="8002")
    assert all(one[name] != two[name] for name in names)
    assert str(tmp_path / "two") not in str(one)


def test_two_instances_share_one_redis_by_prefix(tmp_path: Path) -> None:
    names = ("CHANNEL_LAYERS", "CELERY_BROKER_TRANSPORT_OPTIONS", "CELERY_BROKER_URL")
    found = read(*names, data_dir=tmp_path, REDIS_URL="redis://127.0.0.1:1/0", MOOLAI_CHANNEL_PREFIX="blue")
    assert found["CHANNEL_LAYERS"]["default"]["CONFIG"]["prefix"] == "blue"
    assert found["CELERY_BROKER_TRANSPORT_OPTIONS"]["global_keyprefix"] == "blue.celery."
    assert found["CELERY_BROKER_URL"] == "redis://127.0.0.1:1/0"


@pytest.mark.parametrize(("ttl", "interval"), [("120", 30), ("8", 2), ("2", 1), ("3600", 30)])
def test_the_heartbeat_interval_follows_the_ttl(tmp_path: Path, ttl: str, interval: int) -> None:
    found = read("HEARTBEAT_INTERVAL_SEC", data_dir=tmp_path, HEARTBEAT_TTL_SEC=ttl)
    assert found["HEARTBEAT_INTERVAL_SEC"] == interval
