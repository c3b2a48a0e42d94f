"""Which test files a world need not read: those of which every test is marked `once`, for the other world."""

import re
from pathlib import Path

MODULE_MARK = re.compile(r"^pytestmark = .*?pytest\.mark\.once\b(?:\(\"(\w+)\"\))?", re.MULTILINE)


def world_of(path: Path) -> str | None:
    """Return the only world in which a file's tests run, `sqlite` or `postgres`; None when its mark names none."""
    found = MODULE_MARK.search(path.read_text(encoding="utf-8"))
    return (found[1] or "sqlite") if found else None
