"""What a benchmark found: lines for a table, and the versions that ran."""

import os
import platform
import statistics
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("Django", "uvicorn", "uvloop", "websockets", "channels", "orjson", "aiohttp", "psycopg", "redis")


@dataclass(frozen=True)
class Line:
    """One figure; `target` says what it should be, `is_met` whether it is (None: there is no target)."""

    what: str
    value: float
    unit: str
    target: str = ""
    is_met: bool | None = None


@dataclass
class Report:
    """The figures of one benchmark, with the raw rounds behind them."""

    title: str
    lines: list[Line] = field(default_factory=list)
    rounds: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, what: str, value: float, unit: str, *, least: float | None = None, most: float | None = None) -> None:
        """Add a figure, with the bound it should keep."""
        target, is_met = "", None
        if least is not None:
            target, is_met = f">= {least:g}", value >= least
        elif most is not None:
            target, is_met = f"<= {most:g}", value <= most
        self.lines.append(Line(what, value, unit, target, is_met))

    def median(self, name: str, key: str) -> float:
        """Return the median of `key` over the rounds of `name`."""
        return float(statistics.median(entry[key] for entry in self.rounds[name]))

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON-ready data."""
        return asdict(self)

    def text(self) -> str:
        """Return the table."""
        width = max(len(line.what) for line in self.lines)
        rows = [f"\n{self.title}", "-" * len(self.title)]
        for line in self.lines:
            verdict = "" if line.is_met is None else f"   {line.target}: {'met' if line.is_met else 'MISSED'}"
            rows.append(f"{line.what:<{width}}  {_number(line.value):>10} {line.unit:<14}{verdict}".rstrip())
        return "\n".join([*rows, *self.notes])


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


def versions() -> dict[str, str]:
    """Return the versions that matter here."""
    found = {"Python": platform.python_version(), "system": f"{platform.system()} {platform.release()}"}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | {"CPUs": str(os.cpu_count())}


def show(reports: Iterable[Report], *, postgres: str) -> None:
    """Print the versions and the tables."""
    names = versions() | ({"PostgreSQL": postgres} if postgres else {})
    sys.stdout.write(", ".join(f"{name} {number}" for name, number in names.items()) + "\n")
    for report in reports:
        sys.stdout.write(report.text() + "\n")
