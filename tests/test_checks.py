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


@pytest.mark.parametrize("name", UNSAFE)
def test_check_refuses_what_is_unsafe_in_one_line(tmp_path: Path, name: str) -> None:
    change, text = UNSAFE[name]
    done = manage(tmp_path, "check", **SAFE | change)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if "(moolai.E" in line]
    assert any(text in line for line in lines), done.stderr
    if name != "no-certificate":
        assert len(lines) == 1, lines
    secret = next(iter(change.values()))
    assert len(secret) < 10 or secret not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("serve", "debug"),
        ("serve", "no-secret"),
        ("serve", "no-encryption-key"),
        ("serve", "all-hosts"),
        ("serve", "well-known-token"),
        ("serve", "no-certificate"),
        ("worker", "weak-password"),
        ("beat", "misspelt"),
    ],
)
def test_no_process_starts_with_what_is_unsafe(tmp_path: Path, command: str, name: str) -> None:
    change, text = UNSAFE[name]
    done = manage(tmp_path, command, **SAFE | change)
    assert done.returncode not in (0, -9)
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "moolai.sqlite3").exists()


def test_safe_production_settings_pass_also_djangos_own_checks(tmp_path: Path) -> None:
    done = manage(tmp_path, "check", "--deploy", "--fail-level", "WARNING", **SAFE)
    assert done.returncode == 0, done.stderr


def test_good_tokens_and_passwords_pass(tmp_path: Path) -> None:
    given = {"DEV_BEARER_TOKEN": "t" * 24, "MOOLAI_ADMIN_PASSWORD": "correct horse"}
    assert manage(tmp_path, "check", **SAFE, **given).returncode == 0


def test_development_may_do_it(tmp_path: Path) -> None:
    allowed = [UNSAFE[name][0] for name in ("debug", "well-known-token", "anonymous", "weak-password", "short-secret")]
    env = {name: value for change in allowed for name, value in change.items()}
    assert manage(tmp_path, "check", **env).returncode == 0


def test_tls_needs_both_files(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_text("")
    given = {"TLS_ENABLED": "true", "TLS_CERT_PATH": str(certificate), "TLS_KEY_PATH": str(key)}
    done = manage(tmp_path, "check", **given)
    assert "TLS_KEY_PATH to name a readable file" in done.stderr
    assert "TLS_CERT_PATH" not in done.stderr
    key.write_text("")
    assert manage(tmp_path, "check", **given).returncode == 0


@pytest.mark.parametrize(("ttl", "interval", "fits"), [("60", "30", True), ("60", "31", False), ("60", "0", False)])
def test_a_heartbeat_may_be_missed_once(tmp_path: Path, ttl: str, interval: str, fits: bool) -> None:
    done = manage(tmp_path, "check", HEARTBEAT_TTL_SEC=ttl, HEARTBEAT_INTERVAL_SEC=interval)
    assert (done.returncode == 0) is fits


@pytest.mark.parametrize(
    ("policy", "dollars", "fits"),
    [("refuse", "15", True), ("estimate", "0.000001", True), ("free", "15", False), ("estimate", "0", False),
     ("estimate", "NaN", False), ("estimate", "fifteen", False)],
)  # fmt: skip
def test_a_price_that_nobody_knows_is_never_nothing(settings: Any, policy: str, dollars: str, fits: bool) -> None:
    settings.LLM_UNKNOWN_PRICE, settings.LLM_ESTIMATED_INPUT_USD = policy, dollars
    assert (checks.unknown_prices_cost_something(None) == []) is fits
