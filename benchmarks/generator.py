"""The load generator: builds `wsload.c` once and runs it on a core of its own."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("wsload.c")
PROGRAM = SOURCE.parent / "build" / "wsload"
TIMEOUT_SECONDS = 400


class GeneratorError(RuntimeError):
    """There is no compiler, or the generator failed; the text says which."""


def cores() -> tuple[int, int]:
    """Return the core of the server and that of everything else (the same one where there is only one)."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    return usable[-1], usable[0]


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Pin what is started inside to `core` (processes inherit it); where the system cannot, do nothing."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def build() -> Path:
    """Compile the generator when it is missing or older than its source; raises GeneratorError without a compiler."""
    if PROGRAM.exists() and PROGRAM.stat().st_mtime >= SOURCE.stat().st_mtime:
        return PROGRAM
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise GeneratorError("The load generator needs a C compiler (Debian: apt install gcc libc6-dev).")
    PROGRAM.parent.mkdir(exist_ok=True)
    done = subprocess.run(
        [compiler, "-O2", "-o", str(PROGRAM), str(SOURCE)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise GeneratorError(f"{compiler} could not build {SOURCE.name}:\n{done.stderr}")
    return PROGRAM


@dataclass(frozen=True)
class Target:
    """Where the sockets go: `prefix` names the orchestrators to register, none means a server without `register`."""

    port: int
    pid: int
    secret: str = ""
    prefix: str = ""
    answers_any_seq: bool = False

    @property
    def arguments(self) -> list[str]:
        """The options that describe it."""
        found = ["-p", str(self.port)]
        found += ["-H", f"Authorization: Bearer {self.secret}"] if self.secret else []
        found += ["-r", self.prefix] if self.prefix else []
        return found + (["-a"] if self.answers_any_seq else [])


def run(mode: str, target: Target, *options: str, when_open: Callable[[], None] | None = None) -> dict[str, Any]:
    """Run the generator to its end and return what it measured (rates per second, times in ms).

    `when_open` is called once all sockets are open. Raises GeneratorError when a socket was lost or an answer wrong.
    """
    command = [str(build()), mode, *target.arguments, *options]
    with tempfile.TemporaryFile("w+") as complaints:
        with on_core(cores()[1]):
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, text=True)
        try:
            assert process.stdout is not None
            if process.stdout.readline().strip() == "READY" and when_open is not None:
                when_open()
            output = process.stdout.read()
            process.wait(TIMEOUT_SECONDS)
        finally:
            process.kill()
            process.wait()
        complaints.seek(0)
        errors = complaints.read(2000)
    if process.returncode != 0 or not output.strip():
        raise GeneratorError(f"wsload {mode} ended with {process.returncode}: {errors.strip()}")
    result: dict[str, Any] = json.loads(output)
    if result["lost"] or result["wrong"] or result["opened"] != result["sockets"]:
        raise GeneratorError(f"wsload {mode} did not run clean: {output.strip()}\n{errors.strip()}")
    return result
