"""What one pytest run tests against: SQLite and memory, or a real PostgreSQL and Redis.

`MOOLAI_TEST_ON=sqlite|postgres` chooses. The first process of a run starts the servers and says where they are in
environment variables; the workers of pytest-xdist inherit those, and take a Redis database and a channel prefix each.
Runs before Django's settings are loaded, so it must not import them.
"""

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from moolai.testing.databases import APP_USER, Databases
from moolai.testing.postgres import Postgres
from moolai.testing.processes import ProcessError, free_port
from moolai.testing.product import PROJECT, Installation, copy_sqlite, manage
from moolai.testing.redis import Redis

CHOICE, BASE, POSTGRES, REDIS = "MOOLAI_TEST_ON", "MOOLAI_TEST_BASE", "MOOLAI_TEST_POSTGRES", "MOOLAI_TEST_REDIS"
TEMPLATE = "product_template"
LIMITS = ("API", "TASKS_CREATE", "TASKS_READ", "TASKS_UPDATE", "EVENTS", "APPROVALS", "STATS")
FIRST_INSTALLATION_DATABASE = 32  # Redis databases 0–31 belong to the workers' own tests.


class World:
    """The servers and directories of one pytest process; `env` is what the product's settings read."""

    def __init__(self, *, engine: str, base: Path, worker: str, postgres_url: str, redis_url: str) -> None:
        """Take the engine (`sqlite` or `postgres`), the run's directory, and where the servers are."""
        self.engine = engine
        self.base = base
        self.worker = worker
        self.directory = base / worker
        self.postgres_url = postgres_url
        self.redis_url = redis_url
        self.installations = 0

    @property
    def env(self) -> dict[str, str]:
        """The environment of this process's own Django."""
        number = int(self.worker.removeprefix("gw")) if self.worker.startswith("gw") else 31
        return {
            "DJANGO_SETTINGS_MODULE": "moolai.settings",
            "ENVIRONMENT": "development",
            "DATA_DIR": str(self.directory),
            "DATABASE_URL": self.database_url("moolai"),
            "REDIS_URL": f"{self.redis_url}/{number % 32}" if self.redis_url else "",
            "MOOLAI_CHANNEL_PREFIX": f"test-{self.worker}",
            "HOST": "127.0.0.1",
            "PORT": "8000",
            "LOG_FORMAT": "json",
            **{f"RATE_LIMIT_{name}": "1000000/minute" for name in LIMITS},
        }

    def database_url(self, name: str) -> str:
        """Return the URL of a database of this engine, whether it is there or not."""
        if self.engine == "sqlite":
            return f"sqlite:///{self.directory / name}.sqlite3"
        return self.postgres_url.replace("//postgres:", f"//{APP_USER}:").removesuffix("/postgres") + f"/{name}"

    def name_of(self, database_url: str) -> str:
        """Return what Django calls the database of a URL: a path, or a name on the server."""
        if self.engine == "sqlite":
            return database_url.removeprefix("sqlite:///")
        return database_url.rpartition("/")[2]

    def describe(self) -> str:
        """Return one line that names the servers and their versions."""
        if self.engine == "sqlite":
            return "SQLite, in-process channel layer, filesystem broker"
        version = Databases(self.postgres_url).query("SHOW server_version")[0][0]
        return f"PostgreSQL {version}, Redis at {self.redis_url}"

    @contextmanager
    def installation(self, env: dict[str, str] | None = None) -> Iterator[Installation]:
        """Give an installation of the product with a migrated database of its own on this engine."""
        self.installations += 1
        name = f"installation_{self.worker}_{self.installations}"
        database_url = self.new_database(name)
        number = FIRST_INSTALLATION_DATABASE + self.installations % 32
        redis_url = f"{self.redis_url}/{number}" if self.redis_url else ""
        installation = Installation(
            data_dir=self.directory / name, database_url=database_url, redis_url=redis_url, env=env
        )
        try:
            yield installation
        finally:
            installation.close()
            if self.engine == "postgres":
                Databases(self.postgres_url).drop(name)

    def new_database(self, name: str) -> str:
        """Make a migrated database, a copy of one that the run migrates once; return its URL."""
        with _locked(self.base / "template.lock"):
            self._make_template()
            if self.engine == "sqlite":
                return copy_sqlite(self._sqlite_template, self.directory / f"{name}.sqlite3")
            Databases(self.postgres_url).create(name, template=TEMPLATE)
            return self.database_url(name)

    def make_template(self) -> None:
        """Migrate the database that the others are copies of, unless that is done."""
        with _locked(self.base / "template.lock"):
            self._make_template()

    def _make_template(self) -> None:
        if self.engine == "sqlite":
            self._make_sqlite_template()
            return
        databases = Databases(self.postgres_url)
        if not databases.has(TEMPLATE):
            databases.drop(f"{TEMPLATE}_new")  # left by a migration that failed
            databases.create(f"{TEMPLATE}_new")
            self._migrate(self.database_url(f"{TEMPLATE}_new"))
            databases.query("ALTER DATABASE product_template_new RENAME TO product_template")

    @property
    def _sqlite_template(self) -> Path:
        return self.base / f"{TEMPLATE}.sqlite3"

    def _make_sqlite_template(self) -> None:
        path = self._sqlite_template
        if not path.exists():
            unfinished = path.with_name(f"unfinished-{free_port()}.sqlite3")
            self._migrate(f"sqlite:///{unfinished}")
            copy_sqlite(unfinished, path)

    def _migrate(self, database_url: str) -> None:
        directory = self.base / "migrating"
        manage("migrate", "--verbosity", "0", env={"DATABASE_URL": database_url, "DATA_DIR": str(directory)})


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that the workers of one run share."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _start_servers(stack: ExitStack) -> dict[str, str]:
    """Make the run's directory and start what the chosen engine needs; return the variables that say where."""
    engine = os.environ.get(CHOICE, "sqlite")
    if engine not in ("sqlite", "postgres"):
        raise ProcessError(f"{CHOICE} is {engine!r}: set it to sqlite or postgres")
    base = tempfile.mkdtemp(prefix="moolai-tests-")
    stack.callback(shutil.rmtree, base, ignore_errors=True)
    found = {CHOICE: engine, BASE: base, POSTGRES: "", REDIS: ""}
    if engine == "postgres":
        server = stack.enter_context(Postgres(fsync=False, synchronous_commit="off", max_connections=300))
        found |= {POSTGRES: server.databases.admin_url}
        found |= {REDIS: stack.enter_context(Redis()).url().removesuffix("/0")}
    return found


def _ignore_dotenv() -> None:
    """Keep the developer's `.env` out: a variable that is set, if only to nothing, beats the file."""
    path = PROJECT / ".env"
    for line in path.read_text().splitlines() if path.exists() else []:
        name, separator, _ = line.removeprefix("export ").partition("=")
        if separator and not name.startswith("#"):
            os.environ.setdefault(name.strip(), "")


def enter(stack: ExitStack) -> World:
    """Prepare the environment of this pytest process; `stack` undoes it. Call it before Django's settings load.

    Idempotent over a run: a pytest-xdist worker finds what the first process started.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    if worker == "main":
        atexit.register(stack.close)  # In case pytest ends without saying so.
        os.environ.update(_start_servers(stack))
    world = World(
        engine=os.environ[CHOICE],
        base=Path(os.environ[BASE]),
        worker=worker,
        postgres_url=os.environ[POSTGRES],
        redis_url=os.environ[REDIS],
    )
    (world.directory / "static").mkdir(parents=True, exist_ok=True)
    _ignore_dotenv()
    os.environ.update(world.env)
    return world
