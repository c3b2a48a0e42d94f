"""Start a family of processes, keep them running, and stop them together.

This file imports the standard library only and is run by its path, so that the parent of the family costs
a few megabytes: `manage.py up` prepares everything with Django, then replaces itself by this program
(same process id) and hands the plan over through a pipe, because the plan holds secrets.

On Linux the children die with this process even on `kill -9` (PR_SET_PDEATHSIG). Other systems have no
such call: there, only an orderly stop takes the children along.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import IO, Any, TypedDict
from urllib.parse import urlsplit

BACKOFF_MIN_SECONDS = 0.5
BACKOFF_MAX_SECONDS = 30.0
BACKOFF_RESET_SECONDS = 60.0
STOP_SECONDS = 8.0
STAGE_SECONDS = 2.0
SAME_KEYPRESS_SECONDS = 0.3
PROBE_SECONDS = 0.2
SLOW_START_SECONDS = 30.0
LINE_LIMIT_BYTES = 64 * 1024
LAST_CHUNKS = 16
PR_SET_PDEATHSIG = 1
COLOURS = (36, 33, 32, 35, 34, 31)


class Program(TypedDict):
    """Name one process: what runs, with which extra environment, and when it starts and stops."""

    name: str
    argv: list[str]
    env: dict[str, str]
    stop_stage: int
    after_ready: bool
    serves_health: bool


class Plan(TypedDict):
    """Describe the family; `started_at` is on the monotonic clock, `facts` is what the banner shows."""

    programs: list[Program]
    health_url: str
    health_host: str
    facts: dict[str, str]
    log_format: str
    started_at: float


def restart_delay_seconds(failures: int) -> float:
    """Return how long to wait before the next start after `failures` (≥ 1) ends in a row."""
    return min(BACKOFF_MIN_SECONDS * 2.0 ** min(failures - 1, 30), BACKOFF_MAX_SECONDS)


def death_with_parent() -> Callable[[], None] | None:
    """Return what a new child calls before it executes its program, or None where the system has no prctl.

    The library is opened here, before the fork. PDEATHSIG fires when the forking *thread* ends, so only
    the main thread may spawn; the parent may have died before the call, hence the second look.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl, parent = ctypes.CDLL(None, use_errno=True).prctl, os.getpid()

    def bind() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return bind


def answers(url: str, *, host: str, timeout_seconds: float = 1.0) -> bool:
    """Tell whether a GET of `url`, asked under the name `host`, is answered with status 200.

    The certificate is not checked: it is the own child's, for another name than loopback.
    """
    parts = urlsplit(url)
    request = f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection((parts.hostname, parts.port or 80), timeout=timeout_seconds) as connection:
            stream = _wrap_tls(connection) if parts.scheme == "https" else connection
            stream.sendall(request.encode("ascii"))
            return stream.recv(64).split(b" ")[1:2] == [b"200"]
    except OSError:
        return False


def _wrap_tls(connection: socket.socket) -> socket.socket:
    import ssl  # 5 MB that only a TLS set-up pays for

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connection)


@dataclass
class Child:
    """Hold one program's current process and its history of ends."""

    program: Program
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    failures: int = 0
    is_told_to_stop: bool = False
    pending: bytes = b""

    @property
    def name(self) -> str:
        """Return the program's short name."""
        return self.program["name"]

    @property
    def stdout(self) -> IO[bytes] | None:
        """Return the pipe with the process's output, when its output comes through a pipe."""
        return self.process.stdout if self.process else None

    def send(self, number: int) -> None:
        """Send a signal to the process, or with SIGKILL to its whole group; an ended one is ignored."""
        if self.process is None:
            return
        try:
            if number == signal.SIGKILL:
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)
        except (ProcessLookupError, PermissionError):  # the latter for a group of zombies on macOS
            pass


class Output:
    """Write the children's lines and the supervisor's own notes to one stream."""

    def __init__(self, *, log_format: str, names: list[str]) -> None:
        self.is_json = log_format == "json"
        self._width = max([len(name) for name in names] + [len("up")])
        self._colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}
        self._has_colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def write(self, text: bytes) -> None:
        """Write bytes whole; a reader that went away is no reason to stop."""
        try:
            sys.stdout.buffer.write(text)
            sys.stdout.buffer.flush()
        except (BrokenPipeError, ValueError):
            pass

    def line(self, name: str, text: bytes) -> None:
        """Write one line of a child behind its name."""
        label = f"{name:<{self._width}} |"
        if self._has_colour:
            label = f"\x1b[{self._colours.get(name, 1)}m{label}\x1b[0m"
        self.write(label.encode() + b" " + text + b"\n")

    def note(self, text: str, **facts: object) -> None:
        """Say something in the supervisor's own name, as a log line of the family's format."""
        if self.is_json:
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            event = {"event": text, "level": "info", "logger": "moolai.supervisor", "timestamp": moment, **facts}
            self.write(json.dumps(event).encode() + b"\n")
        else:
            self.line("up", text.encode())

    def banner(self, seconds: float, facts: dict[str, str]) -> None:
        """Show where the console is and how to stop, once the family is ready."""
        if self.is_json:
            self.note("moolai is ready", seconds=round(seconds, 1), **facts)
            return
        width = max(len(key) for key in facts) if facts else 0
        rows = [f"  {key:<{width}}  {value}" for key, value in facts.items()]
        self.write("\n".join(["", f"moolai is ready ({seconds:.1f} s)", *rows, "", ""]).encode())


class Supervisor:
    """Run a plan until it is told to stop: one thread, one loop."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.children = [Child(program) for program in plan["programs"]]
        self.output = Output(log_format=plan["log_format"], names=[child.name for child in self.children])
        self.is_ready = self.was_ready = not any(child.program["serves_health"] for child in self.children)
        self.is_slow_told = False
        self.stop_began_at: float | None = None
        self.is_killing = False
        self._bind = death_with_parent()
        self._selector = selectors.DefaultSelector()
        self._next_probe_at = 0.0

    def _install_signals(self) -> None:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._selector.register(reader, selectors.EVENT_READ, None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup stays nohup
                signal.signal(number, self._on_stop_signal)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def _on_stop_signal(self, number: int, frame: FrameType | None) -> None:
        """Begin to stop; a second signal kills, unless it is the same keypress through a wrapping program."""
        now = time.monotonic()
        if self.stop_began_at is None:
            self.stop_began_at = now
        elif now - self.stop_began_at >= SAME_KEYPRESS_SECONDS:
            self.is_killing = True

    def _start(self, child: Child, now: float) -> None:
        pipe = None if self.output.is_json else subprocess.PIPE
        try:
            child.process = subprocess.Popen(
                child.program["argv"],
                env={**os.environ, **child.program["env"]},
                stdin=subprocess.DEVNULL,
                stdout=pipe,
                stderr=None if pipe is None else subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=self._bind,  # noqa: PLW1509 — this process has one thread
            )
        except OSError as error:
            self._schedule_restart(child, now, f"could not start: {error}")
            return
        child.started_at = now
        if (stdout := child.stdout) is not None:
            os.set_blocking(stdout.fileno(), False)
            self._selector.register(stdout, selectors.EVENT_READ, child)

    def _schedule_restart(self, child: Child, now: float, reason: str) -> None:
        child.failures += 1
        delay = restart_delay_seconds(child.failures)
        child.start_at = now + delay
        self.output.note(f"{child.name} {reason}; it starts again in {delay:g} s", program=child.name)

    def _start_due(self, now: float) -> None:
        for child in self.children:
            is_awaited = child.program["after_ready"] and not self.was_ready
            if child.process is None and not is_awaited and now >= child.start_at:
                self._start(child, now)

    def _reap(self, now: float) -> None:
        for child in self.children:
            if child.process is None or not _has_ended(child.process):
                continue
            child.send(signal.SIGKILL)  # what it started and left behind; its id is ours until it is reaped
            code = child.process.wait()
            self._close_output(child)
            child.process = None
            if child.program["serves_health"]:
                self.is_ready = False
            if self.stop_began_at is None:
                if now - child.started_at >= BACKOFF_RESET_SECONDS:
                    child.failures = 0
                self._schedule_restart(child, now, _describe_end(code))

    def _read(self, child: Child) -> bool:
        """Pass on the lines of one chunk of the child's output, cutting over-long ones; False when there is no more."""
        stdout = child.stdout
        if stdout is None:
            return False
        try:
            chunk = os.read(stdout.fileno(), LINE_LIMIT_BYTES)
        except BlockingIOError:
            return False
        *lines, rest = (child.pending + chunk).split(b"\n")
        child.pending = b"" if len(rest) >= LINE_LIMIT_BYTES or not chunk else rest
        if rest and not child.pending:
            lines.append(rest)
        for text in lines:
            self.output.line(child.name, text)
        if not chunk:
            self._selector.unregister(stdout)
        return bool(chunk)

    def _close_output(self, child: Child) -> None:
        stdout = child.stdout
        if stdout is None:
            return
        for _ in range(LAST_CHUNKS):
            if stdout not in self._selector.get_map() or not self._read(child):
                break
        if stdout in self._selector.get_map():
            self._selector.unregister(stdout)
        stdout.close()

    def _probe(self, now: float) -> None:
        server = next((child for child in self.children if child.program["serves_health"]), None)
        if self.is_ready or server is None or server.process is None or now < self._next_probe_at:
            return
        self._next_probe_at = now + PROBE_SECONDS
        seconds = now - self.plan["started_at"]
        if not answers(self.plan["health_url"], host=self.plan["health_host"]):
            if seconds > SLOW_START_SECONDS and not self.was_ready and not self.is_slow_told:
                self.is_slow_told = True
                self.output.note(f"{server.name} has not answered after {SLOW_START_SECONDS:g} s; its lines say why")
            return
        server.failures = 0  # it came up: an end from here on is not a failed start
        if self.was_ready:
            self.output.note(f"{server.name} answers again", program=server.name)
        else:
            self.output.banner(seconds, self.plan["facts"])
        self.is_ready = self.was_ready = True

    def _stop_step(self, now: float, began_at: float) -> bool:
        """Tell the next stage to stop when the one before has ended or used its time; return whether all ended."""
        alive = [child for child in self.children if child.process is not None]
        if self.is_killing or now - began_at >= STOP_SECONDS:
            for child in alive:
                child.send(signal.SIGKILL)
            return not alive
        for index, stage in enumerate(sorted({child.program["stop_stage"] for child in self.children})):
            members = [child for child in alive if child.program["stop_stage"] == stage]
            for child in members:
                if not child.is_told_to_stop:
                    child.is_told_to_stop = True
                    child.send(signal.SIGTERM)
            if members and now - began_at < STAGE_SECONDS * (index + 1):
                break
        return not alive

    def _wait_seconds(self, now: float) -> float:
        if self.stop_began_at is not None:
            return 0.1
        if not self.is_ready:
            return PROBE_SECONDS
        due = [child.start_at - now for child in self.children if child.process is None]
        return max(0.0, min([*due, 60.0]))

    def _wait(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            if isinstance(key.data, Child):
                self._read(key.data)
            else:
                os.read(key.fd, 4096)

    def run(self) -> int:
        """Supervise until stopped; return the exit status (0, or 130 when the children had to be killed at once)."""
        self._install_signals()
        is_told = False
        while True:
            now = time.monotonic()
            self._reap(now)
            if self.stop_began_at is None:
                self._start_due(now)
                self._probe(now)
            else:
                if not is_told:
                    is_told = True
                    self.output.note("stopping; once more kills at once")
                if self._stop_step(now, self.stop_began_at):
                    self.output.note("stopped")
                    return 130 if self.is_killing else 0
            self._wait(self._wait_seconds(now))


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Look without reaping where the system can, so that the id cannot belong to somebody else yet."""
    if not hasattr(os, "waitid"):
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _describe_end(code: int) -> str:
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def replace_this_process(plan: Plan, *, keep_open: list[int]) -> None:
    """Turn the calling process into the supervisor of `plan`; descriptors in `keep_open` stay open.

    The plan travels through a pipe: it holds API keys, which neither arguments nor a file may show.
    """
    reader, writer = os.pipe()
    text = json.dumps(plan).encode()
    if len(text) > 32 * 1024:
        raise ValueError("The plan does not fit in a pipe.")
    os.write(writer, text)
    os.close(writer)
    for number in [reader, *keep_open]:
        os.set_inheritable(number, True)
    sys.stdout.flush()
    sys.stderr.flush()
    # -I -S: nothing of this project or of site-packages is imported, whatever lies beside this file
    os.execv(sys.executable, [sys.executable, "-I", "-S", os.path.abspath(__file__), str(reader)])  # noqa: S606 — our own program


def main(arguments: list[str]) -> int:
    """Read the plan from the descriptor named by the only argument and run it."""
    with os.fdopen(int(arguments[0]), "rb") as stream:
        plan: Any = json.load(stream)
    return Supervisor(plan).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
