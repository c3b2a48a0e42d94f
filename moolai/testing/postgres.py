"""A real PostgreSQL 18 for tests, from a wheel: no root, no container, nothing changed on the machine.

Listens on 127.0.0.1 only, with a password. `postgres_wheel.py` finds the programs.
"""

import atexit
import os
import secrets
import shutil
import signal
from pathlib import Path
from typing import Literal, Self

import psycopg

from moolai.testing.databases import APP_USER, Databases
from moolai.testing.postgres_wheel import (
    ENVIRONMENT,
    SUPERUSER,
    UNPRIVILEGED,
    initialize,
    installation,
    is_reachable,
    open_directory,
    owner,
)
from moolai.testing.processes import Process, ProcessError, free_port

MODES = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class Postgres:
    """One PostgreSQL server; stop it, kill it, freeze it, start it again on the same port and data.

    `fsync=False` is for fast suites only; durability tests need the default. The application's role (`moolai`) may
    create databases and is no superuser; `databases` acts as superuser.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        fsync: bool = True,
        synchronous_commit: str = "on",
        max_connections: int = 200,
        password: str | None = None,
    ) -> None:
        """Describe the server; a temporary `data_dir` is made and removed when none is given.

        A `data_dir` that was made earlier needs its `password`; otherwise one is made up.
        """
        self.data_dir = data_dir
        self.port = free_port()
        self.password = password or secrets.token_hex(16)
        self.settings = {
            "fsync": "on" if fsync else "off",
            "full_page_writes": "on" if fsync else "off",
            "synchronous_commit": synchronous_commit,
            "max_connections": str(max_connections),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "shared_buffers": "64MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        self._directory: Path | None = None
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """The server's process; raises ProcessError before the first start."""
        if self._process is None:
            raise ProcessError("PostgreSQL was never started")
        return self._process

    @property
    def is_running(self) -> bool:
        """Whether the server's process is there (it may be paused)."""
        return self._process is not None and self._process.is_running

    @property
    def databases(self) -> Databases:
        """The server's databases, as superuser."""
        return Databases(self.url("postgres", user=SUPERUSER))

    def url(self, database: str, *, user: str = APP_USER) -> str:
        """Return the URL of a database, password included."""
        return f"postgresql://{user}:{self.password}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Create a database owned by the application's role; return its URL."""
        self.databases.create(name, template=template)
        return self.url(name)

    def start(self, *, timeout_seconds: float = 60) -> Self:
        """Start the server and wait until it answers; the first time, make its data directory and role."""
        is_new = self._process is None
        if is_new:
            self._process = self._prepare()
        self.process.spawn()
        self.process.wait_ready(self._answers, timeout_seconds=timeout_seconds)
        if is_new:
            self.databases.create_role(APP_USER, password=self.password)
        return self

    def stop(self, *, mode: Literal["smart", "fast", "immediate"] = "fast", timeout_seconds: float = 30) -> None:
        """Shut down; `immediate` skips the checkpoint, so that the next start recovers as after a crash."""
        if self._process is not None:
            self._process.end(MODES[mode], timeout_seconds=timeout_seconds)

    def kill(self) -> None:
        """Kill -9 the server and all its backends."""
        self.process.kill()

    def pause(self) -> None:
        """Freeze the server and all its backends: connections hang, none is refused."""
        self.process.pause()

    def resume(self) -> None:
        """Let a frozen server go on."""
        self.process.resume()

    def restart(self, *, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop and start on the same port and data."""
        self.stop(mode=mode)
        self.start()

    def close(self) -> None:
        """Stop for good and remove the temporary directory."""
        self.stop(mode="immediate")
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        """Start the server."""
        return self.start()

    def __exit__(self, *error: object) -> None:
        """Stop the server and remove its temporary directory."""
        self.close()

    def _prepare(self) -> Process:
        self._directory = open_directory("moolai-postgres-")
        atexit.register(shutil.rmtree, self._directory, ignore_errors=True)
        become = owner()
        if become and self.data_dir and not is_reachable(self.data_dir, uid=become[0]):
            raise ProcessError(f"{self.data_dir} must be below directories that {UNPRIVILEGED} can enter")
        data_dir = self.data_dir = self.data_dir or self._directory / "data"
        data_dir.mkdir(parents=True, exist_ok=True)
        if become:
            for path in (self._directory, data_dir):
                os.chown(path, *become)
        if not (data_dir / "PG_VERSION").exists():
            initialize(data_dir, password=self.password, directory=self._directory)
        options = [part for item in self.settings.items() for part in ("-c", "=".join(item))]
        return Process(
            [str(installation() / "bin" / "postgres"), "-D", str(data_dir), "-p", str(self.port), *options],
            log_path=self._directory / "server.log",
            env=ENVIRONMENT,
            cwd=self._directory,
            owner=become,
            death_signal=signal.SIGQUIT,
        )

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres", user=SUPERUSER), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True
