"""Imports run one way: orgs ← orchestrators ← llm_gateway ← monitoring; `moolai` composes them."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.source import parse

pytestmark = pytest.mark.once

PROJECT = Path(__file__).resolve().parents[1]
ORDER = ["orgs", "orchestrators", "llm_gateway", "monitoring"]
# What of the composing package an app may use; in tests, the test world, too.
SHARED = {"moolai.errors"}
SHARED_IN_TESTS = SHARED | {"moolai.testing", "moolai.environment"}
# Exceptions, each with its reason.
ALLOWED = {
    # The ASGI door and the table of handlers are what these tests open and bend.
    ("orchestrators/tests/test_ws_bad_input.py", "moolai.wiring"),
    ("orchestrators/tests/test_ws_bad_input.py", "moolai.asgi"),
    ("orchestrators/tests/test_presence.py", "moolai.asgi"),
    ("monitoring/tests/test_dashboard.py", "moolai.asgi"),
    ("monitoring/tests/test_streams.py", "moolai.asgi"),
    ("orchestrators/tests/test_registry_file.py", "moolai.bootstrap"),
    ("orchestrators/tests/test_registry_file.py", "moolai.checks"),
}


def sources(folder: str) -> Iterator[Path]:
    for path in sorted((PROJECT / folder).rglob("*.py")):
        if "migrations" not in path.parts:
            yield path


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of every import, at any depth; `from a import b` counts as `a.b`."""
    package = path.relative_to(PROJECT).parent.parts
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) + "." if node.level else ""
            yield from ((node.lineno, f"{base}{node.module or ''}.{alias.name}") for alias in node.names)


def is_within(name: str, allowed: set[str]) -> bool:
    return any(name == entry or name.startswith(f"{entry}.") for entry in allowed)


@pytest.mark.parametrize("app", ORDER)
def test_an_app_imports_only_apps_before_it(app: str) -> None:
    later = set(ORDER[ORDER.index(app) + 1 :])
    wrong = [
        f"{path.relative_to(PROJECT)}:{line} imports {name}"
        for path in sources(app)
        for line, name in imports(path)
        if name.partition(".")[0] in later
    ]
    assert wrong == []


@pytest.mark.parametrize("app", ORDER)
def test_an_app_imports_nothing_of_the_composing_package_but_its_errors(app: str) -> None:
    wrong = [
        f"{path.relative_to(PROJECT)}:{line} imports {name}"
        for path in sources(app)
        for line, name in imports(path)
        if name.partition(".")[0] == "moolai"
        and not is_within(name, SHARED_IN_TESTS if "tests" in path.parts else SHARED)
        and not any(str(path.relative_to(PROJECT)) == file and is_within(name, {door}) for file, door in ALLOWED)
    ]
    assert wrong == []


def test_no_app_imports_tests_or_benchmarks() -> None:
    wrong = [
        f"{path.relative_to(PROJECT)}:{line} imports {name}"
        for folder in [*ORDER, "moolai"]
        for path in sources(folder)
        if "tests" not in path.parts
        for line, name in imports(path)
        if "tests" in name.split(".")
        or name.partition(".")[0] in ("tests", "benchmarks", "conftest")
        or (name.startswith("moolai.testing") and "testing" not in path.parts)
    ]
    assert wrong == []


def test_every_exception_is_still_needed() -> None:
    for file, door in ALLOWED:
        assert any(is_within(name, {door}) for _, name in imports(PROJECT / file)), f"{file} no longer imports {door}"


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_the_wire_imports_nothing_of_django() -> None:
    loaded = loaded_by("import orchestrators.protocol")
    assert not loaded & {"django", "channels", "rest_framework", "celery", "moolai", "orgs", "monitoring"}


def test_the_client_imports_nothing_of_the_controller_but_the_wire() -> None:
    names = sorted(path.stem for path in (PROJECT / "orchestrators" / "client").glob("*.py") if path.stem != "__main__")
    modules = ", ".join(f"orchestrators.client.{name}" for name in names if name != "__init__")
    loaded = loaded_by(f"import orchestrators.client, {modules}")
    assert not loaded & {
        "django",
        "channels",
        "rest_framework",
        "celery",
        "redis",
        "moolai",
        "orgs",
        "monitoring",
        "uvicorn",
    }
