"""The README speaks of things that exist: files, commands, targets and paths."""

import re
from pathlib import Path

import pytest
from django.core.management import get_commands
from django.urls import Resolver404, resolve

from moolai.testing.product import PROJECT

pytestmark = pytest.mark.once

README = (PROJECT / "README.md").read_text()
TABLE = README.partition("## I want to change")[2]


def named_files() -> list[str]:
    """Return the paths named in the table; one without a folder lies beside the one before it."""
    found: list[str] = []
    for name in re.findall(r"`([\w./-]+(?:\.\w+|/)|\.env\.example)`", TABLE):
        is_beside = "/" not in name and not (PROJECT / name).exists() and found
        found.append(str(Path(found[-1]).parent / name) if is_beside else name)
    return found


def test_the_table_is_found() -> None:
    assert len(named_files()) > 20


@pytest.mark.parametrize("name", named_files())
def test_every_file_of_the_table_exists(name: str) -> None:
    assert (PROJECT / name).exists()


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_every_link_leads_somewhere(link: str) -> None:
    is_made = link.startswith("docs/images/") or link == "docs/performance.md"
    if is_made and not (PROJECT / link).exists():
        pytest.skip(f"{link} is made by a run of its own")
    assert link.startswith("https://") or (PROJECT / link).exists()


@pytest.mark.parametrize("command", sorted(set(re.findall(r"manage(?:\.py)? ([a-z_]+)", README))))
def test_every_command_exists(command: str) -> None:
    assert command in get_commands()


def test_every_command_of_ours_is_in_the_table() -> None:
    table = README.partition("manage.py …`")[2].partition("\n\n")[0]
    ours = {path.stem for path in PROJECT.glob("*/management/commands/[a-z]*.py")}
    assert ours - set(re.findall(r"`([a-z_]+)`", table)) == set()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z-]+)(?=[`\s].*[#`|]|`)", README))))
def test_every_target_of_make_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (PROJECT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(?:GET|PUT|POST|PATCH|DELETE) (/[\w/.-]+)`", README))))
def test_every_http_path_exists(path: str) -> None:
    try:
        resolve(path)
    except Resolver404:
        pytest.fail(f"{path} is not there")


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([A-Z][A-Z_]{5,})`", README))))
def test_every_setting_is_in_the_list(name: str) -> None:
    text = (PROJECT / ".env.example").read_text() + (PROJECT / "moolai" / "settings.py").read_text()
    assert name in text
