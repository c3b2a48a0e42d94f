"""`manage.py up`: everything on one machine. Prepares the data, then turns into the light supervisor."""

import errno
import fcntl
import os
import socket
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, NoReturn

import psutil
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import OperationalError, connections
from django.db.migrations.executor import MigrationExecutor

from moolai import bootstrap, supervisor
from orchestrators.registry_file import InvalidFile

DEMO_METRICS_SECONDS = 15
DEMO_CALLS_SECONDS = 20  # so that the gateway's pages have something to show
STAGE_CLIENTS, STAGE_WEB, STAGE_BACKGROUND = range(3)


class Command(BaseCommand):
    """Start web, worker and beat (and, with `--demo`, two orchestrators) as children that live and die together."""

    help = "Migrates, makes the administrator and runs web, worker and beat until Ctrl-C."
    requires_system_checks = ()  # run in `handle`, after the cheap questions

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add `--demo`, `--host`, `--port` and `--prepare-only`."""
        parser.add_argument("--demo", action="store_true", help="add two organizations with an orchestrator each")
        parser.add_argument("--host", default=settings.HOST, help="address to listen on (default %(default)s)")
        parser.add_argument("--port", type=int, default=settings.PORT, help="port to listen on (default %(default)s)")
        parser.add_argument("--prepare-only", action="store_true", help="migrate, make the administrator, and leave")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prepare and hand over; does not return, except by leaving with status 1 and one sentence."""
        lock = -1 if options["prepare_only"] else self._reserve(options["host"], options["port"])
        self.check()
        output = supervisor.Output(log_format=log_format(), names=["orch-001"] if options["demo"] else ["worker"])
        try:
            facts, secrets = prepare(output, demo=options["demo"])
        except OperationalError as error:
            self._refuse(f"The database does not answer: {str(error).strip()}")
        except InvalidFile as problem:
            self._refuse(f"{settings.CONTROLLER_CONFIG_FILE} does not fit the registry:\n{problem}")
        connections.close_all()
        if options["prepare_only"]:
            output.note("moolai is prepared", **facts)
        else:
            plan = make_plan(options["host"], options["port"], facts=facts, secrets=secrets)
            supervisor.replace_this_process(plan, keep_open=[lock])

    def _reserve(self, host: str, port: int) -> int:
        """Return the descriptor that locks DATA_DIR, once the port is free as well."""
        if problem := port_problem(host, port):
            self._refuse(problem)
        lock = lock_data_dir(settings.DATA_DIR)
        if lock is None:
            place = settings.DATA_DIR
            self._refuse(f"Another moolai runs with the data in {place}; stop it, or choose another DATA_DIR.")
        return lock

    def _refuse(self, sentence: str) -> NoReturn:
        self.stderr.write(sentence)
        sys.exit(1)


def prepare(output: supervisor.Output, *, demo: bool) -> tuple[dict[str, str], dict[str, str]]:
    """Bring the databases up to date and make what must exist.

    Returns what the banner shows, and the demo orchestrators' keys by id. Raises `OperationalError` and `InvalidFile`.
    """
    began_at = time.monotonic()
    changed = [alias for alias in connections if migrate(alias)]
    what = "migrated the database" if changed else "the database is up to date"
    output.note(f"{what} ({time.monotonic() - began_at:.1f} s)")
    password, is_generated = bootstrap.ensure_superuser()
    for line in bootstrap.seed_registry():
        output.note(line)
    secrets = bootstrap.ensure_demo() if demo else {}
    shown = (password or "unchanged") if is_generated else "from MOOLAI_ADMIN_PASSWORD"
    return {"user": "admin", "password": shown, "data": str(settings.DATA_DIR), "stop": "Ctrl-C"}, secrets


def migrate(alias: str) -> bool:
    """Apply what is missing in one database; return whether anything was (looking is quicker than migrating)."""
    executor = MigrationExecutor(connections[alias])
    if not executor.migration_plan(executor.loader.graph.leaf_nodes()):
        return False
    call_command("migrate", database=alias, interactive=False, verbosity=0, skip_checks=True)
    return True


def make_plan(host: str, port: int, *, facts: dict[str, str], secrets: dict[str, str]) -> supervisor.Plan:
    """Return what the supervisor needs to know; `secrets` are the demo orchestrators' keys by id."""
    base_url = f"{'https' if settings.TLS_ENABLED else 'http'}://{reachable(host)}:{port}"
    allowed = [name.lstrip(".") for name in settings.ALLOWED_HOSTS if name != "*"]
    return {
        "programs": [*own_programs(host, port), *demo_programs(base_url, secrets)],
        "health_url": f"{base_url}/healthz",
        "health_host": (allowed or [reachable(host)])[0],
        "facts": {"console": f"{base_url}/admin/", **facts},
        "log_format": log_format(),
        "started_at": process_started_at(),
    }


def own_programs(host: str, port: int) -> list[supervisor.Program]:
    """Return web, worker and beat."""
    manage = str(settings.BASE_DIR / "manage.py")
    env = {"HOST": host, "PORT": str(port), **output_env()}
    stages = {"serve": STAGE_WEB, "worker": STAGE_BACKGROUND, "beat": STAGE_BACKGROUND}
    return [
        {
            "name": "web" if command == "serve" else command,
            "argv": [sys.executable, manage, command],
            "env": env,
            "stop_stage": stage,
            "after_ready": False,
            "serves_health": command == "serve",
        }
        for command, stage in stages.items()
    ]


def demo_programs(base_url: str, secrets: dict[str, str]) -> list[supervisor.Program]:
    """Return one reference client per demo orchestrator; keys travel in the environment, never in arguments."""
    from orchestrators.client import rehearsal  # the sockets it needs are nobody else's here

    url = base_url.replace("http", "ws", 1) + "/ws"
    trust = {"SSL_CERT_FILE": settings.TLS_CERT_PATH} if settings.TLS_ENABLED else {}
    organization_of = bootstrap.DEMO_ORCHESTRATORS
    command = [sys.executable, "-m", "orchestrators.client", "--keep-trying", "--url", url]
    command += ["--metrics-interval", str(DEMO_METRICS_SECONDS)]
    command += ["--tasks", ",".join(rehearsal.TASK_TYPES)]
    command += ["--model-calls", str(DEMO_CALLS_SECONDS)] if settings.LLM_ECHO_ENABLED else []
    return [
        {
            "name": orchestrator_id,
            "argv": [*command, "--id", orchestrator_id, "--organization", organization_of[orchestrator_id]],
            "env": {"MOOLAI_API_KEY": secret, **output_env(), **trust},
            "stop_stage": STAGE_CLIENTS,
            "after_ready": True,
            "serves_health": False,
        }
        for orchestrator_id, secret in secrets.items()
    ]


def port_problem(host: str, port: int) -> str | None:
    """Return one sentence when nobody could listen on `host:port` now, else None."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"Port {port} is taken by another program; choose another one, for example: PORT={port + 1} make run"
        return f"Cannot listen on {host}:{port}: {error.strerror or error}; choose another HOST or PORT."
    return None


def lock_data_dir(data_dir: Path) -> int | None:
    """Return a descriptor that holds the directory for this family while it is open, or None when another has it."""
    lock = os.open(data_dir / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def reachable(host: str) -> str:
    """Return the name under which a client on this machine finds what listens on `host`."""
    if host in {"", "0.0.0.0", "::"}:  # noqa: S104 — compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def log_format() -> str:
    """Return `json` or `console`: LOG_FORMAT, where auto means JSON unless standard output is a terminal."""
    if settings.LOG_FORMAT in {"json", "console"}:
        return str(settings.LOG_FORMAT)
    return "console" if sys.stdout.isatty() else "json"


def output_env() -> dict[str, str]:
    """Return what tells a child, whose output goes through a pipe, how to write: at once, and for whom."""
    has_colour = log_format() == "console" and sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return {"PYTHONUNBUFFERED": "1", "LOG_FORMAT": log_format(), **({"FORCE_COLOR": "1"} if has_colour else {})}


def process_started_at() -> float:
    """Return on the monotonic clock when this process began, so that readiness counts the imports too."""
    return time.monotonic() - (time.time() - psutil.Process().create_time())
