"""The stage: real servers of the product and of the baselines, each pinned to the server's core."""

import json
import os
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import psutil

from benchmarks.generator import Target, cores, on_core
from moolai.testing.postgres import Postgres
from moolai.testing.processes import Process, free_port
from moolai.testing.product import PROJECT, Installation, ServerProcess
from moolai.testing.redis import Redis

# The limiter stays in the path; a closed loop would otherwise measure nothing but its refusals.
UNLIMITED = {"WS_FRAMES_PER_SECOND": "1000000000", "WS_FRAMES_BURST": "1000000000"}
SETUP = """
import json
from orgs import keys
from orgs.models import Organization
organization, _ = Organization.objects.get_or_create(pk="bench", defaults={"name": "Benchmark"})
_, sockets = keys.create(organization, name="bench sockets", acting_user=None, scopes=["orchestrator"])
_, api = keys.create(organization, name="bench API", acting_user=None, role="admin")
print("KEYS", json.dumps([sockets, api]))
"""


@dataclass(frozen=True)
class Product:
    """An installation of the product with a web process on the server's core."""

    name: str
    installation: Installation
    server: ServerProcess
    secret: str
    api_secret: str

    def target(self, prefix: str = "bench") -> Target:
        """Return the target whose sockets register as `prefix`-00000 and so on."""
        return Target(self.server.port, self.server.pid, self.secret, prefix)


class Stage:
    """Everything that runs for a benchmark; leaving it ends all of it and removes its files."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="moolai-bench-")))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def at_end(self, work: Callable[[], object]) -> None:
        """Have something done when the stage is left."""
        self._stack.callback(work)

    @cached_property
    def postgres(self) -> Postgres:
        """The PostgreSQL of this run, durable as in production, on the generator's core."""
        with on_core(cores()[1]):
            return self._stack.enter_context(Postgres())

    @cached_property
    def redis(self) -> Redis:
        """The Redis of this run, on the generator's core."""
        with on_core(cores()[1]):
            return self._stack.enter_context(Redis())

    def product(
        self, name: str, *, engine: str = "postgres", has_redis: bool = False, env: dict[str, str] | None = None
    ) -> Product:
        """Start the product on a new database of `engine`, `postgres` or `sqlite`."""
        url = self.postgres.create_database(name) if engine == "postgres" else "sqlite:///moolai.sqlite3"
        redis_url = self.redis.url() if has_redis else ""
        installation = Installation(
            data_dir=self.directory / name,
            database_url=url,
            redis_url=redis_url,
            env={"LOG_LEVEL": "WARNING", "ENVIRONMENT": "development", "DEBUG": "0", **(env or {})},
        )
        self._stack.callback(installation.close)
        installation.manage("migrate", "--verbosity", "0")
        output = installation.manage("shell", "--verbosity", "0", "-c", SETUP).stdout
        secret, api_secret = json.loads(output.rpartition("KEYS")[2])
        with on_core(cores()[0]):
            server = installation.serve()
        return Product(name, installation, server, secret, api_secret)

    def baseline(self, name: str, *, env: dict[str, str] | None = None, is_behind: bool = False) -> Target:
        """Start a baseline server (see `baselines`); one that is behind others runs on the generator's core."""
        port = free_port()
        process = Process(
            [sys.executable, "-m", "benchmarks.baselines", name, str(port)],
            log_path=self.directory / f"{name}.log",
            env={**os.environ, **(env or {})},
            cwd=PROJECT,
        )
        self._stack.callback(process.kill)
        with on_core(cores()[1 if is_behind else 0]):
            process.spawn()
        process.wait_ready(lambda: _answers(port), timeout_seconds=20)
        return Target(port, process.pid, answers_any_seq=name == "bare")


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@dataclass(frozen=True)
class Usage:
    """What a process has used so far: CPU seconds, resident bytes, and when that was read."""

    cpu_seconds: float
    resident_bytes: int
    at: float


def usage(pid: int, *, now: float) -> Usage:
    """Read a process's use of the machine; `now` is monotonic."""
    process = psutil.Process(pid)
    times = process.cpu_times()
    return Usage(times.user + times.system, process.memory_info().rss, now)


@contextmanager
def logging_statements(postgres: Postgres) -> Iterator[None]:
    """Have PostgreSQL write every statement to its log while inside."""
    postgres.databases.query("ALTER SYSTEM SET log_statement = 'all'")
    postgres.databases.query("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        postgres.databases.query("ALTER SYSTEM RESET log_statement")
        postgres.databases.query("SELECT pg_reload_conf()")
