"""Child processes of the test world: started on a leash, logged to a file, ended for certain.

Knows nothing of Django or of what the processes are; `postgres`, `redis` and `product` build on it.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

LEASH = Path(__file__).with_name("leash.py")
TAIL_BYTES = 8_000


class ProcessError(RuntimeError):
    """A process died or was not ready in time; the text ends with the tail of its output."""


def free_port() -> int:
    """Return a TCP port that was free on 127.0.0.1 a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], *, timeout_seconds: float, interval_seconds: float = 0.02) -> bool:
    """Poll `condition` until it is true; return False when `timeout_seconds` pass first."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval_seconds)
    return True


def is_alive(process: psutil.Process) -> bool:
    """Tell whether a process still runs; one that ended and was not collected yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Process:
    """One child process, restartable with the same command line, writing to one log file."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log_path: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        owner: tuple[int, int] | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        """Describe the process; `owner` is the (uid, gid) to become, `env` replaces the environment."""
        self.command = [str(part) for part in command]
        self.log_path = log_path
        self.env = dict(env) if env is not None else None
        self.cwd = cwd
        self.owner = owner
        self.death_signal = death_signal
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running (or last) process; raises ProcessError before the first start."""
        if self._popen is None:
            raise ProcessError(f"{self.command[0]} was never started")
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal, None while it runs or before it was started."""
        return self._popen.poll() if self._popen else None

    def spawn(self) -> None:
        """Start the process without waiting for anything; raises ProcessError when it runs already."""
        if self.is_running:
            raise ProcessError(f"{self.command[0]} is running already")
        owner = f"{self.owner[0]}:{self.owner[1]}" if self.owner else "-"
        leash = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), str(int(self.death_signal)), owner, "--"]
        with self.log_path.open("ab") as log:
            self._popen = subprocess.Popen(
                leash + self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.env,
                cwd=self.cwd,
                start_new_session=True,  # A Ctrl-C at the terminal is for the tests, which then end us in order.
            )

    def wait_ready(self, is_ready: Callable[[], bool], *, timeout_seconds: float) -> None:
        """Wait until `is_ready`; when the process dies or the time runs out, kill it and raise ProcessError."""
        in_time = wait_until(lambda: not self.is_running or is_ready(), timeout_seconds=timeout_seconds)
        if not self.is_running:
            raise ProcessError(f"{self._name()} ended with {self.exit_code} while starting:\n{self.tail()}")
        if not in_time:
            self.kill()
            raise ProcessError(f"{self._name()} was not ready within {timeout_seconds:g} s:\n{self.tail()}")

    def send_signal(self, signum: signal.Signals) -> None:
        """Send a signal to the process alone; one that has ended is left alone."""
        if self._popen is not None:
            self._popen.send_signal(signum)

    def wait(self, *, timeout_seconds: float) -> int:
        """Return the exit code; raises subprocess.TimeoutExpired."""
        if self._popen is None:
            raise ProcessError(f"{self._name()} was never started")
        return self._popen.wait(timeout_seconds)

    def family(self) -> list[psutil.Process]:
        """Return the process and its descendants, parents first; empty when it has ended."""
        if not self.is_running:
            return []
        try:
            process = psutil.Process(self.pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def signal_family(self, signum: signal.Signals) -> list[psutil.Process]:
        """Send a signal to the process and its descendants, parents first; return whom it went to."""
        family = self.family()
        for process in family:
            try:
                process.send_signal(signum)
            except psutil.NoSuchProcess:
                continue
        return family

    def kill(self) -> None:
        """Kill -9 the process and its descendants, as a power cut would, and wait until they are gone."""
        family = self.signal_family(signal.SIGKILL)
        if self._popen is not None:
            self._popen.wait(10)
        if not wait_until(lambda: not any(map(is_alive, family)), timeout_seconds=10):
            raise ProcessError(f"{self._name()} left processes behind after kill -9: {family}")

    def pause(self) -> None:
        """Stop (SIGSTOP) the process and its descendants: they hang, their sockets stay open."""
        self.signal_family(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process and its descendants go on."""
        self.signal_family(signal.SIGCONT)

    def end(self, signum: signal.Signals = signal.SIGTERM, *, timeout_seconds: float = 15) -> int | None:
        """Ask the process to end and return its exit code; kill it and its descendants after the timeout."""
        if not self.is_running:
            return self.exit_code
        self.resume()
        self.send_signal(signum)
        try:
            return self.wait(timeout_seconds=timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.exit_code

    def output(self) -> str:
        """Return everything the process wrote so far, over all its starts."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def tail(self) -> str:
        """Return the last 8 kB of the output."""
        return self.output()[-TAIL_BYTES:]

    def _name(self) -> str:
        return " ".join(Path(part).name for part in self.command[:3])
