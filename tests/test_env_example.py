"""`.env.example` lists every variable the product reads, and no other."""

import re

import pytest

from moolai.testing.product import PROJECT
from tests import source

pytestmark = pytest.mark.once

READERS = ("first", "flag", "number", "items")
PARTS = ("URL", "HOST", "PORT", "USER", "PASSWORD", "NAME")
# The conventions of terminals, not settings of ours.
FOREIGN = {"NO_COLOR", "FORCE_COLOR", "DJANGO_SETTINGS_MODULE", "CELERY_SKIP_CHECKS"}
EXAMPLE = (PROJECT / ".env.example").read_text()


def read_by_settings() -> set[str]:
    """Return the names that the settings ask the environment for."""
    found = set()
    for place, call in source.calls(*READERS):
        if place.startswith("moolai/settings.py"):
            found |= {text for argument in call.args for text in source.texts(argument)}
    for place, call in source.calls("database_url"):
        if place.startswith("moolai/settings.py"):
            prefix = source.texts(call.args[0])[0]
            found |= {f"{prefix}_{part}" for part in PARTS} if prefix == "DATABASE" else {f"{prefix}_URL"}
            found |= {f"CONTROLLER_{prefix}_URL"} if prefix == "DATABASE" else set()
    return found


def listed() -> set[str]:
    return set(re.findall(r"^# ([A-Z][A-Z0-9_]*)=", EXAMPLE, re.MULTILINE))


def test_the_settings_are_found_at_all() -> None:
    found = read_by_settings()
    assert {"PORT", "CONTROLLER_PORT", "DATABASE_URL", "DATABASE_PASSWORD", "SECRET_KEY", "DEBUG"} <= found
    assert len(found) > 40


def test_every_variable_that_is_read_is_explained() -> None:
    words = set(re.findall(r"[A-Z][A-Z0-9_]+", EXAMPLE))
    assert sorted(read_by_settings() - words) == []


def test_every_variable_that_is_listed_is_read() -> None:
    text = "".join(
        path.read_text()
        for room in source.ROOMS
        for path in (PROJECT / room).rglob("*.py")
        if not {"tests", "testing"} & set(path.parts)
    )
    text += (PROJECT / "docker-compose.yml").read_text()
    known = read_by_settings() | set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", text))
    pattern = re.compile(r"ORCHESTRATOR_(\w+_INDEPENDENT|API_KEY_\w+)")
    assert sorted(name for name in listed() - known if not pattern.fullmatch(name)) == []


def test_variables_read_elsewhere_are_listed_too() -> None:
    found = set()
    for place, call in source.calls("get"):
        is_environment = getattr(getattr(call.func, "value", None), "attr", "") == "environ"
        if is_environment and call.args and not place.startswith("moolai/environment.py"):
            found |= set(source.texts(call.args[0]))
    assert sorted(found - listed() - FOREIGN) == []


def test_every_line_has_a_meaning() -> None:
    for line in EXAMPLE.splitlines():
        assert line == "" or line.startswith("#"), f"{line!r} would set something in a copy"
    bare = [
        line
        for line in EXAMPLE.splitlines()
        if re.match(r"# [A-Z]", line) and "=" in line and not re.search(r"=.*\s#\s|DATABASE_|TLS_", line)
    ]
    assert bare == []


def test_nothing_in_it_is_a_secret() -> None:
    tokens = ("DEV_BEARER_TOKEN", "METRICS_TOKEN")
    for name in ("SECRET_KEY", "ENCRYPTION_KEY", *tokens, "MOOLAI_ADMIN_PASSWORD", "DATABASE_PASSWORD"):
        assert re.search(rf"^# {name}=\s", EXAMPLE + "\n", re.MULTILINE), name
