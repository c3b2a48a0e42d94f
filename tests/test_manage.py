"""`manage.py` itself: the rights of what its commands write, and a directory where nothing is."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from moolai.testing.product import MANAGE, manage

pytestmark = pytest.mark.once


@pytest.fixture
def empty(tmp_path: Path) -> dict[str, str]:
    return {"DATA_DIR": str(tmp_path / "data"), "DATABASE_URL": "sqlite:///moolai.sqlite3", "REDIS_URL": ""}


def test_what_a_command_writes_is_for_its_own_user_only(empty: dict[str, str]) -> None:
    before = os.umask(0o022)
    try:
        manage("migrate", "orgs", "--verbosity", "0", env=empty)
    finally:
        os.umask(before)
    paths = [Path(empty["DATA_DIR"]), *Path(empty["DATA_DIR"]).rglob("*")]
    assert Path(empty["DATA_DIR"], "moolai.sqlite3") in paths
    assert [path.name for path in paths if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


@pytest.mark.parametrize("words", [["help"], ["diffsettings", "--all"]], ids=["at its end", "on its way"])
def test_a_command_ends_without_a_word_where_its_reader_has_gone(words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        ended = subprocess.run([sys.executable, str(MANAGE), *words], stdout=out, stderr=subprocess.PIPE, check=False)
    assert (ended.stderr.decode(), ended.returncode) == ("", 141)


@pytest.mark.parametrize("command", ["verify_audit", "fleet_status"])
def test_a_command_without_a_database_says_so_and_leaves_none(command: str, empty: dict[str, str]) -> None:
    ended = manage(command, env=empty, check=False)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith(f"There is no moolai database in {empty['DATA_DIR']}/moolai.sqlite3")
    assert "manage.py migrate" in ended.stderr
    assert list(Path(empty["DATA_DIR"]).glob("*.sqlite3*")) == []
