"""Dependencies: pinned exactly, with hashes, and none older than the mends we rely on."""

import re
from importlib.metadata import version

import pytest

from moolai.testing.product import PROJECT

pytestmark = pytest.mark.once

FLOORS = {
    "daphne": "4.2.2",  # CVE-2026-44545, CVE-2026-44546
    "django": "5.2.14",  # CVE-2026-5766
    "channels": "3.0.3",  # CVE-2020-35681
    "celery": "5.2.2",  # CVE-2021-23727
}
FILES = ("requirements", "requirements-dev")


def parts(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text.split("+", maxsplit=1)[0])))


def pins(name: str) -> dict[str, str]:
    """Return {package: version} of a requirements file, without markers and hashes."""
    text = (PROJECT / name).read_text()
    found = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[\w,-]+\])?==([^\s;\\]+)", text, re.MULTILINE)
    return {package.lower().replace("_", "-"): pinned for package, pinned in found}


@pytest.mark.parametrize(("package", "floor"), FLOORS.items())
def test_nothing_is_older_than_its_mend(package: str, floor: str) -> None:
    assert parts(version(package)) >= parts(floor)
    assert parts(pins("requirements.txt")[package]) >= parts(floor)


@pytest.mark.parametrize("name", FILES)
def test_what_we_ask_for_is_pinned_exactly_and_kept_by_the_lock(name: str) -> None:
    lines = [line.partition(" #")[0].strip() for line in (PROJECT / f"{name}.in").read_text().splitlines()]
    wanted = [line for line in lines if line and not line.startswith(("#", "-"))]
    assert wanted
    loose = [line for line in wanted if not re.match(r"[\w.\[\],-]+==[\w.]+( ;|;|$)", line)]
    assert loose == []
    locked = pins(f"{name}.txt")
    assert {package: pinned for package, pinned in pins(f"{name}.in").items() if locked.get(package) != pinned} == {}


@pytest.mark.parametrize("name", FILES)
def test_every_line_of_the_lock_has_a_version_and_hashes(name: str) -> None:
    text = re.sub(r"\\\n\s*", " ", (PROJECT / f"{name}.txt").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) > 30
    assert [line[:60] for line in lines if not re.match(r"[\w.\[\],-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line)] == []


def test_the_lock_names_no_host() -> None:
    for name in FILES:
        assert "://" not in (PROJECT / f"{name}.txt").read_text()


def test_what_is_installed_is_what_is_pinned() -> None:
    for package, pinned in pins("requirements.in").items():
        assert version(package) == pinned, package


def test_the_gateway_does_without_litellm() -> None:
    assert not any("litellm" in pins(f"{name}.txt") for name in FILES)
