"""Debian's promtool, Prometheus' own checker: found, never downloaded."""

import os
import shutil
import subprocess

MISSING = "no promtool on this machine (apt-get install prometheus, or set MOOLAI_PROMTOOL to its path)"


def executable() -> str | None:
    """Return the path of the program: `MOOLAI_PROMTOOL`, else the one on the path, else None."""
    return shutil.which(os.environ.get("MOOLAI_PROMTOOL") or "promtool")


def check(*arguments: str, text: str | bytes = "") -> tuple[int, str]:
    """Run `promtool check …` with `text` as its input; return its exit code and what it said."""
    path = executable()
    if path is None:
        raise RuntimeError(MISSING)
    given = text.encode() if isinstance(text, str) else text
    done = subprocess.run([path, "check", *arguments], input=given, capture_output=True, check=False, timeout=60)
    return done.returncode, (done.stdout + done.stderr).decode()
