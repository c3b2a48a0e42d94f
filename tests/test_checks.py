"""The start is refused, with one clear line, when the settings are wrong or unsafe."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from moolai import checks
from moolai.testing.product import MANAGE, PROJECT

pytestmark = pytest.mark.once

SAFE = {
    "ENVIRONMENT": "production",
    "SECRET_KEY": "s3cr3t-" * 10,
    "ENCRYPTION_KEY": "encrypt-" * 5,
    "ALLOWED_HOSTS": "moolai.example.com",
    "CSRF_TRUSTED_ORIGINS": "https://moolai.example.com",
}
UNSAFE = {
    "debug": ({"DEBUG": "true"}, "DEBUG must be off"),
    "no-secret": ({"SECRET_KEY": ""}, "Set SECRET_KEY"),
    "short-secret": ({"SECRET_KEY": "short"}, "Set SECRET_KEY"),
    "djangos-secret": ({"SECRET_KEY": "django-insecure-" + "x" * 60}, "Set SECRET_KEY"),
    "no-encryption-key": ({"ENCRYPTION_KEY": ""}, "Set ENCRYPTION_KEY"),
    "short-encryption-key": ({"ENCRYPTION_KEY": "short"}, "Set ENCRYPTION_KEY"),
    "no-hosts": ({"ALLOWED_HOSTS": ""}, "Set ALLOWED_HOSTS"),
    "all-hosts": ({"ALLOWED_HOSTS": "a.example,*"}, "Set ALLOWED_HOSTS"),
    "well-known-token": ({"DEV_BEARER_TOKEN": "fake-dev-token"}, "DEV_BEARER_TOKEN"),
    "short-token": ({"DEV_BEARER_TOKEN": "x" * 23}, "DEV_BEARER_TOKEN"),
    "short-metrics-token": ({"METRICS_TOKEN": "x" * 23}, "METRICS_TOKEN is short"),
    "weak-password": ({"MOOLAI_ADMIN_PASSWORD": "Admin123"}, "MOOLAI_ADMIN_PASSWORD"),
    "anonymous": ({"ALLOW_ANONYMOUS_REGISTRATION": "true"}, "ALLOW_ANONYMOUS_REGISTRATION"),
    "all-origins": ({"CORS_ALLOWED_ORIGINS": "*"}, "CORS_ALLOWED_ORIGINS"),
    "misspelt": ({"ENVIRONMENT": "prod"}, "ENVIRONMENT must be"),
    "no-certificate": ({"TLS_ENABLED": "true", "TLS_KEY_PATH": "/nowhere"}, "TLS_CERT_PATH"),
    "no-rate": ({"RATE_LIMIT_API": "600"}, "RATE_LIMIT_API: '600' is no rate: write it as 600/minute"),
    "key-without-role": ({"ORCHESTRATOR_API_KEY_CI": "k" * 30}, "ORCHESTRATOR_API_KEY_CI: write it as <key>:<role>"),
    "key-of-superadmin": ({"ORCHESTRATOR_API_KEY_CI": "k" * 30 + ":superadmin"}, "ORCHESTRATOR_API_KEY_CI"),
    "short-key": ({"ORCHESTRATOR_API_KEY": "short"}, "ORCHESTRATOR_API_KEY: use a key of 24"),
    "short-jwt-secret": ({"ORCHESTRATOR_JWT_SECRET": "short"}, "ORCHESTRATOR_JWT_SECRET: use 32"),
    "heartbeats": ({"HEARTBEAT_TTL_SEC": "60", "HEARTBEAT_INTERVAL_SEC": "31"}, "HEARTBEAT_TTL_SEC"),
}


def manage(tmp_path: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run manage.py with nothing but this environment."""
    base = {"PATH": os.defpath, "DATA_DIR": str(tmp_path), "PORT": "1"}  # nobody may bind port 1 by mistake here
    return subprocess.run(
        [sys.executable, str(MANAGE), *arguments],
        cwd=PROJECT,
        env=base | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


# Each starts a process, so what is about different variables goes together.
TOGETHER = [
    "debug no-secret no-encryption-key no-hosts well-known-token short-metrics-token weak-password anonymous "
    "all-origins no-certificate no-rate key-without-role short-key short-jwt-secret heartbeats",
    "short-secret short-encryption-key all-hosts short-token key-of-superadmin",
    "djangos-secret",
    "misspelt",
]


@pytest.mark.parametrize("names", TOGETHER)
def test_check_refuses_what_is_unsafe_in_one_line_each(tmp_path: Path, names: str) -> None:
    changes = {name: UNSAFE[name] for name in names.split()}
    env = {name: value for change, _ in changes.values() for name, value in change.items()}
    assert len(env) == sum(len(change) for change, _ in changes.values())  # none hides another
    done = manage(tmp_path, "check", **SAFE | env)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if "(moolai.E" in line]
    for _, text in changes.values():
        assert any(text in line for line in lines), (text, done.stderr)
    assert len(lines) == len(changes) + ("no-certificate" in changes), lines  # which names two files
    secrets = [next(iter(change.values())) for change, _ in changes.values()]
    assert [secret for secret in secrets if len(secret) >= 10 and secret in done.stdout + done.stderr] == []


def test_everything_unsafe_is_tried() -> None:
    assert sorted(" ".join(TOGETHER).split()) == sorted(UNSAFE)


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("serve", "debug no-secret no-encryption-key all-hosts well-known-token no-certificate"),
        ("serve", "no-secret"),
        ("worker", "weak-password"),
        ("beat", "misspelt"),
    ],
)
def test_no_process_starts_with_what_is_unsafe(tmp_path: Path, command: str, names: str) -> None:
    changes = [UNSAFE[name] for name in names.split()]
    done = manage(tmp_path, command, **SAFE | {name: text for change, _ in changes for name, text in change.items()})
    assert done.returncode not in (0, -9)
    assert [text for _, text in changes if text not in done.stderr] == []
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "moolai.sqlite3").exists()


def test_safe_production_settings_pass_also_djangos_own_checks(tmp_path: Path) -> None:
    good = {"DEV_BEARER_TOKEN": "t" * 24, "MOOLAI_ADMIN_PASSWORD": "correct horse"}
    done = manage(tmp_path, "check", "--deploy", "--fail-level", "WARNING", **SAFE, **good)
    assert done.returncode == 0, done.stderr


def test_development_may_do_it(tmp_path: Path) -> None:
    allowed = [UNSAFE[name][0] for name in ("debug", "well-known-token", "anonymous", "weak-password", "short-secret")]
    env = {name: value for change in allowed for name, value in change.items()}
    assert manage(tmp_path, "check", **env).returncode == 0


def test_tls_needs_both_files(tmp_path: Path, settings: Any) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_text("")
    settings.TLS_ENABLED, settings.TLS_CERT_PATH, settings.TLS_KEY_PATH = True, certificate, key
    [problem] = checks.tls_files_exist(None)
    assert "TLS_KEY_PATH to name a readable file" in problem.msg
    key.write_text("")
    assert checks.tls_files_exist(None) == []


@pytest.mark.parametrize(("ttl", "interval", "fits"), [(60, 30, True), (60, 31, False), (60, 0, False)])
def test_a_heartbeat_may_be_missed_once(settings: Any, ttl: int, interval: int, fits: bool) -> None:
    settings.HEARTBEAT_TTL_SEC, settings.HEARTBEAT_INTERVAL_SEC = ttl, interval
    assert (checks.heartbeats_fit(None) == []) is fits


@pytest.mark.parametrize(
    ("policy", "dollars", "fits"),
    [("refuse", "15", True), ("estimate", "0.000001", True), ("free", "15", False), ("estimate", "0", False),
     ("estimate", "NaN", False), ("estimate", "fifteen", False)],
)  # fmt: skip
def test_a_price_that_nobody_knows_is_never_nothing(settings: Any, policy: str, dollars: str, fits: bool) -> None:
    settings.LLM_UNKNOWN_PRICE, settings.LLM_ESTIMATED_INPUT_USD = policy, dollars
    assert (checks.unknown_prices_cost_something(None) == []) is fits


@pytest.mark.parametrize(
    ("tokens", "fits"), [(16_384, True), (8_192, True), (8_191, False), (0, False), (1_000_001, False)]
)
def test_an_answer_without_a_limit_reserves_what_is_asked_for(settings: Any, tokens: int, fits: bool) -> None:
    settings.LLM_RESERVE_OUTPUT_TOKENS = tokens
    assert (checks.unlimited_answers_reserve_what_is_asked_for(None) == []) is fits
