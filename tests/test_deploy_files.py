"""The deployment files: they parse, they hang together, and what each service runs comes up when run directly."""

import configparser
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from moolai.testing.processes import Process, free_port
from moolai.testing.product import PROJECT, Installation

pytestmark = pytest.mark.once

COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("moolai")]
ORCHESTRATORS = [name for name in OURS if name.startswith("orch-")]
ONE_SHOT = {"migrate"}
UNITS = sorted((PROJECT / "deploy" / "systemd").glob("*.service"))
HEALTHCHECK = PROJECT / "deploy" / "healthcheck.py"
KNOWN_KEYS = {"image", "build", "command", "environment", "env_file", "volumes", "ports", "healthcheck", "restart"}
KNOWN_KEYS |= {"init", "user", "depends_on", "read_only", "tmpfs", "cap_drop", "security_opt", "stop_grace_period"}
KNOWN_KEYS |= {"logging", "shm_size"}
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(:[?-][^}]*)?\}")


def test_the_services_are_the_ones_that_the_readme_promises() -> None:
    assert set(SERVICES) == {"postgres", "redis", "migrate", "web", "worker", "beat", "orch-001", "orch-002"}


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOT))
def test_every_lasting_service_restarts_and_is_watched(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert {"interval", "timeout", "retries"} <= set(check)


def test_the_one_shot_service_ends_for_good_once_it_succeeded() -> None:
    assert SERVICES["migrate"]["restart"] == "on-failure"
    assert SERVICES["migrate"]["healthcheck"] == {"disable": True}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_for_what_it_needs_by_a_condition_that_can_come_true(name: str) -> None:
    for other, needs in SERVICES[name].get("depends_on", {}).items():
        expected = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
        assert needs == {"condition": expected}, f"{name} waits for {other}"


def test_every_volume_is_named_and_declared_and_every_declared_one_is_used() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert used == set(COMPOSE["volumes"])
    assert {"data", "postgres", "redis"} <= used


def test_only_the_web_port_is_published_and_only_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"web": ["127.0.0.1:${PORT:-8000}:8000"]}


@pytest.mark.parametrize("name", OURS)
def test_our_containers_can_write_nothing_but_their_volumes_and_gain_no_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_orchestrators_see_neither_the_controllers_data_nor_its_secrets() -> None:
    for name in ORCHESTRATORS:
        assert SERVICES[name]["volumes"] == ["keys:/keys:ro"]
        assert "environment" not in SERVICES[name]
        assert "env_file" not in SERVICES[name]


def test_every_variable_stands_in_the_example_and_secrets_have_no_default() -> None:
    example = set(re.findall(r"^#?\s?(\w+)=", (PROJECT / ".env.example").read_text(), re.MULTILINE))
    used = dict(VARIABLE.findall((PROJECT / "docker-compose.yml").read_text()))
    assert set(used) <= example, "add these to .env.example"
    for name, default in used.items():
        if re.search(r"KEY|PASSWORD|TOKEN|SECRET|ALLOWED_HOSTS", name):
            assert default.startswith(":?set "), f"{name} must be asked for in a sentence"


def test_no_secret_is_written_down() -> None:
    for path in [PROJECT / "docker-compose.yml", PROJECT / "Dockerfile", *UNITS]:
        assert not re.search(
            r"(?i)(password|secret_key|encryption_key|token)\s*[:=]\s*['\"]?[A-Za-z0-9]", path.read_text()
        )


def test_the_image_installs_by_hash_and_runs_as_a_user_of_its_own() -> None:
    text = (PROJECT / "Dockerfile").read_text()
    assert text.count("FROM python:3.12-slim") == 2, "what builds is not what runs"
    assert "pip install --require-hashes -r requirements.txt" in text
    assert text.index("\nUSER moolai") > text.rindex("\nRUN ")
    assert "umask 077" in text
    assert "collectstatic" in text
    assert re.search(r'^HEALTHCHECK .*"deploy/healthcheck.py", "web"\]$', text, re.MULTILINE)
    assert re.search(r'^CMD \["python", "manage.py", "serve"\]$', text, re.MULTILINE)


def test_the_image_leaves_secrets_and_state_outside() -> None:
    ignored = (PROJECT / ".dockerignore").read_text().split()
    assert {".env", ".env.*", ".git", ".venv", "data"} <= set(ignored)
    for needed in ("deploy", "requirements.txt", "manage.py", "templates"):
        assert needed not in ignored


def read_unit(path: Path) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(path)
    return unit


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_starts_a_command_that_exists_with_few_rights(path: Path) -> None:
    service = read_unit(path)["Service"]
    program, manage, command, *_ = service["ExecStart"].split()
    assert program.endswith("/.venv/bin/python")
    assert manage == "manage.py"
    assert list(PROJECT.glob(f"*/management/commands/{command}.py")), f"there is no command {command}"
    assert service["User"] == "moolai"
    assert service["UMask"] == "0077"
    assert service["NoNewPrivileges"] == "true"
    assert service["ProtectSystem"] == "strict"


def test_the_units_wait_for_the_migrations_and_come_back() -> None:
    units = {path.stem: read_unit(path) for path in UNITS}
    assert set(units) == {"moolai-migrate", "moolai-web", "moolai-worker", "moolai-beat"}
    for name in ("moolai-web", "moolai-worker", "moolai-beat"):
        assert units[name]["Service"]["Restart"] == "always"
        assert units[name]["Unit"]["Requires"] == "moolai-migrate.service"
        assert "moolai-migrate.service" in units[name]["Unit"]["After"].split()
        assert units[name]["Install"]["WantedBy"] == "multi-user.target"


class Compose:
    """One set-up in which services run as plain processes: paths and addresses of containers become local ones."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.keys = installation.data_dir / "keys"
        self.keys.mkdir()
        port = installation.env["PORT"]
        data_dir = str(installation.data_dir)
        self.replacements = {"/keys/": f"{self.keys}/", "/data/": f"{data_dir}/", "web:8000": f"127.0.0.1:{port}"}
        self.env = {**os.environ, **installation.env, "LOG_FORMAT": "json", "PYTHONUNBUFFERED": "1"}
        self.env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{self.env['PATH']}"
        self.processes: list[Process] = []

    def local(self, command: list[str]) -> list[str]:
        """Return a service's command (or health check) for this machine."""
        parts = [part.replace("$$", "$") for part in command]
        for there, here in self.replacements.items():
            parts = [part.replace(there, here) for part in parts]
        program = shutil.which(parts[0], path=self.env["PATH"])
        assert program
        return [program, *parts[1:]]

    def start(self, name: str) -> Process:
        """Start a service's command."""
        log_path = self.installation.data_dir / f"{name}.log"
        process = Process(self.local(SERVICES[name]["command"]), log_path=log_path, env=self.env, cwd=PROJECT)
        self.processes.append(process)
        process.spawn()
        return process

    def is_healthy(self, name: str) -> bool:
        """Ask a service's own health check."""
        kind, *command = SERVICES[name]["healthcheck"]["test"]
        command = self.local(command if kind == "CMD" else ["sh", "-c", *command])
        env = {**self.env, "HOSTNAME": os.uname().nodename}
        done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, timeout=30, check=False)
        return done.returncode == 0

    def log(self, name: str) -> str:
        """Return what a service printed."""
        return (self.installation.data_dir / f"{name}.log").read_text()

    def start_healthy(self, name: str, *, seconds: float = 45) -> Process:
        """Start a service and wait until its own health check is content."""
        process = self.start(name)
        process.wait_ready(lambda: self.is_healthy(name), timeout_seconds=seconds)
        return process


@pytest.fixture
def compose(installation: Callable[..., Installation]) -> Iterator[Compose]:
    compose = Compose(installation())
    yield compose
    for process in reversed(compose.processes):
        process.kill()


@pytest.mark.services
def test_what_the_services_run_comes_up_and_its_health_check_says_so(compose: Compose) -> None:
    assert compose.start("migrate").wait(timeout_seconds=60) == 0
    assert sorted(path.name for path in compose.keys.iterdir()) == ["demo_orch-001.key", "demo_orch-002.key"]
    for name in ("web", "worker", "beat", ORCHESTRATORS[0]):
        assert not compose.is_healthy(name), f"{name} is said to be well before it was started"
        compose.start_healthy(name)
    compose.start(ORCHESTRATORS[1]).wait_ready(lambda: "connected" in compose.log(ORCHESTRATORS[1]), timeout_seconds=20)
    for process in reversed(compose.processes[1:]):
        began_at = time.monotonic()
        assert process.end(signal.SIGTERM, timeout_seconds=10) == 0, process.tail()
        assert time.monotonic() - began_at < 8


def run_healthcheck(*arguments: str, **env: str) -> int:
    command = [sys.executable, str(HEALTHCHECK), *arguments]
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, timeout=10, check=False).returncode


def test_health_checks_fail_when_nobody_is_there(tmp_path: Path) -> None:
    port = str(free_port())
    assert run_healthcheck("web", PORT=port) == 1
    assert run_healthcheck("orchestrator", PORT=port) == 1
    assert run_healthcheck("beat", DATA_DIR=str(tmp_path)) == 1
    assert run_healthcheck("nobody") == 2


def test_a_beat_that_fell_silent_is_not_well(tmp_path: Path) -> None:
    alive = tmp_path / "beat.alive"
    alive.touch()
    assert run_healthcheck("beat", DATA_DIR=str(tmp_path)) == 0
    an_hour_ago = time.time() - 3600
    os.utime(alive, (an_hour_ago, an_hour_ago))
    assert run_healthcheck("beat", DATA_DIR=str(tmp_path)) == 1


def test_the_compose_plugin_would_find_no_undeclared_anchor_or_key() -> None:
    assert set(COMPOSE) - {"name", "services", "volumes"} == {"x-restrictions", "x-controller", "x-orchestrator"}
    for name, service in SERVICES.items():
        assert set(service) <= KNOWN_KEYS, name
