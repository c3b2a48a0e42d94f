"""Add up the results of several pytest runs: `python -m moolai.testing.totals FILE`.

`make test` names the file in `MOOLAI_TEST_TOTALS`; each run appends one JSON line to it. A second line of a world is of
the few tests that failed there and ran again (`moolai/testing/again.py`): its results stand for theirs.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")


def record(engine: str, counts: Mapping[str, int], failed: Collection[str] = ()) -> None:
    """Append one run's counts by outcome and the ids of what failed, if `MOOLAI_TEST_TOTALS` names a file."""
    if path := os.environ.get("MOOLAI_TEST_TOTALS"):
        with Path(path).open("a") as file:
            file.write(json.dumps({"engine": engine, "counts": dict(counts), "failed": sorted(failed)}) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """Return the runs in the file, each with `engine`, `counts` and `failed`."""
    return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []


def line(name: str, counts: Mapping[str, int]) -> str:
    """Return a run's counts as one line, outcomes that did not happen left out."""
    return f"{name:>10}: " + (", ".join(f"{counts[key]} {key}" for key in OUTCOMES if counts.get(key)) or "nothing ran")


def report(path: Path) -> str:
    """Return a line for each run in the file, their sum, and what became of the tests that ran again."""
    total: Counter[str] = Counter()
    lines, said, first = [], [], dict[str, dict[str, Any]]()
    for run in read(path):
        engine = run["engine"]
        before = first.setdefault(engine, run)
        lines.append(line(engine if before is run else "again", run["counts"]))
        if before is not run:
            total.subtract({key: before["counts"].get(key, 0) for key in ("failed", "error")})
            said += [_verdict(engine, name, has_failed=name in run["failed"]) for name in before["failed"]]
        total.update(run["counts"])
    return "\n".join([*lines, line("total", total), *said])


def _verdict(engine: str, name: str, *, has_failed: bool) -> str:
    words = "failed beside others, and again alone" if has_failed else "failed beside others, passed alone"
    return f"{words}: {name} ({engine}; the first failure is above)"


if __name__ == "__main__":
    sys.stdout.write(report(Path(sys.argv[1])) + "\n")
