"""`python -m benchmarks [NAME …] [--quick] [--json]`: measure the product beside baselines of the same run."""

import argparse
import importlib
import json
import sys
from types import ModuleType

from benchmarks import generator, report
from benchmarks.stage import Stage

NAMES = (
    "heartbeats", "sessions", "connects", "sql", "messages", "configs", "metrics", "streams", "gateway", "guardrails",
)  # fmt: skip
ASKED_FOR = ("ledger", "rivals", "flat")  # only when named: they take long, or need what is no part of this
WITHOUT_GENERATOR = {"messages", "ledger", "metrics", "streams", "gateway", "guardrails", "rivals", "flat"}


def main() -> int:
    """Run the named benchmarks, all of them when none is named; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)} (default: all of these), {', '.join(ASKED_FOR)}"
    )
    parser.add_argument("--quick", action="store_true", help="one short round: to see that it runs, not to quote")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    if unknown := set(options.names) - {*NAMES, *ASKED_FOR}:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES + ASKED_FOR)}")
    try:
        if not set(options.names) or set(options.names) - WITHOUT_GENERATOR:
            generator.build()
    except generator.GeneratorError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    reports, postgres = [], ""
    for name in options.names or NAMES:
        sys.stderr.write(f"measuring {name} …\n")
        module: ModuleType = importlib.import_module(f"benchmarks.{name}")
        with Stage() as stage:
            reports.append(module.measure(stage, is_quick=options.quick))
            postgres = postgres or str(stage.postgres.databases.query("SHOW server_version")[0][0])
    if options.json:
        found = [item.as_json() for item in reports]
        ran = report.versions() | {"PostgreSQL": postgres}
        sys.stdout.write(json.dumps({"versions": ran, "reports": found}) + "\n")
    else:
        report.show(reports, postgres=postgres)
    return 0


if __name__ == "__main__":
    sys.exit(main())
