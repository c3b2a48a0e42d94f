"""Where `manage.py backup` writes: into a directory, made when missing, or to the file that is named."""

from pathlib import Path

import pytest
from django.core.management import call_command

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("name", ["backups", "deep/er", "dated.2026/", "last.backup/"])
def test_a_missing_directory_is_made_and_the_file_named_by_the_time(name: str, tmp_path: Path) -> None:
    call_command("backup", f"{tmp_path}/{name}")
    assert [path.name[:7] for path in (tmp_path / name).iterdir()] == ["moolai-"]


def test_a_name_that_ends_in_backup_is_the_file(tmp_path: Path) -> None:
    call_command("backup", f"{tmp_path}/last.backup")
    assert (tmp_path / "last.backup").is_file()
