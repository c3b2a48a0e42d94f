"""The product as it really runs: `manage.py` processes with their own data directory, database and ports.

Everything goes through the environment, as for an operator; nothing here reaches into the server's memory.
"""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from moolai.testing.processes import Process, free_port

PROJECT = Path(__file__).resolve().parents[2]
MANAGE = PROJECT / "manage.py"
START_TIMEOUT_SECONDS = 120.0
# What processes print once they work (the web process is asked over HTTP instead).
READY_LINES = {"worker": r"worker: ready", "beat": r"beat: starting"}


class CommandError(RuntimeError):
    """A `manage.py` command failed; the text holds its exit code and output."""


def manage(
    command: str,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    timeout_seconds: float = 180,
) -> subprocess.CompletedProcess[str]:
    """Run a `manage.py` command to its end; `env` is added to the environment.

    Raises CommandError when it fails, unless `check` is off.
    """
    done = subprocess.run(
        [sys.executable, str(MANAGE), command, *arguments],
        cwd=PROJECT,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_seconds,
    )
    if check and done.returncode != 0:
        raise CommandError(f"manage.py {command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


class ServerProcess(Process):
    """One long-running `manage.py` command: started, watched until it is ready, killed or ended on request."""

    def __init__(self, command: str, *arguments: str, env: Mapping[str, str], log_path: Path) -> None:
        """Describe the process; `env` is added to the environment and names PORT, DATA_DIR, DATABASE_URL, ...."""
        super().__init__(
            [sys.executable, str(MANAGE), command, *arguments],
            log_path=log_path,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "LOG_FORMAT": "json", **env},
            cwd=PROJECT,
            death_signal=signal.SIGTERM if command == "up" else signal.SIGKILL,
        )
        self.name = command
        self.port = int(env.get("PORT", "0"))

    def url(self, path: str = "/") -> str:
        """Return the HTTP address of a path on this server."""
        return f"http://127.0.0.1:{self.port}{path}"

    def ws_url(self, path: str = "/ws") -> str:
        """Return the WebSocket address of a path on this server."""
        return f"ws://127.0.0.1:{self.port}{path}"

    def start(self, *, timeout_seconds: float = START_TIMEOUT_SECONDS) -> Self:
        """Start and wait until ready: `/healthz` answers 200 (web), or the process says so. Raises ProcessError."""
        seen = len(self.output())
        self.spawn()
        self.wait_ready(self._readiness(seen), timeout_seconds=timeout_seconds)
        return self

    def terminate(self, *, timeout_seconds: float = 15) -> int | None:
        """Send SIGTERM and return the exit code; kill after the timeout (the exit code is then -9)."""
        return self.end(signal.SIGTERM, timeout_seconds=timeout_seconds)

    def restart(self, *, timeout_seconds: float = START_TIMEOUT_SECONDS) -> Self:
        """End in order when it still runs, and start again on the same port."""
        self.terminate()
        return self.start(timeout_seconds=timeout_seconds)

    def is_healthy(self) -> bool:
        """Whether `/healthz` answers 200 within 2 s."""
        try:
            with urllib.request.urlopen(self.url("/healthz"), timeout=2) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _readiness(self, seen: int) -> Callable[[], bool]:
        if self.name in ("serve", "up"):
            return self.is_healthy
        pattern = re.compile(READY_LINES.get(self.name, r"."), re.IGNORECASE)
        return lambda: bool(pattern.search(self.output(), seen))


class Installation:
    """One installation: a data directory, a migrated database, perhaps Redis, and any number of processes."""

    def __init__(
        self, *, data_dir: Path, database_url: str, redis_url: str = "", env: Mapping[str, str] | None = None
    ) -> None:
        """Describe the installation; `env` is added to the environment of everything it runs."""
        data_dir.mkdir(parents=True, exist_ok=True)
        self.data_dir = data_dir
        self.env = {
            "DATA_DIR": str(data_dir),
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "MOOLAI_CHANNEL_PREFIX": f"t{free_port()}{os.getpid()}",
            "PORT": str(free_port()),
            "HOST": "127.0.0.1",
            **(env or {}),
        }
        self.processes: list[ServerProcess] = []

    def manage(self, command: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a `manage.py` command of this installation to its end."""
        return manage(command, *arguments, env=self.env, check=check)

    def process(self, command: str, *arguments: str, env: Mapping[str, str] | None = None) -> ServerProcess:
        """Describe a process of this installation, not started; it is killed when the installation closes."""
        log_path = self.data_dir / f"{command}-{len(self.processes)}.log"
        process = ServerProcess(command, *arguments, env={**self.env, **(env or {})}, log_path=log_path)
        self.processes.append(process)
        return process

    def serve(self, *, port: int | None = None, env: Mapping[str, str] | None = None) -> ServerProcess:
        """Start a web process, on the installation's own port when it is the first, else on a free one."""
        is_first = not any(process.name == "serve" for process in self.processes)
        chosen = str(port or (self.env["PORT"] if is_first else free_port()))
        return self.process("serve", env={**(env or {}), "PORT": chosen}).start()

    def worker(self, *, env: Mapping[str, str] | None = None) -> ServerProcess:
        """Start a worker process."""
        return self.process("worker", env=env).start()

    def beat(self, *, env: Mapping[str, str] | None = None) -> ServerProcess:
        """Start a beat process."""
        return self.process("beat", env=env).start()

    def close(self) -> None:
        """Kill every process of the installation."""
        for process in reversed(self.processes):
            process.kill()


def copy_sqlite(source: Path, target: Path) -> str:
    """Copy an SQLite database, also one that is open; return the copy's URL."""
    target.parent.mkdir(parents=True, exist_ok=True)
    origin, copy = sqlite3.connect(source), sqlite3.connect(target)
    try:
        origin.backup(copy)
    finally:
        origin.close()
        copy.close()
    return f"sqlite:///{target}"
