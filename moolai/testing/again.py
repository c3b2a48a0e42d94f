"""Run what failed in the last pytest run again, alone: `python -m moolai.testing.again FILE EXIT_CODE`.

`FILE` is what `moolai/testing/totals.py` wrote, `EXIT_CODE` the run's. At most three tests have a second try, and the
exit code is 0 only if all of them pass then. docs/decisions/0018-failed-tests-run-again.md says why.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from moolai.testing import totals

MOST = 3


def main(path: Path, exit_code: int) -> int:
    """Run them in one process, whatever their marks; return 0 if every one passed, else the run's exit code."""
    runs = totals.read(path)
    failed = runs[-1]["failed"] if runs and exit_code == pytest.ExitCode.TESTS_FAILED else []
    if not 1 <= len(failed) <= MOST:
        return exit_code
    sys.stdout.write(f"\n== {len(failed)} failed: again, alone\n")
    sys.stdout.flush()
    done = subprocess.run([sys.executable, "-m", "pytest", "-m", "", *failed], check=False)
    after = totals.read(path)[len(runs) :]
    is_good = done.returncode == 0 and [run["counts"].get("passed") for run in after] == [len(failed)]
    return 0 if is_good else exit_code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
