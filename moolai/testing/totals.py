"""Add up the results of several pytest runs: `python -m moolai.testing.totals FILE`.

`make test` names the file in `MOOLAI_TEST_TOTALS`; each run appends one JSON line to it.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")


def record(engine: str, counts: Mapping[str, int]) -> None:
    """Append one run's counts by outcome, if `MOOLAI_TEST_TOTALS` names a file."""
    if path := os.environ.get("MOOLAI_TEST_TOTALS"):
        with Path(path).open("a") as file:
            file.write(json.dumps({"engine": engine, "counts": dict(counts)}) + "\n")


def line(name: str, counts: Mapping[str, int]) -> str:
    """Return a run's counts as one line, outcomes that did not happen left out."""
    return f"{name:>10}: " + (", ".join(f"{counts[key]} {key}" for key in OUTCOMES if counts.get(key)) or "nothing ran")


def report(path: Path) -> str:
    """Return a line for each run in the file, and their sum."""
    runs = [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []
    total: Counter[str] = Counter()
    for run in runs:
        total.update(run["counts"])
    return "\n".join([*(line(run["engine"], run["counts"]) for run in runs), line("total", total)])


if __name__ == "__main__":
    sys.stdout.write(report(Path(sys.argv[1])) + "\n")
